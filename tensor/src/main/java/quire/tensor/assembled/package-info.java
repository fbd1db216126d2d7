/**
 * The kernels as machine code that is written at start: memory, calls and the division of work. The code comes from the
 * packages of the instruction sets.
 */
@NullMarked
package quire.tensor.assembled;

import org.jspecify.annotations.NullMarked;
