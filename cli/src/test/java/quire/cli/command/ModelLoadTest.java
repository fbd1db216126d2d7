package quire.cli.command;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Requests;

@Timeout(60)
class ModelLoadTest {
    private static Engine engine() {
        EngineConfig config = Requests.config(4, 16, 16);
        return Engine.of(
                FakeModel.fitting(config, 64),
                new FakeTokenizer(),
                null,
                "fake",
                config,
                EngineListener.NONE,
                System::nanoTime);
    }

    @Test
    void finish_serverListens_returnsTheEngine() {
        try (ModelLoad load = new ModelLoad()) {
            load.start(() -> {
                load.awaitListening();
                return engine();
            });
            try (Engine engine = load.finish()) {
                assertThat(engine.modelName()).isEqualTo("fake");
            }
        }
    }

    @Test
    void finish_loadFails_throwsTheSame() {
        IllegalArgumentException broken = new IllegalArgumentException("the model is broken");
        try (ModelLoad load = new ModelLoad()) {
            load.start(() -> {
                throw broken;
            });
            assertThatThrownBy(load::finish).isSameAs(broken);
        }
        StackOverflowError error = new StackOverflowError();
        try (ModelLoad load = new ModelLoad()) {
            load.start(() -> {
                throw error;
            });
            assertThatThrownBy(load::finish).isSameAs(error);
        }
    }

    @Test
    void close_serverDoesNotListen_endsTheLoadBeforeWeights() {
        CompletableFuture<Throwable> ended = new CompletableFuture<>();
        try (ModelLoad load = new ModelLoad()) {
            load.start(() -> {
                try {
                    load.awaitListening();
                } catch (IllegalStateException e) {
                    ended.complete(e);
                    throw e;
                }
                return engine();
            });
        }
        assertThat(ended.join()).hasMessage("the server does not listen");
    }

    @Test
    void close_serverDoesNotListen_closesAnEngineThatHasNoWeights() throws Exception {
        Engine engine = engine();
        try (ModelLoad load = new ModelLoad()) {
            load.start(() -> engine);
        }
        assertThat(engine.awaitEnd()).isNull();
    }
}
