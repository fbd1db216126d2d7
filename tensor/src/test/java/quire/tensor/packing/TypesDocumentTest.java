package quire.tensor.packing;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import quire.tensor.Activations;
import quire.tensor.ElementType;

class TypesDocumentTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "types.md");

    @Test
    void document_hasTheBitsOfEveryType() throws IOException {
        Path printed = Files.writeString(Path.of("target", "types.md"), table());
        assertThat(Files.readString(DOCUMENT)).as("copy %s to docs/", printed).contains(table());
    }

    private static String table() {
        return Arrays.stream(ElementType.values())
                .map(TypesDocumentTest::row)
                .collect(Collectors.joining(
                        "\n", "| type | block | bits in the file | bits packed |\n|---|---|---|---|\n", "\n"));
    }

    private static String row(ElementType type) {
        double inFile = 8.0 * type.blockBytes() / type.blockElements();
        double packed = inFile;
        if (type.isQuantized()) {
            PackedForm form = PackedForm.of(type);
            int numbers = PackedForm.PANEL * Activations.BLOCK * form.groupBlocks();
            packed = 8.0 * (form.wordBytes() * form.groupBlocks() + form.scaleBytes()) / numbers;
        }
        return String.format(Locale.ROOT, "| %s | %d | %.2f | %.2f |", type, type.blockElements(), inFile, packed);
    }
}
