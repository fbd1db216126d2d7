/** Numbers: element types and quantisation blocks, memory, kernels, worker threads. Knows no tokens and no models. */
module quire.tensor {
    requires static org.jspecify;
    requires jdk.incubator.vector;
    requires jdk.management;

    exports quire.tensor;
    exports quire.tensor.machine;
    exports quire.tensor.memory to
            quire.model,
            quire.engine;
}
