package quire.model.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import quire.tensor.ElementType;

class GgufTest {
    private static final byte[] INVALID_UTF8 = {'a', (byte) 0xFF, (byte) 0xC3};

    @TempDir
    Path folder;

    @Test
    void open_everyValueType_isReadBack() {
        try (Gguf gguf = new GgufWriter()
                .integer("u8", GgufValueType.UINT8, 200)
                .integer("i8", GgufValueType.INT8, -100)
                .integer("u16", GgufValueType.UINT16, 60000)
                .integer("i16", GgufValueType.INT16, -30000)
                .uint32("u32", 4_000_000_000L)
                .integer("i32", GgufValueType.INT32, -2_000_000_000)
                .integer("u64", GgufValueType.UINT64, -1)
                .integer("i64", GgufValueType.INT64, Long.MIN_VALUE)
                .float32("f32", 0.1f)
                .float64("f64", 0.1)
                .bool("yes", true)
                .bool("no", false)
                .string("string", "naïve 🦙")
                .bytes("bytes", INVALID_UTF8)
                .strings("strings", List.of("", "a", "né"))
                .byteStrings("byteStrings", List.of(INVALID_UTF8, new byte[0]))
                .int32s("int32s", 3, -1, 4)
                .float32s("float32s", 0.5f, -2)
                .nested("nested", 3)
                .open()) {
            assertThat(gguf.keys())
                    .containsExactly(
                            "u8",
                            "i8",
                            "u16",
                            "i16",
                            "u32",
                            "i32",
                            "u64",
                            "i64",
                            "f32",
                            "f64",
                            "yes",
                            "no",
                            "string",
                            "bytes",
                            "strings",
                            "byteStrings",
                            "int32s",
                            "float32s",
                            "nested");
            assertThat(gguf.int32("u8")).isEqualTo(200);
            assertThat(gguf.int32("i8")).isEqualTo(-100);
            assertThat(gguf.int32("u16")).isEqualTo(60000);
            assertThat(gguf.int32("i16")).isEqualTo(-30000);
            assertThat(gguf.int64("u32")).isEqualTo(4_000_000_000L);
            assertThat(gguf.int32("i32")).isEqualTo(-2_000_000_000);
            assertThat(gguf.scalar("u64")).isEqualTo(new BigInteger("18446744073709551615"));
            assertThat(gguf.int64("i64")).isEqualTo(Long.MIN_VALUE);
            assertThat(gguf.float32("f32")).isEqualTo(0.1f);
            assertThat(gguf.scalar("f64")).isEqualTo(0.1);
            assertThat(gguf.float32("f64")).isEqualTo(0.1f);
            assertThat(gguf.bool("yes")).isTrue();
            assertThat(gguf.bool("no")).isFalse();
            assertThat(gguf.string("string")).isEqualTo("naïve 🦙");
            assertThat(gguf.bytes("bytes")).isEqualTo(INVALID_UTF8);
            assertThat(gguf.string("bytes")).isEqualTo("a\uFFFD\uFFFD");
            assertThat(gguf.strings("strings")).containsExactly("", "a", "né");
            assertThat(gguf.byteStrings("byteStrings").size()).isEqualTo(2);
            assertThat(gguf.byteStrings("byteStrings").get(0)).isEqualTo(INVALID_UTF8);
            assertThat(gguf.byteStrings("byteStrings").get(1)).isEmpty();
            assertThat(gguf.int32s("int32s")).containsExactly(3, -1, 4);
            assertThat(gguf.float32s("int32s")).containsExactly(3, -1, 4);
            assertThat(gguf.float32s("float32s")).containsExactly(0.5f, -2);
            assertThat(gguf.type("nested")).isEqualTo(GgufValueType.ARRAY);
            assertThat(gguf.itemType("strings")).isEqualTo(GgufValueType.STRING);
            assertThat(gguf.length("strings")).isEqualTo(3);
        }
    }

