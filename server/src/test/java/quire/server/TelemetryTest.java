package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.metrics.SdkMeterProvider;
import io.opentelemetry.sdk.metrics.data.HistogramPointData;
import io.opentelemetry.sdk.metrics.data.MetricData;
import io.opentelemetry.sdk.testing.exporter.InMemoryMetricReader;
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.data.EventData;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Spans and metrics by OpenTelemetry's conventions for generative AI. */
@Timeout(60)
class TelemetryTest {
    private static final String PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    private final InMemorySpanExporter spans = InMemorySpanExporter.create();
    private final InMemoryMetricReader metrics = InMemoryMetricReader.create();
    private OpenTelemetrySdk telemetry;

    @BeforeEach
    void open() {
        telemetry = OpenTelemetrySdk.builder()
                .setTracerProvider(SdkTracerProvider.builder()
                        .addSpanProcessor(SimpleSpanProcessor.create(spans))
                        .build())
                .setMeterProvider(
                        SdkMeterProvider.builder().registerMetricReader(metrics).build())
                .setPropagators(ContextPropagators.create(W3CTraceContextPropagator.getInstance()))
                .build();
    }

    @AfterEach
    void close() {
        telemetry.close();
    }

    private TestServer server() {
        return TestServer.builder()
                .config(TestServer.config().openTelemetry(telemetry).build())
                .start();
    }

    @Test
    void chat_ofAClientWithATrace_isASpanOfItWithoutContent() throws Exception {
        try (TestServer server = server()) {
            String body = "{\"messages\":[{\"role\":\"user\",\"content\":\"secret\"}],\"seed\":1,\"max_tokens\":5,"
                    + "\"temperature\":0.5,\"top_k\":7,\"ignore_eos\":true}";
            assertThat(server.post("/v1/chat/completions", body, "traceparent", PARENT, "X-Request-Id", "mine")
                            .statusCode())
                    .isEqualTo(200);
        }
        SpanData span = only(spans.getFinishedSpanItems());
        assertThat(span.getTraceId()).isEqualTo("0af7651916cd43dd8448eb211c80319c");
        assertThat(span.getParentSpanId()).isEqualTo("b7ad6b7169203331");
        assertThat(span.getKind()).isEqualTo(SpanKind.SERVER);
        assertThat(span.getName()).isEqualTo("chat fake");
        assertThat(text(span, "gen_ai.operation.name")).isEqualTo("chat");
        assertThat(text(span, "gen_ai.request.model")).isEqualTo("fake");
        assertThat(text(span, "quire.request.id")).isEqualTo("mine");
        assertThat(number(span, "gen_ai.request.max_tokens")).isEqualTo(5);
        assertThat(number(span, "gen_ai.usage.input_tokens")).isEqualTo("<user>secret<assistant>".length());
        assertThat(number(span, "gen_ai.usage.output_tokens")).isEqualTo(5);
        assertThat(span.getAttributes().get(AttributeKey.doubleKey("gen_ai.request.temperature")))
                .isEqualTo(0.5);
        assertThat(span.getAttributes().get(AttributeKey.doubleKey("gen_ai.request.top_k")))
                .isEqualTo(7);
        assertThat(span.getAttributes().get(AttributeKey.stringArrayKey("gen_ai.response.finish_reasons")))
                .isEqualTo(List.of("length"));
        assertThat(span.getStatus().getStatusCode()).isEqualTo(StatusCode.UNSET);
        assertThat(span.getEvents())
                .extracting(EventData::getName)
                .containsExactly("quire.queued", "quire.started", "quire.first_token", "quire.ended");
        assertThat(span.getEvents().getFirst().getEpochNanos())
                .isLessThanOrEqualTo(span.getEvents().getLast().getEpochNanos());
        assertThat(span.getEndEpochNanos()).isGreaterThan(span.getStartEpochNanos());
        assertThat(span.toString()).doesNotContain("secret");
    }

    @Test
    void stream_ofSeveralTexts_isCountedOnceInEachDuration() throws Exception {
        try (TestServer server = server()) {
            server.post(
                    "/v1/completions",
                    "{\"prompt\":[\"a\",\"b\"],\"seed\":1,\"max_tokens\":4,\"ignore_eos\":true,\"stream\":true}");
        }
        SpanData span = only(spans.getFinishedSpanItems());
        assertThat(span.getName()).isEqualTo("text_completion fake");
        assertThat(number(span, "gen_ai.request.choice.count")).isEqualTo(2);
        assertThat(number(span, "gen_ai.usage.output_tokens")).isEqualTo(8);
        Collection<MetricData> read = metrics.collectAllMetrics();
        assertThat(read)
                .extracting(MetricData::getName)
                .containsExactlyInAnyOrder(
                        "gen_ai.server.request.duration",
                        "gen_ai.server.time_to_first_token",
                        "gen_ai.server.time_per_output_token");
        for (MetricData metric : read) {
            HistogramPointData point = only(metric.getHistogramData().getPoints());
            assertThat(metric.getUnit()).isEqualTo("s");
            assertThat(point.getCount()).isEqualTo(1);
            assertThat(point.getSum()).isPositive();
            assertThat(point.getBoundaries()).hasSizeGreaterThan(10);
            assertThat(point.getAttributes().get(AttributeKey.stringKey("gen_ai.operation.name")))
                    .isEqualTo("text_completion");
        }
    }

    @Test
    void answer_thatTheEngineRefuses_isAnError() throws Exception {
        Semaphore steps = new Semaphore(0); // without it the engine may take one prompt before the next one comes
        try (TestServer server = TestServer.builder()
                .config(TestServer.config().openTelemetry(telemetry).build())
                .maxQueued(1)
                .onForward(batch -> steps.acquireUninterruptibly())
                .start()) {
            try {
                assertThat(server.post("/v1/completions", "{\"prompt\":[\"a\",\"b\",\"c\"],\"max_tokens\":4}")
                                .statusCode())
                        .isEqualTo(429);
            } finally {
                steps.release(1_000_000);
            }
        }
        SpanData span = only(spans.getFinishedSpanItems());
        assertThat(span.getStatus().getStatusCode()).isEqualTo(StatusCode.ERROR);
        assertThat(text(span, "error.type")).isEqualTo("429");
        assertThat(metrics.collectAllMetrics())
                .extracting(MetricData::getName)
                .containsExactly("gen_ai.server.request.duration");
    }

    @Test
    void client_thatLeaves_isAnErrorOfItsKind() throws Exception {
        CountDownLatch left = new CountDownLatch(1);
        CountDownLatch seen = new CountDownLatch(1);
        try (TestServer server = TestServer.builder()
                .config(TestServer.config().openTelemetry(telemetry).build())
                .onForward(batch -> {
                    seen.countDown();
                    try {
                        left.await();
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                })
                .start()) {
            try (RawClient client = new RawClient(server)) {
                client.send(RawClient.post("/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":9,\"stream\":true}"));
                seen.await();
            }
            while (server.server.openConnections() > 0) {
                Thread.onSpinWait();
            }
            left.countDown();
        }
        assertThat(text(only(spans.getFinishedSpanItems()), "error.type")).isEqualTo("client_left");
    }

    private static <T> T only(Collection<T> all) {
        assertThat(all).hasSize(1);
        return all.iterator().next();
    }

    private static String text(SpanData span, String name) {
        return span.getAttributes().get(AttributeKey.stringKey(name));
    }

    private static long number(SpanData span, String name) {
        return span.getAttributes().get(AttributeKey.longKey(name));
    }
}
