package quire.engine.constrain;

/** In which order an answer may have the properties of an object. A property never comes twice. */
public enum PropertyOrder {
    /** Any order: exactly the objects that the schema allows. A model may write names that the schema does not declare first. */
    ANY,

    /**
     * Any order, but names that the schema does not declare come when all required ones are there. So a model that does not
     * know the schema well cannot write names of its own in place of the required ones.
     */
    GUIDED,

    /**
     * The order of {@code properties}, where optional ones may be missing; then names of {@code required} that are not in
     * {@code properties}; then all others. So a model writes its reasons before its conclusion if the schema names them in this
     * order, and names are forced. An optional property that a model leaves out cannot follow later.
     */
    SCHEMA
}
