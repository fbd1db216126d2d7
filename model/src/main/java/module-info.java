/**
 * Reads model files, turns text into tokens, and computes logits for a batch of tokens. Knows nothing about requests.
 */
module quire.model {
    requires static org.jspecify;
    requires transitive quire.tensor;

    exports quire.model;
    exports quire.model.format;
    exports quire.model.text;
}
