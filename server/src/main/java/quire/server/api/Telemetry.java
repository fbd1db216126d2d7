package quire.server.api;

import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.AttributesBuilder;
import io.opentelemetry.api.metrics.DoubleHistogram;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanBuilder;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.context.propagation.TextMapPropagator;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import quire.engine.SamplingParams;
import quire.engine.Timeline;
import quire.engine.TokenStream;
import quire.server.http.Exchange;

/**
 * A span and three durations for each request that is answered, by OpenTelemetry's conventions for generative AI. A request
 * with the header {@code traceparent} belongs to the trace of its client. Nothing of a text is recorded. Thread-safe.
 */
public final class Telemetry {
    private static final String SCOPE = "io.quire";

    // Conventions for generative AI, spans and metrics of a model server.
    private static final AttributeKey<String> OPERATION = AttributeKey.stringKey("gen_ai.operation.name");
    private static final AttributeKey<String> PROVIDER = AttributeKey.stringKey("gen_ai.provider.name");
    private static final AttributeKey<String> REQUEST_MODEL = AttributeKey.stringKey("gen_ai.request.model");
    private static final AttributeKey<String> RESPONSE_MODEL = AttributeKey.stringKey("gen_ai.response.model");
    private static final AttributeKey<Long> MAX_TOKENS = AttributeKey.longKey("gen_ai.request.max_tokens");
    private static final AttributeKey<Double> TEMPERATURE = AttributeKey.doubleKey("gen_ai.request.temperature");
    private static final AttributeKey<Double> TOP_P = AttributeKey.doubleKey("gen_ai.request.top_p");
    private static final AttributeKey<Double> TOP_K = AttributeKey.doubleKey("gen_ai.request.top_k");
    private static final AttributeKey<Long> CHOICES = AttributeKey.longKey("gen_ai.request.choice.count");
    private static final AttributeKey<Long> INPUT_TOKENS = AttributeKey.longKey("gen_ai.usage.input_tokens");
    private static final AttributeKey<Long> CACHED_TOKENS =
            AttributeKey.longKey("gen_ai.usage.cache_read.input_tokens");
    private static final AttributeKey<Long> OUTPUT_TOKENS = AttributeKey.longKey("gen_ai.usage.output_tokens");
    private static final AttributeKey<List<String>> FINISH_REASONS =
            AttributeKey.stringArrayKey("gen_ai.response.finish_reasons");
    private static final AttributeKey<String> ERROR_TYPE = AttributeKey.stringKey("error.type");

    /** The id in {@code X-Request-Id}, by which the log and {@code /v1/requests} know the request. */
    private static final AttributeKey<String> REQUEST_ID = AttributeKey.stringKey("quire.request.id");

    private static final AttributeKey<Long> TOKENS = AttributeKey.longKey("quire.tokens");

    /** Seconds; the bounds that the conventions recommend. */
    private static final List<Double> DURATION_BOUNDS =
            List.of(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92);

    private static final List<Double> FIRST_TOKEN_BOUNDS =
            List.of(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0);

    private static final List<Double> PER_TOKEN_BOUNDS =
            List.of(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5);

    private static final TextMapGetter<Exchange> HEADERS =
            (exchange, name) -> exchange == null ? null : exchange.header(name);

    private final String model;
    private final Tracer tracer;
    private final TextMapPropagator propagator;
    private final DoubleHistogram duration;
    private final DoubleHistogram firstToken;
    private final DoubleHistogram perToken;

    /** @param model the name of the served model */
    public Telemetry(OpenTelemetry openTelemetry, String model) {
        this.model = model;
        tracer = openTelemetry.getTracer(SCOPE);
        propagator = openTelemetry.getPropagators().getTextMapPropagator();
        Meter meter = openTelemetry.getMeter(SCOPE);
        duration = histogram(
                meter, "gen_ai.server.request.duration", "From the request to the end of its answer.", DURATION_BOUNDS);
        firstToken = histogram(
                meter, "gen_ai.server.time_to_first_token", "From the request to its first token.", FIRST_TOKEN_BOUNDS);
        perToken = histogram(
                meter,
                "gen_ai.server.time_per_output_token",
                "The mean time between the tokens of an answer.",
                PER_TOKEN_BOUNDS);
    }

    private static DoubleHistogram histogram(Meter meter, String name, String description, List<Double> bounds) {
        return meter.histogramBuilder(name)
                .setDescription(description)
                .setUnit("s")
                .setExplicitBucketBoundariesAdvice(bounds)
                .build();
    }