    @Test
    void get_absentKey_givesTheDefault() {
        try (Gguf gguf = new GgufWriter().uint32("there", 1).open()) {
            assertThat(gguf.int32("gone", 7)).isEqualTo(7);
            assertThat(gguf.int32("there", 7)).isEqualTo(1);
            assertThat(gguf.float32("gone", 0.5f)).isEqualTo(0.5f);
            assertThat(gguf.bool("gone", true)).isTrue();
            assertThat(gguf.string("gone", "x")).isEqualTo("x");
            assertThat(gguf.optionalString("gone")).isEmpty();
        }
    }

    @Test
    void get_wrongTypeOrRange_namesKeyAndTypes() {
        try (Gguf gguf = new GgufWriter()
                .string("s", "x")
                .uint32("u", 4_000_000_000L)
                .integer("u64", GgufValueType.UINT64, -1)
                .strings("a", List.of("x"))
                .open()) {
            assertThatThrownBy(() -> gguf.int32("s"))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContainingAll("test.gguf", "key s", "string", "an integer is expected", "convert");
            assertThatThrownBy(() -> gguf.int32("u")).hasMessageContainingAll("key u", "4000000000", "32 bits");
            assertThatThrownBy(() -> gguf.int64("u64")).hasMessageContainingAll("key u64", "18446744073709551615");
            assertThatThrownBy(() -> gguf.string("a")).hasMessageContainingAll("key a", "array of 1 strings");
            assertThatThrownBy(() -> gguf.int32s("a")).hasMessageContainingAll("key a", "array of integers");
            assertThatThrownBy(() -> gguf.float32s("a")).hasMessageContainingAll("key a", "array of numbers");
            assertThatThrownBy(() -> gguf.strings("s")).hasMessageContainingAll("key s", "an array");
            assertThatThrownBy(() -> gguf.string("gone")).hasMessageContainingAll("key gone", "missing");
        }
    }

    @Test
    void describe_longAndShortValues_fitsOneLine() {
        try (Gguf gguf = new GgufWriter()
                .string("template", "{% for m in messages %}\nand so on and on and on and on")
                .strings("tokens", List.of("a", "b"))
                .int32s("few", 1, 2, 3)
                .int32s("many", new int[1000])
                .bool("flag", true)
                .nested("nested", 2)
                .open()) {
            assertThat(gguf.describe("template", 30)).isEqualTo("{% for m in messages %} and s…");
            assertThat(gguf.describe("tokens", 30)).isEqualTo("[2 strings]");
            assertThat(gguf.describe("few", 30)).isEqualTo("[1, 2, 3]");
            assertThat(gguf.describe("many", 30)).isEqualTo("[1000 int32s]");
            assertThat(gguf.describe("flag", 30)).isEqualTo("true");
            assertThat(gguf.describe("nested", 30)).isEqualTo("[1 array]");
        }
    }

    @Test
    void open_version2_isRead() {
        try (Gguf gguf = new GgufWriter().version(2).string("k", "v").open()) {
            assertThat(gguf.version()).isEqualTo(2);
            assertThat(gguf.string("k")).isEqualTo("v");
        }
    }

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void data_tensorsOfEveryReadableType_isTheirBytesAtTheAlignment(ElementType type) {
        int columns = 2 * Math.max(32, type.blockElements());
        float[] values = gaussians(5 * columns);
        try (Gguf gguf = new GgufWriter()
                .alignment(64)
                .tensor("odd", ElementType.F32, new float[] {1, 2, 3}, 3)
                .tensor("matrix", type, values, columns, 5)
                .open()) {
            GgufTensor tensor = gguf.tensor("matrix", columns, 5);
            assertThat(tensor.elementType()).isEqualTo(type);
            assertThat(tensor.columns()).isEqualTo(columns);
            assertThat(tensor.rows()).isEqualTo(5);
            assertThat(tensor.offset() % 64).isZero();
            assertThat(gguf.data(tensor).toArray(ValueLayout.JAVA_BYTE)).isEqualTo(GgufWriter.encode(type, values));
            assertThat(gguf.data(tensor).isReadOnly()).isTrue();
            assertThat(gguf.floats(gguf.tensor("odd", 3))).containsExactly(1, 2, 3);
            assertThat(gguf.tensors()).extracting(GgufTensor::name).containsExactly("odd", "matrix");
        }
    }

