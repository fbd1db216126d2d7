package quire.bench.reproduce;

/** One published result, measured or computed again. */
@FunctionalInterface
interface Reproduction {
    /** Measures and reports. */
    Report report(Setup setup) throws InterruptedException;
}
