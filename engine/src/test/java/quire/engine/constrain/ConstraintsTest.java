package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Proxy;
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

    @Test
    void warmUp_knowsTheTokensOfStringsInOtherSchemas() {
        Vocabulary vocabulary = new Vocabulary(new FakeTokenizer());
        Profiles profiles = new Profiles();
        WarmUp.run(vocabulary, profiles);
        int known = profiles.size();

        Automaton text = new Automaton(Constraint.jsonSchema(Map.of("type", "string")), vocabulary, profiles);
        text.mask(text.advance(text.start(), '"' + 2));

        assertThat(known).isPositive();
        assertThat(profiles.size()).isEqualTo(known);
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