    /** What ggml refuses and Quire reads: a long name, another order with a gap, and bytes behind the last tensor. */
    @Test
    void data_tensorsInAnotherOrderWithGaps_areRead() {
        String longName = "a".repeat(100);
        byte[] written = new GgufWriter()
                .tensor(longName, ElementType.F32, new float[] {1, 2}, 2)
                .tensor("b", ElementType.F32, new float[] {3, 4}, 2)
                .toBytes();
        ByteBuffer file =
                ByteBuffer.wrap(Arrays.copyOf(written, written.length + 100)).order(ByteOrder.LITTLE_ENDIAN);
        file.putFloat(written.length, 5).putFloat(written.length + 4, 6);
        // magic, version, two counts; a tensor: length of its name, name, count of dimensions, one dimension, type,
        // offset
        int firstOffset = 24 + 8 + 100 + 4 + 8 + 4;
        int secondOffset = firstOffset + 8 + 8 + 1 + 4 + 8 + 4;
        assertThat(file.getLong(secondOffset)).isEqualTo(32);
        file.putLong(firstOffset, 64).putLong(secondOffset, 0); // nothing lies at 32 now
        try (Gguf gguf = Gguf.open("test.gguf", MemorySegment.ofArray(file.array()))) {
            assertThat(gguf.floats(gguf.tensor(longName, 2))).containsExactly(5, 6);
            assertThat(gguf.floats(gguf.tensor("b", 2))).containsExactly(1, 2);
        }
    }

    /**
     * Bounds for the root mean square of the errors, for numbers whose root mean square is 1. One more bit halves the
     * step.
     */
    @ParameterizedTest
    @CsvSource({
        "Q2_K, 0.35",
        "Q3_K, 0.25",
        "Q4_0, 0.11",
        "Q4_1, 0.1",
        "Q4_K, 0.1",
        "IQ4_NL, 0.11",
        "IQ4_XS, 0.11",
        "MXFP4, 0.16",
        "NVFP4, 0.16",
        "IQ3_S, 0.25",
        "IQ3_XXS, 0.35",
        "IQ2_S, 0.6",
        "IQ2_XS, 0.6",
        "IQ2_XXS, 0.7",
        "IQ1_M, 0.9",
        "IQ1_S, 0.9",
        "TQ1_0, 0.9",
        "TQ2_0, 0.9",
        "Q1_0, 0.9",
        "Q2_0, 0.9",
        "Q5_0, 0.06",
        "Q5_1, 0.05",
        "Q5_K, 0.05",
        "Q6_K, 0.03",
        "Q8_0, 0.007"
    })
    void encode_gaussians_decodeToNearlyTheSame(ElementType type, double bound) {
        float[] values = gaussians(64 * 256);
        float[] found = new float[values.length];
        MemorySegment bytes = MemorySegment.ofArray(GgufWriter.encode(type, values));
        type.decode(bytes, 0, MemorySegment.ofArray(found), 0, values.length);
        double squares = 0;
        for (int i = 0; i < values.length; i++) {
            squares += (found[i] - values[i]) * (found[i] - values[i]);
        }
        assertThat(Math.sqrt(squares / values.length)).isLessThan(bound).isGreaterThan(bound / 3);
    }

    @ParameterizedTest
    @EnumSource(
            value = ElementType.class,
            names = {"F32", "F16", "BF16"})
    void floats_unquantised_areNearWhatWasWritten(ElementType type) {
        float[] values = gaussians(100);
        try (Gguf gguf = new GgufWriter().tensor("v", type, values, 100).open()) {
            float[] found = gguf.floats(gguf.tensor("v", 100));
            for (int i = 0; i < values.length; i++) {
                assertThat(found[i]).isCloseTo(values[i], within(Math.abs(values[i]) / 256));
            }
        }
    }

    @Test
    void floats_quantised_isRefused() {
        try (Gguf gguf = new GgufWriter()
                .tensor("v", ElementType.Q8_0, new float[32], 32)
                .open()) {
            assertThatThrownBy(() -> gguf.floats(gguf.tensor("v", 32)))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContainingAll("tensor v", "Q8_0", "F32");
        }
    }

