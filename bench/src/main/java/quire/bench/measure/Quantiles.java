package quire.bench.measure;

import java.util.List;

/** Quantiles of measured values. */
public final class Quantiles {
    private Quantiles() {}

    /** The median of at least one value. */
    public static double median(List<Double> values) {
        return quantile(values, 0.5);
    }

    /**
     * A quantile of at least one value, interpolated linearly between neighbours in order.
     *
     * @param q from 0, the least value, to 1, the greatest
     */
    public static double quantile(List<Double> values, double q) {
        double[] sorted =
                values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
        double at = q * (sorted.length - 1);
        int below = (int) at;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
    }
}
