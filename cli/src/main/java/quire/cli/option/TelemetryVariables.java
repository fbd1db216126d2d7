package quire.cli.option;

import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.util.Map;

/** OpenTelemetry as the environment variables of its specification ask for it. */
public final class TelemetryVariables implements AutoCloseable {
    private static final String PREFIX = "OTEL_";

    /** What differs from the SDK's own defaults: there are no logs, and the exporter speaks HTTP. */
    private static final Map<String, String> DEFAULTS = Map.of(
            "otel.service.name", "quire",
            "otel.logs.exporter", "none",
            "otel.exporter.otlp.protocol", "http/protobuf");

    private final OpenTelemetry openTelemetry;

    private TelemetryVariables(OpenTelemetry openTelemetry) {
        this.openTelemetry = openTelemetry;
    }

    /**
     * Starts what the variables ask for; nothing if there is none that begins with {@code OTEL_}.
     *
     * @throws IllegalArgumentException naming the variable that is wrong
     */
    public static TelemetryVariables start(Map<String, String> environment) {
        if (environment.keySet().stream().noneMatch(name -> name.startsWith(PREFIX))) {
            return new TelemetryVariables(OpenTelemetry.noop());
        }
        return new TelemetryVariables(Sdk.start());
    }

    /** In a class of its own, so that the SDK is loaded only where it is used. */
    private static final class Sdk {
        static OpenTelemetrySdk start() {
            try {
                return AutoConfiguredOpenTelemetrySdk.builder()
                        .addPropertiesSupplier(() -> DEFAULTS)
                        .disableShutdownHook()
                        .build()
                        .getOpenTelemetrySdk();
            } catch (RuntimeException e) { // its own kinds, and those of the exporters
                throw new IllegalArgumentException(
                        "the environment variables " + PREFIX + "… cannot be used: " + e.getMessage(), e);
            }
        }
    }

    /** What a server gives its spans and metrics to. */
    public OpenTelemetry openTelemetry() {
        return openTelemetry;
    }

    /** Sends what has not been sent yet; waits ten seconds at most. */
    @Override
    public void close() {
        if (openTelemetry instanceof OpenTelemetrySdk sdk) {
            sdk.close();
        }
    }
}