    @ParameterizedTest
    @EnumSource(GgufType.class)
    void tensor_everyKnownType_isListedAndReadOrNamed(GgufType type) {
        byte[] data = new byte[type.blockBytes() * 3];
        try (Gguf gguf = new GgufWriter()
                .tensor("t", type.id(), data, type.blockElements(), 3)
                .open()) {
            GgufTensor listed = gguf.tensors().iterator().next();
            assertThat(listed.type()).isEqualTo(type);
            assertThat(listed.byteSize()).isEqualTo(data.length);
            if (type.elementType().isPresent()) {
                ElementType elementType = type.elementType().get();
                assertThat(gguf.tensor("t", type.blockElements(), 3)).isSameAs(listed);
                assertThat(GgufType.of(elementType)).isEqualTo(type);
                assertThat(elementType.blockBytes()).isEqualTo(type.blockBytes());
                assertThat(elementType.blockElements()).isEqualTo(type.blockElements());
            } else {
                assertThatThrownBy(() -> gguf.tensor("t", type.blockElements(), 3))
                        .isInstanceOf(ModelFormatException.class)
                        .hasMessage("test.gguf: tensor t: has type " + type
                                + (type.name().matches(".*_[48]_[48]")
                                        ? ", " + type.name().replaceAll("_[48]_[48]", "")
                                                + " in an order for one kind of processor, which ggml removed; get the"
                                                + " model as " + type.name().replaceAll("_[48]_[48]", "")
                                                + ", or convert it again"
                                        : ", which this version cannot read (it reads F32, F16, BF16, Q4_0, Q4_1, Q5_0,"
                                                + " Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4,"
                                                + " NVFP4, IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S, TQ1_0,"
                                                + " TQ2_0, Q1_0, Q2_0); convert the model to one of these"));
            }
        }
    }

    @Test
    void tensor_trailingOnes_areTheSameShape() {
        try (Gguf gguf = new GgufWriter()
                .tensor("padded", ElementType.F32, new float[6], 6, 1, 1)
                .tensor("short", ElementType.F32, new float[6], 6)
                .open()) {
            assertThat(gguf.tensor("padded", 6).rows()).isEqualTo(1);
            assertThat(gguf.tensor("short", 6, 1).columns()).isEqualTo(6);
            assertThatThrownBy(() -> gguf.tensor("padded", 1, 6)).isInstanceOf(ModelFormatException.class);
            assertThatThrownBy(() -> gguf.tensor("short", 6, 2)).isInstanceOf(ModelFormatException.class);
        }
    }

    @Test
    void tensor_scalar_isAVectorOfOne() {
        try (Gguf gguf =
                new GgufWriter().tensor("t", 0, new byte[] {0, 0, 0x40, 0x40}).open()) {
            assertThat(gguf.tensor("t", 1).dims()).containsExactly(1L);
            assertThat(gguf.floats(gguf.tensor("t", 1))).containsExactly(3);
        }
    }

    @Test
    void tensor_missingOrMisshapen_namesBothShapes() {
        try (Gguf gguf = new GgufWriter()
                .tensor("t", ElementType.F32, new float[6], 3, 2)
                .open()) {
            assertThat(gguf.optionalTensor("gone", 3)).isEmpty();
            assertThat(gguf.optionalTensor("t", 3, 2)).isPresent();
            assertThatThrownBy(() -> gguf.tensor("gone", 3, 4))
                    .hasMessageContainingAll("test.gguf", "tensor gone", "missing", "[3, 4]", "convert");
            assertThatThrownBy(() -> gguf.optionalTensor("t", 2, 3))
                    .hasMessageContainingAll("test.gguf", "tensor t", "[3, 2]", "[2, 3]", "convert");
            assertThatThrownBy(() -> gguf.tensor("t", 6)).hasMessageContaining("[6]");
        }
    }

    /** A fault: how to write it, and the words that the message must contain. */
    record Fault(String name, Consumer<GgufWriter> writing, List<String> said) {
        @Override
        public String toString() {
            return name;
        }
    }

