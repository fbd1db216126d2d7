/**
 * Numbers: element types, matrices, the layout of KV pages, worker threads, and {@link quire.tensor.Kernels}, the
 * arithmetic of a step. Other modules use these types; the packages below hold what computes them.
 */
@NullMarked
package quire.tensor;

import org.jspecify.annotations.NullMarked;
