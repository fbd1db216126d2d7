package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.reflect.Proxy;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import quire.engine.FakeTokenizer;
import quire.model.text.Tokenizer;

class ConstraintsTest {
    @Test
    void begin_afterPrepare_readsNoToken() {
        AtomicInteger read = new AtomicInteger();
        Constraints constraints = new Constraints(counting(new FakeTokenizer(), read));
        constraints.prepare();
        int afterwards = read.get();

        assertThat(constraints.begin(Constraint.choice(List.of("yes"))).mask().allows('y' + 2))
                .isTrue();

        assertThat(afterwards).isEqualTo(256);
        assertThat(read).hasValue(afterwards);
    }

    /** The walk through the answer to the sample ends early where it does not match. */
    @Test
    void sample_ofTheWarmUp_allowsItsAnswer() {
        assertThat(WarmUp.sample().matches(WarmUp.ANSWER)).isTrue();
        assertThat(WarmUp.sample().matches(WarmUp.ANSWER.replace("\"edit\"", "\"other\"")))
                .isFalse();
    }

    /** Before each sample and before the walk; the samples are compiled once for each process. */
    @Test
    void warmUp_asksWhetherOthersNeedTheProcessors() {
        AtomicInteger asked = new AtomicInteger();
        WarmUp.run(new Vocabulary(new FakeTokenizer()), new Profiles(), asked::incrementAndGet);
        assertThat(asked.get()).isGreaterThanOrEqualTo(2);
    }

    @Test
    void warmUp_knowsTheTokensOfStringsInOtherSchemas() {
        Vocabulary vocabulary = new Vocabulary(new FakeTokenizer());
        Profiles profiles = new Profiles();
        WarmUp.run(vocabulary, profiles, () -> {});
        int known = profiles.size();

        Automaton text = new Automaton(Constraint.jsonSchema(Map.of("type", "string")), vocabulary, profiles);
        text.mask(text.advance(text.start(), '"' + 2));

        assertThat(known).isPositive();
        assertThat(profiles.size()).isEqualTo(known);
    }

    /** Agents send hundreds of strings, and the time to compile grows with the rules. */
    @Test
    void compile_scalarsThatDifferInDescriptions_areOneRule() {
        Expressions expressions = new Expressions(10_000);
        for (String name : List.of("a", "b", "c")) {
            Map<String, Object> text = Map.of("type", "string", "description", "the text " + name, "title", name);
            Map<String, Object> few = Map.of("type", "string", "maxLength", 3, "description", name);
            Map<String, Object> choice = Map.of("enum", List.of("x", 1, true), "default", name);
            Map<String, Object> any = Map.of("description", name); // its objects depend on their place
            Map<String, Object> properties = Map.of(name, text, "few", few, "choice", choice, "any", any);

            JsonSchema.compile(
                    Map.of("type", "object", "properties", properties, "additionalProperties", false),
                    PropertyOrder.GUIDED,
                    expressions);
        }
        assertThat(expressions.newRule())
                .as("three scalars, and for each schema its root, a value of any type and what that holds")
                .isEqualTo(3 + 3 * 3);
    }

    /** A scalar that an earlier schema has too keeps its meaning, whatever stands beside it. */
    @Test
    void compile_scalarsOfSeveralSchemas_keepTheirMeaning() {
        Part.Json digits = new Part.Json(Map.of("type", "integer", "maximum", 9, "minimum", 0, "title", "first"));
        Part.Json digitsOrNull = new Part.Json(
                Map.of("type", List.of("integer", "null"), "maximum", 9, "minimum", 0, "title", "second"));
        Part.Json small = new Part.Json(Map.of("minimum", 0, "type", "integer", "maximum", 3));
        Constraint constraint = Constraint.of(Part.sequence(digits, digits, digitsOrNull, small));

        for (String text : List.of("5573", "90null0")) {
            assertThat(constraint.matches(text)).as(text).isTrue();
        }
        for (String text : List.of("5574", "null551", "55null9")) {
            assertThat(constraint.matches(text)).as(text).isFalse();
        }
    }

    @Test
    void compile_typeThatIsNoText_isRefused() {
        Map<String, Object> schema = Map.of("items", Map.of("type", Collections.singletonList(null)));

        assertThatThrownBy(() -> Constraint.jsonSchema(schema))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining("'/items/type' must be one or several of");
    }

    private static Tokenizer counting(Tokenizer tokenizer, AtomicInteger read) {
        return (Tokenizer) Proxy.newProxyInstance(
                ConstraintsTest.class.getClassLoader(), new Class<?>[] {Tokenizer.class}, (proxy, method, args) -> {
                    if (method.getName().equals("bytes")) {
                        read.incrementAndGet();
                    }
                    return method.invoke(tokenizer, args);
                });
    }
}
