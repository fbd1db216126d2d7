package quire.bench.files;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import quire.bench.files.GgufParts.Tensor;

/**
 * Damaged model files. Each seed is one model, always the same: a valid one with one to three changes, in its header, keys,
 * values, tokens, chat template, tensors or bytes. Some models are in several files, of which one may be missing.
 */
final class FileMutants {
    /** Numbers that a reader must not trust. */
    private static final long[] HOSTILE = {
        0,
        1,
        -1,
        2,
        3,
        7,
        31,
        33,
        63,
        127,
        255,
        256,
        257,
        1023,
        65_535,
        65_536,
        1 << 20,
        1 << 22,
        (1 << 22) + 1,
        1 << 24,
        Integer.MAX_VALUE,
        Integer.MIN_VALUE,
        0xFFFF_FFFFL,
        1L << 32,
        1L << 40,
        1L << 58,
        1L << 61,
        1L << 62,
        Long.MAX_VALUE,
        Long.MAX_VALUE - 31,
        Long.MIN_VALUE,
        -32
    };

    private static final int[] HOSTILE_FLOATS = {0x7FC0_0000, 0x7F80_0000, 0xFF80_0000, 0x0000_0001, 0x7F7F_FFFF, 0};

    private static final List<String> TEMPLATES = List.of(
            "",
            "{% for i in range(1000000000) %}x{% endfor %}",
            "{{ 'a' * 1000000000 }}",
            "{% set x = 'a' * 10000 %}{% for i in range(10000) %}{% set x = x + x %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% macro m(n) %}{% for i in range(99) %}{{ m(n) }}{% endfor %}{% endmacro %}{{ m(1) }}",
            "{% for a in messages %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
            "{{ " + "(".repeat(20_000) + "1" + ")".repeat(20_000) + " }}",
            "{% if x %}".repeat(20_000),
            "{{ [1]|map('string')|join('x' * 100000000) }}",
            "{{ 2 ** 2 ** 2 ** 2 ** 2 ** 2 }}",
            "{{ 9 ** 99999999 }}",
            "{{ '%999999999d' % 1 }}",
            "{{ '{:>999999999}'.format(1) }}",
            "{{ messages|tojson(indent=99999999) }}",
            "{{ ('a' * 5000)|replace('a', 'b' * 5000)|replace('b', 'c' * 5000) }}",
            "{{ 'a'.center(999999999) }}",
            "{{ range(10 ** 18)|list }}",
            "{{ ('a' * 100000)|wordwrap(1)|indent(99999) }}",
            "{{ raise_exception('no') }}",
            "{{ messages.x.y.z }}",
            "{% include 'x' %}",
            "{{ 1 / 0 }}",
            "{{ 'unterminated",
            "{% raw %}",
            "{#");

    /** Kinds of vocabularies and names of pre-tokenizers. */
    private static final List<String> TOKENIZERS = List.of(
            "gpt2", "llama", "bert", "t5", "gemma4", "qwen2", "default", "gpt-4o", "kimi-k2", "tiny_aya", "exaone-moe");

    /** Large files take longer, so they get one seed of so many. */
    private static final int LARGE_EVERY = 25;

    /** One model of so many is in several files. */
    private static final int SPLIT_EVERY = 8;

    private static final int MAX_SPLIT = 4;

    private final List<GgufParts> small;
    private final List<GgufParts> large;

    /** Mutants of these files. */
    FileMutants(List<GgufParts> small, List<GgufParts> large) {
        this.small = small;
        this.large = large;
    }

    /** The files of a seed: usually one. Of several, an empty one is missing. */
    List<byte[]> of(long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        List<GgufParts> files = seed % LARGE_EVERY == 0 ? large : small;
        GgufParts sound = files.get(random.nextInt(files.size()));
        return random.nextInt(SPLIT_EVERY) == 0
                ? damageSplit(sound.split(random.nextInt(2, MAX_SPLIT + 1)), random)
                : List.of(damaged(sound, random));
    }

