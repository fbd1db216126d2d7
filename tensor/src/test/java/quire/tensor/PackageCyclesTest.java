package quire.tensor;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.library.dependencies.SlicesRuleDefinition;
import org.junit.jupiter.api.Test;

class PackageCyclesTest {
    @Test
    void packages_ofThisModule_haveNoCycles() {
        JavaClasses classes = new ClassFileImporter()
                .withImportOption(new ImportOption.DoNotIncludeTests())
                .importPackages("quire.tensor");

        SlicesRuleDefinition.slices()
                .matching("quire.(**)")
                .should()
                .beFreeOfCycles()
                .check(classes);
    }
}
