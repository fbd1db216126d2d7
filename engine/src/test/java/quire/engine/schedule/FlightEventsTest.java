package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Speculation;

/** What a recording of Java's flight recorder has. */
class FlightEventsTest {
    private static final int MILLION = 1_000_000;

    @TempDir
    private Path folder;

    private long clock;

    @Test
    void recording_ofTwoRequests_hasTheirStepsAndEnds() throws Exception {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(2)
                .maxBatchedTokens(16)
                .maxQueuedRequests(8)
                .maxQueuedTokens(1 << 10)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        List<RecordedEvent> events;
        try (FakeModel model = FakeModel.fitting(config, 64, FakeTokenizer.VOCABULARY_SIZE);
                Recording recording = new Recording()) {
            model.onForward(batch -> clock += MILLION); // a millisecond of the engine's clock
            EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .nanoClock(() -> clock)
                    .build();
            recording.enable("io.quire.Step").withThreshold(Duration.ZERO);
            recording.enable("io.quire.Request");
            recording.start();
            loop.submit(request("long", 20, 3));
            loop.submit(request("short", 2, 1));
            loop.submit(request("", 2, 1)).close();
            while (loop.doWork() > 0) {}
            recording.stop();
            Path file = folder.resolve("events.jfr");
            recording.dump(file);
            events = RecordingFile.readAllEvents(file);
        }
        List<RecordedEvent> steps = named(events, "io.quire.Step");
        assertThat(steps).extracting(each -> each.getInt("tokens")).startsWith(16);
        assertThat(steps.stream().mapToInt(each -> each.getInt("promptTokens")).sum())
                .isEqualTo(22);
        assertThat(steps.stream()
                        .mapToInt(each -> each.getInt("generatedTokens"))
                        .sum())
                .isEqualTo(4);
        assertThat(steps.getFirst().getInt("running")).isEqualTo(2);
        assertThat(steps.getFirst().getInt("freePages")).isPositive();
        assertThat(steps).allSatisfy(each -> assertThat(each.getDuration()).isPositive());

        List<RecordedEvent> requests = named(events, "io.quire.Request");
        assertThat(requests)
                .extracting(each -> each.getString("request"))
                .containsExactlyInAnyOrder("long", "short", "");
        RecordedEvent longer = requests.stream()
                .filter(each -> each.getString("request").equals("long"))
                .findFirst()
                .orElseThrow();
        assertThat(longer.getString("reason")).isEqualTo("LENGTH");
        assertThat(longer.getInt("promptTokens")).isEqualTo(20);
        assertThat(longer.getInt("generatedTokens")).isEqualTo(3);
        assertThat(longer.getDuration("total").toMillis()).isEqualTo(steps.size());
        assertThat(longer.getDuration("firstToken")).isEqualTo(Duration.ofMillis(2));
        assertThat(longer.getDuration("queued")).isZero();
        RecordedEvent left = requests.stream()
                .filter(each -> each.getString("request").isEmpty())
                .findFirst()
                .orElseThrow();
        assertThat(left.getString("reason")).isEqualTo("CANCELLED");
        assertThat(left.getInt("generatedTokens")).isZero();
    }

    private static List<RecordedEvent> named(List<RecordedEvent> events, String name) {
        return events.stream()
                .filter(each -> each.getEventType().getName().equals(name))
                .toList();
    }

    private static Request request(String name, int promptTokens, int maxTokens) {
        return new Request(
                        new int[promptTokens],
                        SamplingParams.builder()
                                .maxTokens(maxTokens)
                                .temperature(0)
                                .ignoreEndOfText(true)
                                .build())
                .withName(name);
    }
}
