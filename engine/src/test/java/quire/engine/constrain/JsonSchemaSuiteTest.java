package quire.engine.constrain;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/**
 * The JSON Schema Test Suite (draft 2020-12, required tests). Each schema is refused, or the constraint accepts exactly
 * the valid values. A value is written in the form that {@link JsonSchema} describes, with its properties in any order.
 *
 * <p>The data are from github.com/json-schema-org/JSON-Schema-Test-Suite, commit 44401e0c, under the license beside
 * them. The suite says that {@code format} has no effect by default; Quire enforces it.
 */
class JsonSchemaSuiteTest {
    /** Keywords for which some schemas of the suite are refused. */
    private static final Set<String> REFUSED = Set.of(
            "$schema", // of a vocabulary of its own
            "$dynamicRef",
            "$dynamicAnchor",
            "$id",
            "$ref",
            "unevaluatedProperties",
            "unevaluatedItems",
            "oneOf",
            "uniqueItems",
            "multipleOf",
            "patternProperties",
            "prefixItems",
            "contains",
            "minProperties",
            "const", // inside of not and if
            "type");

    @Test
    void matches_eachTestOfTheSuite_asItSays() throws IOException {
        Object suite;
        try (InputStream in =
                requireNonNull(JsonSchemaSuiteTest.class.getResourceAsStream("json-schema-test-suite.json"))) {
            suite = Schemas.parse(new String(in.readAllBytes(), StandardCharsets.UTF_8));
        }
        List<String> faults = new ArrayList<>();
        int right = 0;
        int refused = 0;
        int enforced = 0;
        for (Map.Entry<?, ?> file : ((Map<?, ?>) suite).entrySet()) {
            for (Object group : (List<?>) file.getValue()) {
                Map<?, ?> fields = (Map<?, ?>) group;
                Constraint constraint = null;
                try {
                    constraint = Constraint.jsonSchema(requireNonNull(fields.get("schema")), PropertyOrder.ANY);
                } catch (InvalidConstraintException e) {
                    if (!String.valueOf(e.getMessage()).startsWith("no text satisfies")) {
                        assertThat(e.where().replaceAll(".*/", ""))
                                .as("%s: %s", fields.get("description"), e.getMessage())
                                .isIn(REFUSED);
                        refused += ((List<?>) requireNonNull(fields.get("tests"))).size();
                        continue;
                    }
                }
                for (Object test : (List<?>) requireNonNull(fields.get("tests"))) {
                    Map<?, ?> parts = (Map<?, ?>) test;
                    boolean accepts = constraint != null && accepts(constraint, texts(parts.get("data")));
                    if (accepts == Boolean.TRUE.equals(parts.get("valid"))) {
                        right++;
                    } else if (file.getKey().equals("format") && !accepts) {
                        enforced++;
                    } else {
                        faults.add(file.getKey() + ", " + fields.get("description") + ", " + parts.get("description")
                                + (accepts ? ": wrongly accepted" : ": wrongly rejected"));
                    }
                }
            }
        }
        assertThat(faults).isEmpty();
        String counts = String.format(
                Locale.ROOT,
                "Of the %,d required tests of the JSON Schema Test Suite (draft 2020-12), %,d are decided right and %,d belong to"
                        + " schemas that are refused. %,d tests say that `format` has no effect",
                right + refused + enforced,
                right,
                refused,
                enforced);
        assertThat(Files.readString(Path.of("../docs/constraints.md")).replace('\n', ' '))
                .contains(counts);
    }

    /** Whether a constraint accepts all of some texts. It must not accept only some. */
    private static boolean accepts(Constraint constraint, List<String> texts) {
        Expressions expressions = constraint.expressions(1_000_000);
        List<String> accepted = texts.stream()
                .filter(text -> expressions.matches(constraint.start(), text.getBytes(StandardCharsets.UTF_8)))
                .toList();
        assertThat(accepted).isIn(texts, List.of());
        return !accepted.isEmpty();
    }

    /** The texts of a value, with its properties in all orders. */
    private static List<String> texts(@Nullable Object value) {
        return switch (value) {
            case null -> List.of("null");
            case Number number -> List.of(Schemas.number(number));
            case String text -> List.of(Schemas.string(text));
            case List<?> list ->
                joined("[", list.stream().map(JsonSchemaSuiteTest::texts).toList(), "]");
            case Map<?, ?> map -> {
                List<String> all = new ArrayList<>();
                orders(new ArrayList<>(map.entrySet()), 0, all);
                yield all;
            }
            default -> List.of(value.toString());
        };
    }

    private static void orders(List<Map.Entry<?, ?>> entries, int from, List<String> all) {
        if (from == entries.size()) {
            List<List<String>> pairs = new ArrayList<>();
            for (Map.Entry<?, ?> entry : entries) {
                String key = texts(entry.getKey()).getFirst() + ": ";
                pairs.add(texts(entry.getValue()).stream().map(key::concat).toList());
            }
            all.addAll(joined("{", pairs, "}"));
            return;
        }
        for (int i = from; i < entries.size(); i++) {
            Collections.swap(entries, i, from);
            orders(entries, from + 1, all);
            Collections.swap(entries, i, from);
        }
    }

    private static List<String> joined(String start, List<List<String>> parts, String end) {
        List<String> result = List.of(start);
        for (int i = 0; i < parts.size(); i++) {
            List<String> longer = new ArrayList<>();
            for (String before : result) {
                for (String part : parts.get(i)) {
                    longer.add(before + (i > 0 ? "," : "") + part);
                }
            }
            result = longer;
        }
        return result.stream().map(text -> text + end).toList();
    }
}
