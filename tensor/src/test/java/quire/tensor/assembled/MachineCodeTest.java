package quire.tensor.assembled;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.ElementType;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.x86.Binutils;

/**
 * Compares all code that can be assembled with GNU binutils, also for instructions that this processor does not have.
 */
class MachineCodeTest {
    private static final byte RETURN = (byte) 0xC3;

    @TempDir
    private Path folder;

    @ParameterizedTest
    @EnumSource
    void machineCode_anyInstructions_listsAllThatIsAssembled(Instructions instructions) {
        Map<String, Kernels.Assembly> code = kernels(instructions).machineCode();
        List<String> names =
                new ArrayList<>(List.of("quantize", "rms-norm", "add", "swiglu", "geglu", "clamped-swiglu", "rope"));
        names.addAll(List.of("sigmoid-product", "squared-relu", "exact-geglu"));
        names.addAll(List.of("ceiling-read-x1", "ceiling-read-x2", "ceiling-read-x4", "ceiling-f32", "ceiling-int8"));
        names.addAll(List.of("cpuid", "xgetbv"));
        for (ElementType type : ElementType.values()) {
            names.add(type.name().toLowerCase(Locale.ROOT) + "-x1");
            names.add(type.name().toLowerCase(Locale.ROOT) + "-x4");
        }
        for (String type : List.of("f16", "f32", "q8_0")) {
            names.add("store-" + type);
            for (String shape : List.of("4-of-64-over-1", "4-of-128-over-1")) {
                for (String function : List.of("x1", "finish", "clear")) {
                    names.add("attend-" + type + "-" + shape + "-" + function);
                }
            }
        }

        assertThat(code).containsKeys(names.toArray(new String[0]));
        assertThat(code).allSatisfy((name, parts) -> assertThat(parts.instructions()
                        .get(ValueLayout.JAVA_BYTE, parts.instructions().byteSize() - 1))
                .as(name)
                .isEqualTo(RETURN));
        assertThat(Objects.requireNonNull(code.get("iq4_nl-x1")).constants().byteSize())
                .isPositive();
    }

    @ParameterizedTest
    @EnumSource
    void machineCode_anyInstructions_isWhatBinutilsReadAndWrite(Instructions instructions)
            throws IOException, InterruptedException {
        assumeTrue(Binutils.present());
        AssembledKernels kernels = kernels(instructions);
        int[] headDims = {1, 7, 20, 80, 129};
        int[] groups = {1, 3, 7, 13, 2};
        try (Arena arena = Arena.ofConfined()) {
            for (KvLayout.KvType type : KvLayout.KvType.values()) {
                for (int i = 0; i < headDims.length; i++) {
                    kernels.attentionScratch(new KvLayout(type, 16, 2, headDims[i]), 2 * groups[i], arena);
                }
            }
        }
        Map<String, Kernels.Assembly> code = kernels.machineCode();
        TreeMap<Integer, String> beginToName = new TreeMap<>();
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        code.forEach((name, parts) -> {
            beginToName.put(bytes.size(), name);
            bytes.writeBytes(parts.instructions().toArray(ValueLayout.JAVA_BYTE));
        });
        List<Binutils.Instruction> read = Binutils.disassemble(bytes.toByteArray(), folder);

        Set<Integer> begins = new HashSet<>();
        read.forEach(instruction -> begins.add(instruction.at()));
        Map<String, String> sourceToCode = new LinkedHashMap<>();
        List<String> wrong = new ArrayList<>();
        for (Binutils.Instruction each : read) {
            int begin = beginToName.floorKey(each.at());
            String where = beginToName.get(begin) + ": " + each;
            Kernels.Assembly parts = Objects.requireNonNull(code.get(beginToName.get(begin)));
            long end = begin + parts.instructions().byteSize();
            if (each.text().contains("(bad)")) {
                wrong.add(where);
                continue;
            }
            String source = each.text();
            if (source.startsWith("j")) {
                String[] words = source.split(" 0x", 2);
                int target = Integer.parseInt(words[1], 16);
                source = "{disp32} " + words[0] + " 7b + (" + (target - each.at()) + ")";
                if (!begins.contains(target) || target < begin || target >= end) {
                    wrong.add(where + " jumps to no instruction");
                }
            }
            if (source.contains("[rip")) {
                long target = Long.parseLong(each.note().substring(2), 16);
                if (target < end || target >= end + parts.constants().byteSize()) {
                    wrong.add(where + " loads no constant");
                }
            }
            if (source.startsWith("vpdpbusd") && !each.code().startsWith("62")) {
                source = "{vex} " + source; // older versions of objdump omit it
            }
            sourceToCode.put(source + " # " + each.code(), each.code());
        }
        List<String> sources = List.copyOf(sourceToCode.keySet());
        List<String> written = Binutils.assemble(sources, folder);
        for (int i = 0; i < sources.size(); i++) {
            if (!written.get(i).equals(sourceToCode.get(sources.get(i))) && !isCopy(sources.get(i))) {
                wrong.add(sources.get(i) + ", as says " + written.get(i));
            }
        }
        assertThat(wrong).isEmpty();
        assertThat(beginToName.keySet()).isSubsetOf(begins);
        assertThat(sources).hasSizeGreaterThan(1000);
    }

    /** Copies between registers have two encodings. The assembler always writes the load, binutils the shorter one. */
    private static boolean isCopy(String source) {
        return source.matches("vmovups [xy]mm\\d+,[xy]mm\\d+ # .*");
    }

    private static AssembledKernels kernels(Instructions instructions) {
        try {
            return new AssembledKernels(instructions, "under test");
        } catch (UnsupportedOperationException e) {
            assumeTrue(false, String.valueOf(e.getMessage()));
            throw e;
        }
    }
}
