/** Who runs in this step, on which KV pages, and what came out. Knows no JSON and no sockets. */
module quire.engine {
    requires static org.jspecify;
    requires jdk.management; // physical memory
    requires transitive quire.model;

    exports quire.engine;
}
