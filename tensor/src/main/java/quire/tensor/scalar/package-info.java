/** The specification of every kernel set: its formulas as plain loops, its exponential and its checks of arguments. */
@NullMarked
package quire.tensor.scalar;

import org.jspecify.annotations.NullMarked;