    /** Begins the span of a request, at the moment at which its head came. */
    Observed begin(Exchange exchange, AnswerRequest request) {
        String operation = operation(exchange.route());
        Context parent = propagator.extract(Context.root(), exchange, HEADERS);
        SamplingParams params = request.requests().getFirst().params();
        SpanBuilder builder = tracer.spanBuilder(operation + " " + model)
                .setParent(parent)
                .setSpanKind(SpanKind.SERVER)
                .setStartTimestamp(Instant.now().minusNanos(exchange.ageNanos()))
                .setAttribute(OPERATION, operation)
                .setAttribute(PROVIDER, "quire")
                .setAttribute(REQUEST_MODEL, model)
                .setAttribute(RESPONSE_MODEL, model)
                .setAttribute(REQUEST_ID, exchange.id())
                .setAttribute(MAX_TOKENS, (long) params.maxTokens())
                .setAttribute(TEMPERATURE, params.temperature())
                .setAttribute(TOP_P, params.topP());
        if (params.topK() > 0) {
            builder.setAttribute(TOP_K, (double) params.topK());
        }
        if (request.requests().size() > 1) {
            builder.setAttribute(CHOICES, (long) request.choices() * request.prompts());
        }
        return new Observed(exchange, operation, request.promptTokens(), builder.startSpan());
    }

    private static String operation(String route) {
        return switch (route) {
            case "/v1/completions", "/infill", "/api/generate" -> "text_completion";
            default -> "chat";
        };
    }

    /** A request while it is answered. */
    final class Observed {
        private final Exchange exchange;
        private final String operation;
        private final int promptTokens;
        private final Span span;

        private Observed(Exchange exchange, String operation, int promptTokens, Span span) {
            this.exchange = exchange;
            this.operation = operation;
            this.promptTokens = promptTokens;
            this.span = span;
        }

        /**
         * Ends the span and counts the durations.
         *
         * @param streams the answers, as far as they were submitted
         * @param error why the request failed, in a word; null if it did not
         */
        void end(List<TokenStream> streams, @Nullable String error) {
            long nanos = exchange.ageNanos();
            AttributesBuilder labels = Attributes.builder()
                    .put(OPERATION, operation)
                    .put(PROVIDER, "quire")
                    .put(REQUEST_MODEL, model)
                    .put(RESPONSE_MODEL, model);
            if (error != null) {
                labels.put(ERROR_TYPE, error);
                span.setAttribute(ERROR_TYPE, error).setStatus(StatusCode.ERROR);
            }
            Attributes attributes = labels.build();
            duration.record(nanos * 1e-9, attributes);
            long first = exchange.firstTokenNanos();
            int tokens = exchange.completionTokens();
            if (error == null && first >= 0) {
                firstToken.record(first * 1e-9, attributes);
                if (tokens > streams.size()) {
                    perToken.record((nanos - first) * 1e-9 * streams.size() / (tokens - streams.size()), attributes);
                }
            }
            if (span.isRecording()) {
                span.setAttribute(INPUT_TOKENS, (long) promptTokens)
                        .setAttribute(OUTPUT_TOKENS, (long) Math.max(tokens, 0));
                describe(streams, error == null);
            }
            span.end();
        }

        private void describe(List<TokenStream> streams, boolean whole) {
            if (whole) {
                span.setAttribute(
                        CACHED_TOKENS,
                        streams.stream().mapToLong(TokenStream::cachedTokens).sum());
                span.setAttribute(
                        FINISH_REASONS,
                        streams.stream()
                                .map(stream -> stream.finish().reason().name().toLowerCase(Locale.ROOT))
                                .toList());
            }
            for (TokenStream stream : streams) {
                List<Timeline.Event> events = stream.timeline().events();
                if (events.isEmpty()) {
                    continue;
                }
                Timeline.Event last = events.getLast();
                Instant end = Instant.now();
                for (Timeline.Event event : events) {
                    if (event.kind() != Timeline.Kind.CHUNK) {
                        span.addEvent(
                                "quire." + event.kind().name().toLowerCase(Locale.ROOT),
                                Attributes.of(TOKENS, (long) event.tokens()),
                                end.minusNanos(last.nanos() - event.nanos()).toEpochMilli(),
                                TimeUnit.MILLISECONDS);
                    }
                }
            }
        }
    }
}
