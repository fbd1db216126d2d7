package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassModel;
import java.lang.classfile.instruction.InvokeInstruction;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * The engine uses no sort of the JDK. Whether such a sort allocates depends on the processor: JDK 25 partitions {@code
 * long[]} with SIMD instructions where there is AVX-512, and {@code int[]} where there is AVX2, and then allocates in
 * every partition step. So no test on another processor would see it.
 *
 * <p>The package {@code constrain} may sort: it does so when it reads a constraint and when it meets a state for the
 * first time, which allocates in any case. {@code chat} and {@code disk} may sort when a model or a file is opened.
 */
class JdkSortsTest {
    private static final Set<String> SORTS = Set.of("sort", "parallelSort", "sorted");

    @Test
    void engineClasses_callNoSortOfTheJdk() throws IOException, URISyntaxException {
        Path classes = Path.of(
                Engine.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        try (Stream<Path> files = Files.walk(classes)) {
            List<Path> all = files.filter(file -> file.toString().endsWith(".class"))
                    .filter(file -> Stream.of("constrain", "chat", "disk")
                            .noneMatch(name -> file.startsWith(classes.resolve("quire/engine/" + name))))
                    .toList();
            assertThat(all).hasSizeGreaterThan(20);
            assertThat(all.stream().flatMap(JdkSortsTest::sorts)).isEmpty();
        }
    }

    private static Stream<String> sorts(Path file) {
        ClassModel type;
        try {
            type = ClassFile.of().parse(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return type.methods().stream()
                .flatMap(method -> method.code().stream())
                .flatMap(code -> code.elementStream())
                .filter(InvokeInstruction.class::isInstance)
                .map(InvokeInstruction.class::cast)
                .filter(call -> SORTS.contains(call.name().stringValue()))
                .filter(call -> call.owner().asInternalName().startsWith("java/"))
                .map(call -> file.getFileName() + " calls " + call.owner().asInternalName() + "."
                        + call.name().stringValue());
    }
}