    /**
     * Writes the files of a seed: one to {@code path}, several beside it, with names that say their position.
     *
     * @return the file to open
     */
    static Path write(List<byte[]> files, Path path) throws IOException {
        if (files.size() == 1) {
            return Files.write(path, files.getFirst());
        }
        String stem = String.valueOf(path.getFileName()).replaceFirst("\\.gguf$", "");
        Path open = path;
        for (int i = 0; i < files.size(); i++) {
            Path part =
                    path.resolveSibling(String.format(Locale.ROOT, "%s-%05d-of-%05d.gguf", stem, i + 1, files.size()));
            Files.deleteIfExists(part);
            if (files.get(i).length > 0) {
                open = Files.write(part, files.get(i));
            }
        }
        return open;
    }

    private static List<byte[]> damageSplit(List<GgufParts> parts, SplittableRandom random) {
        List<byte[]> files =
                new ArrayList<>(parts.stream().map(GgufParts::toBytes).toList());
        int at = random.nextInt(files.size());
        int other = random.nextInt(files.size());
        switch (random.nextInt(6)) {
            case 0 -> files.set(at, new byte[0]);
            case 1 -> Collections.swap(files, at, other);
            case 2 -> files.set(at, files.get(other));
            default -> files.set(at, damaged(parts.get(at), random));
        }
        // One file must be there to be opened, and must not be empty.
        return files.stream().allMatch(file -> file.length == 0) ? List.of(new byte[1]) : files;
    }

    private static byte[] damaged(GgufParts sound, SplittableRandom random) {
        if (random.nextInt(4) == 0) {
            return damageBytes(sound.toBytes(), sound, random);
        }
        GgufParts parts = sound.copy();
        for (int changes = random.nextInt(3); changes >= 0; changes--) {
            damage(parts, random);
        }
        return parts.toBytes();
    }

    private static void damage(GgufParts parts, SplittableRandom random) {
        switch (random.nextInt(16)) {
            case 0 -> parts.version = (int) hostile(random);
            case 1 -> {
                if (random.nextBoolean()) {
                    parts.tensorCount = Math.abs(hostile(random));
                } else {
                    parts.keyCount = Math.abs(hostile(random));
                }
            }
            case 2, 3, 4, 5 -> damageKey(parts, random);
            case 6, 7, 8 -> damageTokens(parts, random);
            case 9, 10 -> damageTemplate(parts, random);
            default -> damageTensor(parts, random);
        }
    }

    private static void damageKey(GgufParts parts, SplittableRandom random) {
        if (parts.keys.isEmpty()) {
            return;
        }
        int at = random.nextInt(parts.keys.size());
        GgufParts.Key key = parts.keys.get(at);
        switch (random.nextInt(9)) {
            case 0 -> parts.keys.remove(at);
            case 1 -> parts.keys.add(key);
            case 2 -> parts.keys.set(at, new GgufParts.Key(text(random), key.type(), key.value()));
            case 3 -> parts.keys.set(at, key.with(random.nextInt(16), key.value()));
            case 4 -> parts.keys.set(at, key.with(GgufParts.STRING, GgufParts.string(text(random))));
            case 5 -> parts.keys.set(at, key.with(11, GgufParts.number(Long.BYTES, hostile(random))));
            case 6 -> parts.keys.set(at, key.with(GgufParts.FLOAT32, GgufParts.number(4, hostileFloat(random))));
            case 7 ->
                parts.keys.set(
                        at,
                        key.with(
                                GgufParts.ARRAY,
                                GgufParts.array(
                                        random.nextInt(16),
                                        random.ints(random.nextInt(20), -2, 70_000)
                                                .toArray())));
            default -> {
                byte[] value = key.value().clone();
                if (value.length > 0) {
                    put(value, random.nextInt(Math.min(value.length, 16)), hostile(random), random);
                }
                parts.keys.set(at, key.with(key.type(), value));
            }
        }
    }

