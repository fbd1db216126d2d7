package quire.server;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** Imports only go down, as the package's Javadoc shows them. */
class ArchitectureTest {
    private static final JavaClasses CLASSES = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages("quire.server");

    @Test
    void packages_all_haveNoCycles() {
        assertThat(CLASSES.stream().map(c -> c.getPackageName()).distinct()).hasSizeGreaterThanOrEqualTo(4);
        slices().matching("quire.(**)").should().beFreeOfCycles().check(CLASSES);
    }

    @Test
    void http_usesNoApiAndNoEngine() {
        noClasses()
                .that()
                .resideInAPackage("quire.server.http")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("quire.engine..", "quire.model..", "tools.jackson..")
                .orShould()
                .dependOnClassesThat()
                .haveNameMatching("quire\\.server\\.(?!http\\.).*")
                .check(CLASSES);
    }

    @Test
    void sharedApi_usesNoApiInParticular() {
        noClasses()
                .that()
                .resideInAPackage("quire.server.api")
                .should()
                .dependOnClassesThat()
                .haveNameMatching("quire\\.server\\.(?!http\\.|api\\.).*")
                .check(CLASSES);
    }

    @Test
    void oneApi_usesNoOther() {
        Pattern known = Pattern.compile("quire\\.server(\\.http|\\.api)?");
        for (String name : CLASSES.stream()
                .map(c -> c.getPackageName())
                .distinct()
                .filter(name -> !known.matcher(name).matches())
                .toList()) {
            noClasses()
                    .that()
                    .resideInAPackage(name)
                    .should()
                    .dependOnClassesThat()
                    .haveNameMatching("quire\\.server\\.(?!http\\.|api\\.|"
                            + Pattern.quote(name.substring("quire.server.".length())) + "\\.).*")
                    .check(CLASSES);
        }
    }

    @Test
    void vertx_isUsedByHttpAlone() {
        noClasses()
                .that()
                .resideOutsideOfPackage("quire.server.http")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("io.vertx..", "io.netty..")
                .check(CLASSES);
    }
}