    private static Fault fault(String name, Consumer<GgufWriter> writing, String... said) {
        return new Fault(name, writing, List.of(said));
    }

    static Stream<Fault> faults() {
        byte[] data = new byte[128];
        return Stream.of(
                fault("version 1", w -> w.version(1), "version 1", "2 and 3", "convert"),
                fault("version 4", w -> w.version(4), "version 4", "2 and 3"),
                fault("big endian", w -> w.version(3 << 24), "big-endian", "convert"),
                fault("key twice", w -> w.string("k", "").string("k", ""), "key k", "twice"),
                fault("empty key", w -> w.string("", ""), "key 1 of the metadata", "name of 0 bytes"),
                fault("long key", w -> w.string("k".repeat(2000), ""), "name of 2000 bytes"),
                fault("value type", w -> w.raw("k", 13, data), "key k", "unknown value type 13"),
                fault("bool", w -> w.integer("k", GgufValueType.UINT8, 2).raw("b", 7, new byte[] {2}), "key b", "2"),
                fault("deep arrays", w -> w.nested("k", 100), "key k", "deep"),
                fault("string's length", w -> w.raw("k", 8, longs(-1)), "key k", "18446744073709551615 bytes"),
                fault("string beyond end", w -> w.raw("k", 8, longs(5000)), "key k", "file ends"),
                fault("array's type", w -> w.raw("k", 9, data(77, 1)), "key k", "unknown value type 77"),
                fault("array's count", w -> w.raw("k", 9, data(8, 1L << 40)), "key k", "1099511627776", "limit"),
                fault("array's count negative", w -> w.raw("k", 9, data(4, -5)), "key k", "limit"),
                fault("array beyond end", w -> w.raw("k", 9, data(5, 1000)), "key k", "1000", "does not fit"),
                fault("array's string", w -> w.raw("k", 9, data(8, 1, -9)), "key k", "string 0"),
                fault("alignment 0", w -> w.uint32("general.alignment", 0), "general.alignment", "is 0"),
                fault("alignment 1", w -> w.uint32("general.alignment", 1), "general.alignment", "is 1", "from 8"),
                fault("alignment 2", w -> w.uint32("general.alignment", 2), "general.alignment", "is 2", "from 8"),
                fault("alignment 4", w -> w.uint32("general.alignment", 4), "general.alignment", "is 4", "from 8"),
                fault("alignment 48", w -> w.uint32("general.alignment", 48), "general.alignment", "power of two"),
                fault("alignment's type", w -> w.string("general.alignment", "x"), "general.alignment", "integer"),
                fault("tensor twice", w -> w.tensor("t", 0, data, 32).tensor("t", 0, data, 32), "tensor t", "twice"),
                fault("empty tensor name", w -> w.tensor("", 0, data, 32), "name of 0 bytes"),
                fault("unknown type", w -> w.tensor("t", 99, data, 32), "tensor t", "unknown type 99", "Q8_0"),
                fault("withdrawn type", w -> w.tensor("t", 4, data, 32), "tensor t", "Q4_2", "ggml removed"),
                fault("other withdrawn type", w -> w.tensor("t", 5, data, 32), "tensor t", "Q4_3", "ggml removed"),
                fault("negative type", w -> w.tensor("t", -1, data, 32), "tensor t", "unknown type 4294967295"),
                fault("5 dimensions", w -> w.tensor("t", 0, data, 2, 2, 2, 2, 2), "tensor t", "5 dimensions"),
                fault("dimension 0", w -> w.tensor("t", 0, data, 4, 0), "tensor t", "[4, 0]"),
                fault("negative dimension", w -> w.tensor("t", 0, data, -4, -8), "tensor t", "does not fit"),
                fault("product overflows", w -> w.tensor("t", 0, data, 1L << 32, 1L << 32), "tensor t", "4294967296"),
                fault("product is 0", w -> w.tensor("t", 0, data, 1L << 62, 4), "tensor t", "does not fit"),
                fault("half a block", w -> w.tensor("t", 8, data, 48), "tensor t", "48", "blocks of 32", "Q8_0"),
                fault("data beyond end", w -> w.tensor("t", 0, data, 64), "tensor t", "256 bytes", "beyond"),
                fault(
                        "overlap",
                        w -> w.tensor("a", 0, data, 40).tensor("b", 0, new byte[256], 32),
                        "tensor b",
                        "overlaps tensor a"),
                fault(
                        "misaligned", // the writer itself still uses 32
                        w -> w.uint32("general.alignment", 256)
                                .tensor("a", 0, data, 32)
                                .tensor("b", 0, data, 32),
                        "tensor b",
                        "128",
                        "not a multiple of the alignment 256"),
                fault("line breaks", w -> w.tensor("a\nb\r\u2028c", 99, data, 32), "tensor a b? c", "type 99"));
    }

