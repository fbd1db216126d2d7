package quire.model;

import java.util.List;
import quire.model.Architecture.HeadNorm;

/**
 * The architectures that Quire computes: one method for each, which describes how it differs from Llama. To add one of
 * the usual kind, add its name and its method.
 */
final class Architectures {
    /** As {@code general.architecture} names them. */
    static final List<String> NAMES = List.of(
            "llama",
            "qwen2",
            "qwen3",
            "phi3",
            "gemma",
            "gemma2",
            "gemma3",
            "granite",
            "smollm3",
            "olmo2",
            "command-r",
            "cohere2",
            "starcoder2",
            "stablelm",
            "glm4");

    private Architectures() {}

    /** Reads optional numbers of a file by the end of their key. What is read here is not refused elsewhere. */
    interface Keys {
        /** A number that is not negative; {@code absent} if the file has none. */
        float number(String suffix, float absent);

        /** The window in positions; 0 if there is none, or if it is as long as the context. */
        int window();

        /** Of how many layers the last has no window. */
        int fullEvery(int absent);
    }

    /** @param layers number of blocks */
    static Architecture of(String name, Keys keys, int hidden, int heads, int layers) {
        return (switch (name) {
                    case "llama" -> llama(keys);
                    case "qwen2" -> qwen2();
                    case "qwen3" -> qwen3();
                    case "phi3" -> phi3(keys);
                    case "gemma" -> gemma(hidden);
                    case "gemma2" -> gemma2(keys, hidden, heads, layers);
                    case "gemma3" -> gemma3(keys, hidden, heads, layers);
                    case "granite" -> granite(keys);
                    case "smollm3" -> smollm3();
                    case "olmo2" -> olmo2(keys);
                    case "command-r" -> commandR(keys);
                    case "cohere2" -> cohere2(keys);
                    case "starcoder2" -> starcoder2();
                    case "stablelm" -> stablelm();
                    case "glm4" -> glm4();
                    default -> throw new IllegalArgumentException("no description of " + name);
                })
                .build();
    }

    private static Architecture.Builder llama(Keys keys) {
        return new Architecture.Builder()
                .window(keys.window(), 0); // Mistral's first models have a window in all layers
    }

    private static Architecture.Builder qwen2() {
        return new Architecture.Builder().halves();
    }

    private static Architecture.Builder qwen3() {
        return new Architecture.Builder().halves().headNorm(HeadNorm.EACH);
    }

    private static Architecture.Builder phi3(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .window(keys.window(), 0)
                .rotationFactor(keys.number("rope.scaling.attn_factor", 1));
    }

    /** Converters have added 1 to the weights of the norms. */
    private static Architecture.Builder gemma(int hidden) {
        return new Architecture.Builder().halves().gelu().factors((float) StrictMath.sqrt(hidden), 1, 1);
    }

    private static Architecture.Builder gemma2(Keys keys, int hidden, int heads, int layers) {
        return gemma(hidden)
                .normBeforeAndAfter()
                .attentionScale(layers == 46 ? wholeHeads(hidden, heads) : 0) // 27 B
                .caps(keys.number("attn_logit_softcapping", 50), keys.number("final_logit_softcapping", 30))
                .window(keys.window(), keys.fullEvery(2));
    }

    private static Architecture.Builder gemma3(Keys keys, int hidden, int heads, int layers) {
        return gemma(hidden)
                .normBeforeAndAfter()
                .headNorm(HeadNorm.EACH)
                .attentionScale(layers == 62 ? wholeHeads(hidden, heads) : 0) // 27 B
                .caps(0, keys.number("final_logit_softcapping", 0))
                .window(keys.window(), keys.fullEvery(6))
                .windowBase(keys.number("rope.freq_base_swa", 10000));
    }

    /** The largest models scale by the width of the residual stream for each head. */
    private static float wholeHeads(int hidden, int heads) {
        return (float) (1 / StrictMath.sqrt((double) hidden / heads));
    }

    private static Architecture.Builder granite(Keys keys) {
        return new Architecture.Builder()
                .attentionScale(keys.number("attention.scale", 0))
                .factors(
                        keys.number("embedding_scale", 1),
                        keys.number("residual_scale", 1),
                        1 / keys.number("logit_scale", 1));
    }

    private static Architecture.Builder smollm3() {
        return new Architecture.Builder().unrotatedEvery(4);
    }

    private static Architecture.Builder olmo2(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .normOnlyAfter()
                .headNorm(HeadNorm.ALL)
                .window(keys.window(), keys.fullEvery(4))
                .windowBase(keys.number("rope.freq_base_swa", 0));
    }

    private static Architecture.Builder commandR(Keys keys) {
        return new Architecture.Builder().layerNorm().parallel().factors(1, 1, keys.number("logit_scale", 1));
    }

    private static Architecture.Builder cohere2(Keys keys) {
        return commandR(keys).window(keys.window(), keys.fullEvery(4)).onlyWindowsRotate();
    }

    private static Architecture.Builder starcoder2() {
        return new Architecture.Builder().halves().layerNorm().gelu().plain();
    }

    private static Architecture.Builder stablelm() {
        return new Architecture.Builder().halves().layerNorm();
    }

    private static Architecture.Builder glm4() {
        return new Architecture.Builder().normBeforeAndAfter();
    }
}
