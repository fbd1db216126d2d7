/** Compares Quire with another engine by turns. */
@NullMarked
package quire.bench.compare;

import org.jspecify.annotations.NullMarked;