    @ParameterizedTest
    @MethodSource("faults")
    void open_invalidFile_isRefusedInOneLineWithThePlace(Fault fault) {
        GgufWriter writer = new GgufWriter();
        fault.writing().accept(writer);
        byte[] file = writer.toBytes();
        assertThatThrownBy(() -> Gguf.open("models/test.gguf", MemorySegment.ofArray(file)))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("models/test.gguf: ")
                .hasMessageContainingAll(fault.said().toArray(String[]::new))
                .message()
                .hasLineCount(1)
                .contains(";")
                .hasSizeLessThan(400);
    }

    private static byte[] longs(long... values) {
        byte[] bytes = new byte[values.length * 8];
        MemorySegment.copy(
                MemorySegment.ofArray(values),
                ValueLayout.JAVA_LONG,
                0,
                MemorySegment.ofArray(bytes),
                ValueLayout.JAVA_LONG_UNALIGNED,
                0,
                values.length);
        return bytes;
    }

    /** The header of an array: type of items, count, and the first bytes after it. */
    private static byte[] data(int itemType, long... rest) {
        byte[] longs = longs(rest);
        byte[] bytes = new byte[4 + longs.length];
        bytes[0] = (byte) itemType;
        System.arraycopy(longs, 0, bytes, 4, longs.length);
        return bytes;
    }

    @Test
    void open_everyTruncation_isRefused() {
        byte[] whole = new GgufWriter()
                .string("general.architecture", "llama")
                .strings("tokens", List.of("a", "bc"))
                .int32s("types", 1, 2, 3)
                .tensor("t", ElementType.F32, new float[32], 32)
                .toBytes();
        Gguf.open("whole", MemorySegment.ofArray(whole)).close();
        for (int length = 0; length < whole.length; length++) {
            byte[] cut = Arrays.copyOf(whole, length);
            assertThatThrownBy(() -> Gguf.open("cut.gguf", MemorySegment.ofArray(cut)))
                    .as("cut to %d bytes", length)
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageStartingWith("cut.gguf: ");
        }
    }

    @Test
    void open_missingFileFolderEmptyFileOrOther_isNamed() throws IOException {
        assertThatThrownBy(() -> Gguf.open(folder.resolve("gone.gguf")))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContainingAll("gone.gguf", "no such file");
        assertThatThrownBy(() -> Gguf.open(folder))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContainingAll(folder.toString(), "folder");
        Path empty = Files.createFile(folder.resolve("empty.gguf"));
        assertThatThrownBy(() -> Gguf.open(empty))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContainingAll("empty.gguf", "is empty");
        Path text = Files.writeString(folder.resolve("page.gguf"), "<!doctype html> not found".repeat(10));
        assertThatThrownBy(() -> Gguf.open(text))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContainingAll("page.gguf", "not a GGUF file");
    }

    @Test
    void fingerprint_anyByteChanged_isAnother() {
        byte[] data = new byte[3 << 20];
        byte[] file = new GgufWriter()
                .string("general.name", "one")
                .tensor("t", 0, data)
                .toBytes();
        byte[] print = fingerprint(file);

        assertThat(fingerprint(file.clone())).isEqualTo(print);
        for (int at :
                new int[] {file.length - 1, file.length - (1 << 20), file.length / 2, file.length - data.length}) {
            byte[] changed = file.clone();
            changed[at] ^= 1;
            assertThat(fingerprint(changed)).as("byte %d", at).isNotEqualTo(print);
        }
    }

