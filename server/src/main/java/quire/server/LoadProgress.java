package quire.server;

/**
 * How far a model is loaded.
 *
 * @param model its name; empty while its file is being opened
 * @param loadedBytes bytes of its weights that are loaded
 * @param totalBytes bytes of all its weights
 */
record LoadProgress(String model, long loadedBytes, long totalBytes) {
    /** Nothing is known yet. */
    static final LoadProgress START = new LoadProgress("", 0, 0);

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
