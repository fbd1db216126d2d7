package quire.server;

/**
 * How far a model is loaded.
 *
 * @param model its name; empty while its file is being opened
 * @param loadedBytes bytes of its weights that are loaded
 * @param totalBytes bytes of all its weights
 * @param seconds since loading began
 */
record LoadProgress(String model, long loadedBytes, long totalBytes, double seconds) {
    /** Nothing is known yet. */
    static final LoadProgress START = new LoadProgress("", 0, 0, 0);

    private static final int UNKNOWN_RETRY_SECONDS = 5;

    /** Seconds after which the rest will be loaded too, if that goes on as so far; at least 1. */
    int retrySeconds() {
        return loadedBytes == 0
                ? UNKNOWN_RETRY_SECONDS
                : (int) Math.max(1, Math.ceil(seconds * (totalBytes - loadedBytes) / loadedBytes));
    }

    /** A sentence for clients. */
    String describe() {
        if (model.isEmpty()) {
            return "The model is being loaded: its file is being opened. Try again later.";
        }
        return "The model '" + model + "' is being loaded: " + percent()
                + " % of its weights are ready. Try again later.";
    }

    /** The share of the weights that is loaded, rounded down. */
    int percent() {
        return totalBytes == 0 ? 0 : (int) (loadedBytes * 100.0 / totalBytes);
    }
}
