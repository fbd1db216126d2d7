package quire.model;

import java.util.Comparator;
import java.util.Map;
import java.util.TreeMap;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufValueType;

/**
 * What a file says of its model, for lists that people and tools read.
 *
 * @param architecture as {@code general.architecture} names it
 * @param name for people; empty if the file has none
 * @param parameters numbers in all tensors
 * @param weights how most of them are stored, as files are called, such as Q4_K_M
 * @param layers blocks of the model
 * @param width numbers of a position between the blocks
 * @param heads query heads of a block
 * @param kvHeads key and value heads of a block
 * @param vocabularySize tokens that the model knows
 * @param fileBytes bytes of all files of the model
 */
public record ModelFacts(
        String architecture,
        String name,
        long parameters,
        String weights,
        int layers,
        int width,
        int heads,
        int kvHeads,
        int vocabularySize,
        long fileBytes) {
    /** Mixtures of types, by {@code general.file_type}; other numbers stand for a single type, which the tensors show. */
    private static final Map<Integer, String> MIXTURES = Map.ofEntries(
            Map.entry(11, "Q3_K_S"),
            Map.entry(12, "Q3_K_M"),
            Map.entry(13, "Q3_K_L"),
            Map.entry(14, "Q4_K_S"),
            Map.entry(15, "Q4_K_M"),
            Map.entry(16, "Q5_K_S"),
            Map.entry(17, "Q5_K_M"),
            Map.entry(21, "Q2_K_S"),
            Map.entry(22, "IQ3_XS"),
            Map.entry(27, "IQ3_M"),
            Map.entry(29, "IQ2_M"));

    /** Reads them. */
    public static ModelFacts of(Gguf file, ModelConfig shape) {
        Map<String, Long> typeToNumbers = new TreeMap<>();
        long parameters = 0;
        for (GgufTensor tensor : file.tensors()) {
            parameters += tensor.elements();
            typeToNumbers.merge(tensor.type().name(), tensor.elements(), Long::sum);
        }
        String most = typeToNumbers.entrySet().stream()
                .max(Comparator.comparingLong(Map.Entry::getValue))
                .map(Map.Entry::getKey)
                .orElse("");
        return new ModelFacts(
                shape.architecture(),
                shape.name(),
                parameters,
                MIXTURES.getOrDefault(fileType(file), most),
                shape.layers(),
                shape.hidden(),
                shape.heads(),
                shape.kvHeads(),
                shape.vocabularySize(),
                file.byteSize());
    }

    /** A note for people, so a file with another kind of value is as good as one without it. */
    private static int fileType(Gguf file) {
        String key = "general.file_type";
        boolean single = file.has(key) && file.type(key) != GgufValueType.ARRAY;
        return single && file.scalar(key) instanceof Number number ? number.intValue() : -1;
    }
}
