package quire.engine;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.belongToAnyOf;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

/**
 * Which package of this module may use which.
 *
 * <pre>
 *   Engine ──▶ speculate ──▶ schedule ──▶ sample ──▶ values ──▶ constrain, disk
 *                                                           chat ──▶ constrain
 *
 *   values: every other type of quire.engine
 * </pre>
 */
class PackagesTest {
    private static final JavaClasses CLASSES = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_PACKAGE_INFOS)
            .importPackages("quire.engine");

    @Test
    void packages_all_areRead() {
        assertThat(CLASSES.stream().map(JavaClass::getPackageName).distinct())
                .containsExactlyInAnyOrder(
                        "quire.engine",
                        "quire.engine.chat",
                        "quire.engine.constrain",
                        "quire.engine.disk",
                        "quire.engine.sample",
                        "quire.engine.schedule",
                        "quire.engine.speculate");
    }

    @Test
    void dependencies_betweenPackages_goOneWay() {
        layeredArchitecture()
                .consideringOnlyDependenciesInLayers()
                .layer("Engine")
                .definedBy(belongToAnyOf(Engine.class))
                .layer("speculate")
                .definedBy("quire.engine.speculate")
                .layer("schedule")
                .definedBy("quire.engine.schedule")
                .layer("sample")
                .definedBy("quire.engine.sample")
                .layer("constrain")
                .definedBy("quire.engine.constrain")
                .layer("chat")
                .definedBy("quire.engine.chat")
                .layer("disk")
                .definedBy("quire.engine.disk")
                .layer("values")
                .definedBy(resideInAPackage("quire.engine").and(not(belongToAnyOf(Engine.class))))
                .whereLayer("Engine")
                .mayNotBeAccessedByAnyLayer()
                .whereLayer("speculate")
                .mayOnlyBeAccessedByLayers("Engine")
                .whereLayer("schedule")
                .mayOnlyBeAccessedByLayers("Engine", "speculate")
                .whereLayer("sample")
                .mayOnlyBeAccessedByLayers("speculate", "schedule")
                .whereLayer("chat")
                .mayNotBeAccessedByAnyLayer()
                .whereLayer("chat")
                .mayOnlyAccessLayers("constrain")
                .whereLayer("values")
                .mayOnlyBeAccessedByLayers("Engine", "speculate", "schedule", "sample")
                .whereLayer("disk")
                .mayOnlyBeAccessedByLayers("Engine", "schedule", "values")
                .check(CLASSES);
    }
}
