package quire.model;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** What Quire lacks for the architectures that llama.cpp names and Quire does not compute; {@code docs/architectures.md} lists it. */
final class MissingParts {
    private static final Map<String, String> NAME_TO_MISSING = new TreeMap<>();

    static {
        missing("norms inside Mamba layers, and one matrix for several parts", "plamo2");
        missing("the recurrence of RWKV", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7");
        missing("its kind of linear attention", "kimi-linear", "bailingmoe3", "minimax-01");
        missing("an index that chooses the positions to attend to", "deepseek32", "deepseek4", "glm-dsa", "dots3note");
        missing("its form of the latent", "mistral4", "minicpm3", "plm", "deepseek2-ocr");
        missing("scores that fall with the distance (ALiBi)", "bloom", "mpt", "refact", "jais", "baichuan");
        missing("its tokenizer", "plamo3");
        missing("its activation (xIELU)", "apertus");
        missing("a description, since it has few files", "gptj", "granite_swa", "graniteswitch");
        missing(
                "a router, gates or residuals of its own",
                "cohere2moe",
                "smallthinker",
                "grovemoe",
                "afmoe",
                "arctic",
                "grok",
                "step35",
                "mimo2",
                "laguna",
                "minimax-m3",
                "kimi-k3",
                "hy_v3",
                "hy_v4",
                "nanbeige",
                "spark2_5",
                "talkie",
                "maple",
                "muse-glimmer",
                "qwen4exp");
        missing(
                "parts for other inputs or outputs, or weights with three values and factors",
                "bitnet",
                "chameleon",
                "cogvlm",
                "paddleocr",
                "hunyuan_vl",
                "qwen3tts",
                "pockettts",
                "hrm_text");
        missing("filling in a text in any order (diffusion)", "dream", "llada", "llada-moe", "rnd1");
        missing(
                "scores that fall with the distance (ALiBi), or norms and weights for each task",
                "jina-bert-v2",
                "jina-bert-v3");
        missing("an encoder beside a decoder, and learned differences of positions", "t5", "t5encoder");
        missing("the model that it is a part of", "clip", "wavtokenizer-dec", "eagle3", "dflash", "gemma4-assistant");
    }

    private MissingParts() {}

    private static void missing(String what, String... names) {
        List.of(names).forEach(name -> NAME_TO_MISSING.put(name, what));
    }

    /** What an architecture needs beyond what Quire has; null if it is computed, or not known. */
    static @Nullable String of(String name) {
        return NAME_TO_MISSING.get(name);
    }

    /** The names for which there is an answer, sorted. */
    static List<String> names() {
        return List.copyOf(NAME_TO_MISSING.keySet());
    }
}