    private static void damageTokens(GgufParts parts, SplittableRandom random) {
        List<String> names = List.of(
                "tokenizer.ggml.tokens",
                "tokenizer.ggml.merges",
                "tokenizer.ggml.token_type",
                "tokenizer.ggml.scores",
                "tokenizer.ggml.bos_token_id",
                "tokenizer.ggml.eos_token_id",
                "tokenizer.ggml.eot_token_id",
                "tokenizer.ggml.model",
                "tokenizer.ggml.pre",
                "tokenizer.ggml.precompiled_charsmap",
                "tokenizer.ggml.unknown_token_id");
        int at = parts.indexOf(names.get(random.nextInt(names.size())));
        if (at < 0) {
            return;
        }
        GgufParts.Key key = parts.keys.get(at);
        byte[] value =
                switch (key.type()) {
                    case GgufParts.STRING ->
                        GgufParts.string(
                                random.nextBoolean()
                                        ? text(random)
                                        : GgufParts.utf8(TOKENIZERS.get(random.nextInt(TOKENIZERS.size()))));
                    case GgufParts.ARRAY ->
                        GgufParts.isStrings(key)
                                ? GgufParts.array(damageStrings(GgufParts.strings(key), random))
                                : damageNumbers(key.value().clone(), random);
                    default -> GgufParts.number(key.value().length, hostile(random));
                };
        parts.keys.set(at, key.with(key.type(), value));
    }

    private static List<byte[]> damageStrings(List<byte[]> items, SplittableRandom random) {
        for (int changes = 1 + random.nextInt(8); changes > 0 && !items.isEmpty(); changes--) {
            int at = random.nextInt(items.size());
            switch (random.nextInt(6)) {
                case 0 -> items.remove(at);
                case 1 -> items.add(text(random));
                case 2 -> items.set(at, items.get(random.nextInt(items.size())));
                case 3 -> items.set(at, new byte[0]);
                case 4 -> items.subList(at, items.size()).clear();
                default -> items.set(at, text(random));
            }
        }
        return items;
    }

    private static byte[] damageNumbers(byte[] array, SplittableRandom random) {
        int head = Integer.BYTES + Long.BYTES;
        if (array.length < head + Integer.BYTES) {
            return array;
        }
        for (int changes = 1 + random.nextInt(50); changes > 0; changes--) {
            int at = head + random.nextInt((array.length - head) / Integer.BYTES) * Integer.BYTES;
            long number = random.nextBoolean() ? hostileFloat(random) : random.nextInt(-1, 10);
            System.arraycopy(GgufParts.number(Integer.BYTES, number), 0, array, at, Integer.BYTES);
        }
        return array;
    }

    private static void damageTemplate(GgufParts parts, SplittableRandom random) {
        String name = "tokenizer.chat_template";
        int at = parts.indexOf(name);
        byte[] template = GgufParts.utf8(TEMPLATES.get(random.nextInt(TEMPLATES.size())));
        byte[] old = at < 0 ? template : parts.keys.get(at).value();
        if (old.length > Long.BYTES && random.nextBoolean()) {
            template = Arrays.copyOfRange(old, Long.BYTES, old.length);
            for (int changes = 1 + random.nextInt(4); changes > 0 && template.length > 0; changes--) {
                int from = random.nextInt(template.length);
                int to = random.nextInt(template.length);
                System.arraycopy(
                        template.clone(), from, template, to, Math.min(20, template.length - Math.max(from, to)));
            }
        }
        GgufParts.Key key = new GgufParts.Key(GgufParts.utf8(name), GgufParts.STRING, GgufParts.string(template));
        if (at < 0) {
            parts.keys.add(key);
        } else {
            parts.keys.set(at, key);
        }
    }

