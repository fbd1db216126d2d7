/** The kernels on the Vector API, for processors that no machine code is assembled for. */
@NullMarked
package quire.tensor.vector;

import org.jspecify.annotations.NullMarked;
