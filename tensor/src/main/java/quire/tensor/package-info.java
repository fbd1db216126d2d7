/** Numbers: element types and quantisation blocks, memory, kernels, worker threads. */
@NullMarked
package quire.tensor;

import org.jspecify.annotations.NullMarked;
