package quire.bench.files;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import quire.model.BuiltInModel;
import quire.model.format.GgufType;
import quire.tensor.ElementType;

/**
 * Valid model files, to be damaged: a small one for each element type, with a vocabulary of each kind in turn, and the
 * built-in models. The weights of the small ones are random bytes that mean finite numbers.
 */
final class SoundModels {
    private static final int BYTES = 256;
    private static final int CONTROLS = 4;
    private static final int NORMAL = 1;
    private static final int CONTROL = 3;
    private static final int BYTE = 6;

    /** {@code tokenizer.ggml.model} of the small models. */
    private static final List<String> VOCABULARIES = List.of("gpt2", "llama", "gemma4", "t5", "bert");

    private static final String CHAT_TEMPLATE =
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
                    + " + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
                    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    private SoundModels() {}

    /** The small models. */
    static List<GgufParts> small() {
        List<GgufParts> models = new ArrayList<>();
        for (ElementType type : ElementType.values()) {
            models.add(small(GgufType.of(type), VOCABULARIES.get(models.size() % VOCABULARIES.size())));
        }
        return models;
    }

    /** The built-in model and its draft model. */
    static List<GgufParts> builtIn() {
        List<GgufParts> models = new ArrayList<>();
        for (BuiltInModel model : BuiltInModel.values()) {
            try {
                models.add(GgufParts.of(Files.readAllBytes(model.path())));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
        return models;
    }

    private static GgufParts small(GgufType type, String vocabularyKind) {
        boolean byteLevel = vocabularyKind.equals("gpt2");
        int width = Math.max(64, type.blockElements());
        int heads = 2;
        List<byte[]> tokens = tokens(byteLevel);
        GgufParts parts = new GgufParts()
                .add("general.architecture", "llama")
                .add("general.name", "small " + type)
                .add("llama.context_length", 64)
                .add("llama.embedding_length", width)
                .add("llama.feed_forward_length", width)
                .add("llama.block_count", 1)
                .add("llama.attention.head_count", heads)
                .add("llama.attention.head_count_kv", 1)
                .add("llama.attention.layer_norm_rms_epsilon", 1e-5f)
                .add("llama.rope.freq_base", 10_000f)
                .add("llama.rope.dimension_count", width / heads)
                .add("llama.vocab_size", tokens.size())
                .add("tokenizer.ggml.model", vocabularyKind)
                .add("tokenizer.ggml.tokens", GgufParts.ARRAY, GgufParts.array(tokens))
                .add("tokenizer.ggml.token_type", GgufParts.ARRAY, types(tokens.size(), byteLevel))
                .add("tokenizer.ggml.bos_token_id", tokens.size() - CONTROLS)
                .add("tokenizer.ggml.eos_token_id", tokens.size() - CONTROLS + 1)
                .add("tokenizer.ggml.eot_token_id", tokens.size() - CONTROLS + 3)
                .add("tokenizer.ggml.add_bos_token", GgufParts.BOOL, new byte[] {1})
                .add("tokenizer.chat_template", CHAT_TEMPLATE);
        String space = byteLevel ? "\u0120" : "\u2581";
        switch (vocabularyKind) {
            case "gpt2", "gemma4" ->
                parts.add("tokenizer.ggml.pre", byteLevel ? "llama-bpe" : "gemma4")
                        .add(
                                "tokenizer.ggml.merges",
                                GgufParts.ARRAY,
                                GgufParts.array(List.of(
                                        GgufParts.utf8(space + " t"),
                                        GgufParts.utf8("h e"),
                                        GgufParts.utf8(space + "t he"))));
            case "t5" ->
                parts.add("tokenizer.ggml.scores", GgufParts.ARRAY, scores(tokens.size()))
                        .add("tokenizer.ggml.precompiled_charsmap", GgufParts.ARRAY, characterMap())
                        .add("tokenizer.ggml.unknown_token_id", 0);
            case "bert" -> parts.add("tokenizer.ggml.unknown_token_id", 0);
            default -> parts.add("tokenizer.ggml.scores", GgufParts.ARRAY, scores(tokens.size()));
        }
        SplittableRandom random = new SplittableRandom(type.id());
        int vocabulary = tokens.size();
        matrix(parts, random, "token_embd.weight", type, width, vocabulary);
        norm(parts, "output_norm.weight", width);
        if (byteLevel) {
            matrix(parts, random, "output.weight", type, width, vocabulary);
        }
        norm(parts, "blk.0.attn_norm.weight", width);
        matrix(parts, random, "blk.0.attn_q.weight", type, width, width);
        matrix(parts, random, "blk.0.attn_k.weight", type, width, width / heads);
        matrix(parts, random, "blk.0.attn_v.weight", type, width, width / heads);
        matrix(parts, random, "blk.0.attn_output.weight", type, width, width);
        norm(parts, "blk.0.ffn_norm.weight", width);
        matrix(parts, random, "blk.0.ffn_gate.weight", type, width, width);
        matrix(parts, random, "blk.0.ffn_up.weight", type, width, width);
        matrix(parts, random, "blk.0.ffn_down.weight", type, width, width);
        return parts;
    }

    private static void matrix(
            GgufParts parts, SplittableRandom random, String name, GgufType type, int columns, int rows) {
        byte[] data = new byte[columns / type.blockElements() * type.blockBytes() * rows];
        byte[] block = new byte[type.blockBytes()];
        for (int at = 0; at < data.length; at += block.length) {
            do {
                random.nextBytes(block);
            } while (!isFinite(type, block));
            System.arraycopy(block, 0, data, at, block.length);
        }
        parts.tensor(name, type, data, columns, rows);
    }

    private static boolean isFinite(GgufType type, byte[] block) {
        float[] numbers = new float[type.blockElements()];
        type.elementType()
                .orElseThrow()
                .decode(MemorySegment.ofArray(block), 0, MemorySegment.ofArray(numbers), 0, numbers.length);
        float sum = 0;
        for (float number : numbers) {
            sum += number * 0; // NaN if the number is infinite or NaN
        }
        return sum == 0;
    }

    private static void norm(GgufParts parts, String name, int length) {
        byte[] one = GgufParts.number(Float.BYTES, Float.floatToRawIntBits(1));
        byte[] data = new byte[length * Float.BYTES];
        for (int i = 0; i < data.length; i++) {
            data[i] = one[i % Float.BYTES];
        }
        parts.tensor(name, GgufType.F32, data, length);
    }

    private static List<byte[]> tokens(boolean byteLevel) {
        List<byte[]> tokens = new ArrayList<>();
        int unseen = 0;
        for (int b = 0; b < BYTES; b++) {
            boolean visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            tokens.add(GgufParts.utf8(
                    byteLevel
                            ? String.valueOf((char) (visible ? b : BYTES + unseen))
                            : String.format(Locale.ROOT, "<0x%02X>", b)));
            unseen += visible ? 0 : 1;
        }
        for (String each : byteLevel
                ? List.of("\u0120t", "he", "\u0120the")
                : List.of("\u2581", "t", "h", "e", "\u2581t", "he", "\u2581the")) {
            tokens.add(GgufParts.utf8(each));
        }
        for (String each : List.of("<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>")) {
            tokens.add(GgufParts.utf8(each));
        }
        return tokens;
    }

    private static byte[] types(int tokens, boolean byteLevel) {
        int[] types = new int[tokens];
        for (int i = 0; i < tokens; i++) {
            types[i] = i >= tokens - CONTROLS ? CONTROL : i < BYTES && !byteLevel ? BYTE : NORMAL;
        }
        return GgufParts.array(GgufParts.INT32, types);
    }

    private static byte[] scores(int tokens) {
        int[] scores = new int[tokens];
        for (int i = 0; i < tokens; i++) {
            scores[i] = Float.floatToRawIntBits(-i);
        }
        return GgufParts.array(GgufParts.FLOAT32, scores);
    }

    /** A table that rewrites "t" as "h": one child of the root, and the value behind it. */
    private static byte[] characterMap() {
        int[] units = new int['t' + 1];
        units[1] = 1 << 31;
        units['t'] = 't' | 1 << 8 | ('t' ^ 1) << 10;
        ByteBuffer table = ByteBuffer.allocate(Integer.BYTES * (1 + units.length) + 2)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(Integer.BYTES * units.length);
        for (int unit : units) {
            table.putInt(unit);
        }
        table.put((byte) 'h').put((byte) 0);
        int[] bytes = new int[table.capacity()];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = table.get(i);
        }
        return GgufParts.array(GgufParts.INT32, bytes);
    }
}
