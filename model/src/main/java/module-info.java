/** Files become weights, text becomes tokens, a batch becomes logits. Knows no requests. */
module quire.model {
    requires static org.jspecify;
    requires transitive quire.tensor;

    exports quire.model;
    exports quire.model.format;
    exports quire.model.text;
}
