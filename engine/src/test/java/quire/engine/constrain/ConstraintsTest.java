package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Proxy;
import java.util.List;
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