    /** A load that asks twice reads gigabytes once. */
    @Test
    void fingerprint_again_doesNotReadAgain() {
        byte[] file = new GgufWriter().tensor("t", 0, new byte[64]).toBytes();
        try (Gguf gguf = Gguf.open("test", MemorySegment.ofArray(file))) {
            byte[] first = gguf.fingerprint();
            file[file.length - 1] ^= 1; // nobody does this but a test that asks what was read
            byte[] again = gguf.fingerprint();
            assertThat(again).isEqualTo(first).isNotSameAs(first);
        }
    }

    private static byte[] fingerprint(byte[] file) {
        try (Gguf gguf = Gguf.open("test", MemorySegment.ofArray(file))) {
            return gguf.fingerprint();
        }
    }

    @Test
    void open_fileOnDisk_isReadAndReleased() throws IOException {
        Path path = new GgufWriter()
                .string("k", "v")
                .tensor("t", ElementType.F32, new float[] {1, 2}, 2)
                .write(folder.resolve("a.gguf"));
        Gguf gguf = Gguf.open(path);
        MemorySegment data = gguf.data(gguf.tensor("t", 2));
        assertThat(data.get(ValueLayout.JAVA_FLOAT, 4)).isEqualTo(2);
        assertThat(data.isMapped()).isTrue();
        assertThat(gguf.byteSize()).isEqualTo(Files.size(path));
        gguf.close();
        assertThatThrownBy(() -> data.get(ValueLayout.JAVA_FLOAT, 4)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void open_storiesModel_hasTheDocumentedContents() {
        Path path = shared("models/stories260K.gguf");
        try (Gguf gguf = Gguf.open(path)) {
            assertThat(gguf.version()).isEqualTo(3);
            assertThat(gguf.string("general.architecture")).isEqualTo("llama");
            assertThat(gguf.int32("llama.embedding_length")).isEqualTo(64);
            assertThat(gguf.strings("tokenizer.ggml.tokens")).hasSize(512).startsWith("<unk>", "<s>", "</s>");
            assertThat(gguf.float32s("tokenizer.ggml.scores")).hasSize(512);
            assertThat(gguf.int32s("tokenizer.ggml.token_type")).startsWith(2, 3, 3);
            assertThat(gguf.bool("tokenizer.ggml.add_bos_token")).isTrue();
            assertThat(gguf.tensors()).hasSize(47).allMatch(t -> t.type() == GgufType.F32);
            assertThat(gguf.tensors().stream().mapToLong(GgufTensor::elements).sum())
                    .isBetween(250_000L, 270_000L);
        }
    }

    @ParameterizedTest
    @CsvSource({"llama-spm, llama, 32000", "gpt-2, gpt2, 50257", "deepseek-coder, gpt2, 32256"})
    void open_vocabularyOnlyFile_hasTokensAndNoTensors(String name, String model, int tokens) {
        try (Gguf gguf = Gguf.open(shared("vocab/" + name + ".gguf"))) {
            assertThat(gguf.string("tokenizer.ggml.model")).isEqualTo(model);
            assertThat(gguf.length("tokenizer.ggml.tokens")).isEqualTo(tokens);
            ByteStrings bytes = gguf.byteStrings("tokenizer.ggml.tokens");
            String[] strings = gguf.strings("tokenizer.ggml.tokens");
            for (int i = 0; i < tokens; i++) {
                assertThat(bytes.text(i)).isEqualTo(strings[i]);
            }
            assertThat(gguf.tensors()).isEmpty();
            assertThatThrownBy(() -> gguf.tensor("token_embd.weight", 64, tokens))
                    .hasMessageContainingAll("no tensors", "name a file with the model's weights");
        }
    }

    private static Path shared(String name) {
        Path path = Path.of(System.getProperty("quire.shared", "../shared"), name);
        assumeTrue(Files.exists(path), () -> path + " is not there");
        return path;
    }

    private static float[] gaussians(int count) {
        SplittableRandom random = new SplittableRandom(1);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }
}
