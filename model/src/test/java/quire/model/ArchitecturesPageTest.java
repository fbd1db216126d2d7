package quire.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The page lists every architecture that is computed, and the README says how many there are. */
class ArchitecturesPageTest {
    @Test
    void page_everyArchitecture_isListedAsComputed() throws IOException {
        String page = Files.readString(Path.of("../docs/architectures.md"));
        String computed = page.substring(0, page.indexOf("## Not yet"));
        assertThat(Architectures.NAMES).allSatisfy(name -> assertThat(computed).contains("`" + name + "`"));
        assertThat(Files.readString(Path.of("../README.md")))
                .contains("GGUF files of " + Architectures.NAMES.size() + " architectures");
    }
}
