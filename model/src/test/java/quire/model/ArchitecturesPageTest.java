package quire.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The page lists every architecture, as errors do, and the README says how many are computed. */
class ArchitecturesPageTest {
    @Test
    void page_everyArchitecture_isListedAsComputed() throws IOException {
        String page = Files.readString(Path.of("../docs/architectures.md"));
        String computed = page.substring(0, page.indexOf("## Not yet"));
        assertThat(Architectures.NAMES).allSatisfy(name -> assertThat(computed).contains("`" + name + "`"));
        assertThat(Files.readString(Path.of("../README.md")))
                .contains("GGUF files of " + Architectures.NAMES.size() + " architectures");
    }

    /** Each line of the second table is what an error says of these architectures. */
    @Test
    void page_everyArchitectureThatIsNotComputed_lacksWhatTheErrorSays() throws IOException {
        String page = Files.readString(Path.of("../docs/architectures.md"));
        List<String> listed = new ArrayList<>();
        page.substring(page.indexOf("## Not yet"))
                .lines()
                .filter(line -> line.startsWith("| `"))
                .forEach(line -> {
                    String[] cells = line.split("\\|", -1);
                    for (String name : cells[1].strip().split(", ", -1)) {
                        String plain = name.replace("`", "");
                        assertThat(MissingParts.of(plain)).as(plain).isEqualTo(cells[2].strip());
                        listed.add(plain);
                    }
                });
        assertThat(listed).containsExactlyInAnyOrderElementsOf(MissingParts.names());
        assertThat(MissingParts.names()).isNotEmpty().doesNotContainAnyElementsOf(Architectures.NAMES);
    }
}
