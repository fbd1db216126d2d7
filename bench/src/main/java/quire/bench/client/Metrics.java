package quire.bench.client;

import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/**
 * One reading of a server's {@code /metrics}: the sum over all labels of each name.
 *
 * @param values names with their sums
 */
public record Metrics(Map<String, Double> values) {
    private static final Duration TIMEOUT = Duration.ofSeconds(30);

    /** Reads them. */
    public static Metrics of(ServerAddress server) throws IOException {
        HttpSocket.Answer answer = HttpSocket.exchange(server, server.get("/metrics"), TIMEOUT);
        if (answer.status() != 200) {
            throw new IOException("http://" + server + "/metrics answers with status " + answer.status());
        }
        return parse(answer.body());
    }

    /** Reads Prometheus' text format. */
    static Metrics parse(String text) {
        Map<String, Double> values = new HashMap<>();
        text.lines().filter(line -> !line.isBlank() && !line.startsWith("#")).forEach(line -> {
            int brace = line.indexOf('{');
            int blank = line.lastIndexOf(' ');
            String name = line.substring(0, brace < 0 ? blank : brace);
            values.merge(name, Double.parseDouble(line.substring(blank + 1)), Double::sum);
        });
        return new Metrics(values);
    }

    /** A value; 0 if there is none. */
    public double value(String name) {
        return values.getOrDefault(name, 0.0);
    }

    /** Requests that run or wait. */
    public double requests() {
        return value("quire_num_requests_running") + value("quire_num_requests_waiting");
    }

    /** The share of KV pages in use, 0 to 1. */
    public double pagesInUse() {
        return value("quire_kv_cache_usage_perc");
    }
}
