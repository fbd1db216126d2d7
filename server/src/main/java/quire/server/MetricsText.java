package quire.server;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntToLongFunction;
import org.jspecify.annotations.Nullable;

/**
 * Prometheus' text format 0.0.4. A metric stands once in it, with the samples of all models below it, whatever the order in
 * which they are written.
 */
final class MetricsText {
    private final Map<String, StringBuilder> nameToSamples;
    private final String prefix;
    private final String labels;
    private StringBuilder samples = new StringBuilder();

    /** A text without metrics. */
    MetricsText() {
        this(new LinkedHashMap<>(), "", "");
    }

    private MetricsText(Map<String, StringBuilder> nameToSamples, String prefix, String labels) {
        this.nameToSamples = nameToSamples;
        this.prefix = prefix;
        this.labels = labels;
    }

    /** Adds samples of a model to the same text. */
    MetricsText of(String model) {
        return new MetricsText(nameToSamples, prefix, label("model_name", model));
    }

    /** Adds samples to the same text that have a further label. */
    MetricsText with(String name, String value) {
        return new MetricsText(nameToSamples, prefix, (labels.isEmpty() ? "" : labels + ",") + label(name, value));
    }

    /** Adds to the same text, under vLLM's names. */
    MetricsText asVllm() {
        return new MetricsText(nameToSamples, "vllm:", label("engine", "0") + "," + labels);
    }

    private static String label(String name, String value) {
        return name + "=\"" + value.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"";
    }

    /** Counts by upper bound; guarded by the lock of its owner. */
    static final class Histogram {
        private final double[] bounds;
        private final long[] counts;
        private double sum;

        Histogram(double... bounds) {
            this.bounds = bounds;
            this.counts = new long[bounds.length + 1];
        }

        void add(double value) {
            counts[bucket(bounds, value)]++;
            sum += value;
        }

        /** The index of the bucket of a value; the last one is for values above all bounds. */
        static int bucket(double[] bounds, double value) {
            int bucket = 0;
            while (bucket < bounds.length && value > bounds[bucket]) {
                bucket++;
            }
            return bucket;
        }
    }

    /** Begins a metric, or goes on with it; samples follow. */
    void head(String shortName, String help, String type) {
        String name = prefix + shortName;
        samples = nameToSamples.computeIfAbsent(name, absent -> new StringBuilder("# HELP ")
                .append(name)
                .append(' ')
                .append(help)
                .append("\n# TYPE ")
                .append(name)
                .append(' ')
                .append(type)
                .append('\n'));
    }

    private StringBuilder sample(String name, @Nullable String further) {
        samples.append(prefix).append(name);
        if (!labels.isEmpty() || further != null) {
            samples.append('{').append(labels);
            if (further != null) {
                samples.append(labels.isEmpty() ? "" : ",").append(further);
            }
            samples.append('}');
        }
        return samples.append(' ');
    }

    /** A sample with further labels, sorted. */
    void info(String name, Map<String, String> values, long value) {
        StringBuilder further = new StringBuilder();
        new TreeMap<>(values).forEach((label, of) -> further.append(further.isEmpty() ? "" : ",")
                .append(label(label, of)));
        sample(name, further.toString()).append(value).append('\n');
    }

    void gauge(String name, String help, double value) {
        head(name, help, "gauge");
        sample(name, null).append(value).append('\n');
    }

    void counter(String name, String help, long value) {
        head(name, help, "counter");
        sample(name, null).append(value).append('\n');
    }

    void counter(String name, String help, double value) {
        head(name, help, "counter");
        sample(name, null).append(value).append('\n');
    }

    void sample(String name, String label, String labelValue, long value) {
        sample(name, label(label, labelValue)).append(value).append('\n');
    }

    /** A counter with a sample for each index. */
    void series(String name, String help, String label, List<Long> values) {
        head(name, help, "counter");
        for (int i = 0; i < values.size(); i++) {
            sample(name, label, Integer.toString(i), values.get(i));
        }
    }

    void histogram(String name, String help, Histogram histogram) {
        histogram(name, help, histogram.bounds, bucket -> histogram.counts[bucket], histogram.sum);
    }

    /**
     * A histogram of counts that somebody else keeps.
     *
     * @param counts how many values are in a bucket, of which there is one more than bounds
     */
    void histogram(String name, String help, double[] bounds, IntToLongFunction counts, double sum) {
        head(name, help, "histogram");
        long count = 0;
        for (int i = 0; i <= bounds.length; i++) {
            count += counts.applyAsLong(i);
            String bound = i < bounds.length ? Double.toString(bounds[i]) : "+Inf";
            sample(name + "_bucket", "le", bound, count);
        }
        sample(name + "_sum", null).append(sum).append('\n');
        sample(name + "_count", null).append(count).append('\n');
    }

    @Override
    public String toString() {
        StringBuilder all = new StringBuilder();
        nameToSamples.values().forEach(all::append);
        return all.toString();
    }
}