    private static void damageTensor(GgufParts parts, SplittableRandom random) {
        if (parts.tensors.isEmpty()) {
            return;
        }
        int at = random.nextInt(parts.tensors.size());
        Tensor tensor = parts.tensors.get(at);
        switch (random.nextInt(9)) {
            case 0 -> parts.tensors.remove(at);
            case 1 -> parts.tensors.add(tensor);
            case 2 -> parts.tensors.set(at, with(tensor, text(random), tensor.dims(), tensor.type(), tensor.offset()));
            case 3 -> {
                long[] dims = tensor.dims().clone();
                dims[random.nextInt(dims.length)] = hostile(random);
                parts.tensors.set(at, with(tensor, tensor.name(), dims, tensor.type(), tensor.offset()));
            }
            case 4 -> {
                long[] dims = Arrays.copyOf(tensor.dims(), 1 + random.nextInt(5));
                parts.tensors.set(at, with(tensor, tensor.name(), dims, tensor.type(), tensor.offset()));
            }
            case 5 ->
                parts.tensors.set(at, with(tensor, tensor.name(), tensor.dims(), random.nextInt(45), tensor.offset()));
            case 6 ->
                parts.tensors.set(
                        at, with(tensor, tensor.name(), tensor.dims(), tensor.type(), Math.abs(hostile(random))));
            case 7 -> { // as another tensor
                Tensor other = parts.tensors.get(random.nextInt(parts.tensors.size()));
                parts.tensors.set(at, with(other, tensor.name(), other.dims(), other.type(), other.offset()));
            }
            default -> { // hostile weights
                byte[] data = tensor.data().clone();
                for (int changes = 1 + random.nextInt(8); changes > 0 && data.length > 0; changes--) {
                    int from = random.nextInt(data.length);
                    Arrays.fill(data, from, Math.min(data.length, from + 1 + random.nextInt(300)), (byte)
                            new int[] {0xFF, 0x7C, 0x80, 0x7F}[random.nextInt(4)]);
                }
                parts.tensors.set(at, new Tensor(tensor.name(), tensor.dims(), tensor.type(), data, tensor.offset()));
            }
        }
    }

    private static Tensor with(Tensor tensor, byte[] name, long[] dims, int type, long offset) {
        return new Tensor(name, dims, type, tensor.data(), offset);
    }

    /** Changes of bytes, most of them before the weights. */
    private static byte[] damageBytes(byte[] file, GgufParts parts, SplittableRandom random) {
        long weights =
                parts.tensors.stream().mapToLong(tensor -> tensor.data().length).sum();
        byte[] bytes = file;
        for (int changes = random.nextInt(3); changes >= 0 && bytes.length > 16; changes--) {
            int end = random.nextInt(10) == 0 ? bytes.length : (int) Math.max(16, bytes.length - weights);
            int at = random.nextInt(Math.min(end, bytes.length));
            switch (random.nextInt(5)) {
                case 0 -> bytes = Arrays.copyOf(bytes, at);
                case 1 -> put(bytes, at, hostile(random), random);
                case 2 -> bytes[at] ^= (byte) (1 << random.nextInt(8));
                case 3 -> {
                    int length = Math.min(1 + random.nextInt(64), bytes.length - at);
                    int other = random.nextInt(bytes.length - length + 1);
                    System.arraycopy(bytes.clone(), at, bytes, other, length);
                }
                default -> { // insert
                    byte[] longer = new byte[bytes.length + 1 + random.nextInt(16)];
                    System.arraycopy(bytes, 0, longer, 0, at);
                    System.arraycopy(bytes, at, longer, at + longer.length - bytes.length, bytes.length - at);
                    bytes = longer;
                }
            }
        }
        return bytes;
    }

    private static void put(byte[] bytes, int at, long number, SplittableRandom random) {
        int width = random.nextBoolean() ? Integer.BYTES : Long.BYTES;
        System.arraycopy(GgufParts.number(Long.BYTES, number), 0, bytes, at, Math.min(width, bytes.length - at));
    }

    private static long hostile(SplittableRandom random) {
        return HOSTILE[random.nextInt(HOSTILE.length)];
    }

    private static int hostileFloat(SplittableRandom random) {
        return HOSTILE_FLOATS[random.nextInt(HOSTILE_FLOATS.length)];
    }

    private static byte[] text(SplittableRandom random) {
        return switch (random.nextInt(7)) {
            case 0 -> new byte[0];
            case 1 -> GgufParts.utf8("a".repeat(random.nextInt(1, 5000)));
            case 2 -> GgufParts.utf8("\u001b[31m\r\n\0\u202e");
            case 3 -> GgufParts.utf8("\u0120t \u0120h");
            case 4 -> GgufParts.utf8("blk.0.attn_q.weight");
            case 5 -> GgufParts.utf8("<0x41>");
            default -> {
                byte[] bytes = new byte[random.nextInt(40)];
                random.nextBytes(bytes);
                yield bytes;
            }
        };
    }
}
