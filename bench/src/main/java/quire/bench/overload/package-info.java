/** The measurement of {@code quire bench overload}: more requests than a server can answer. */
@NullMarked
package quire.bench.overload;

import org.jspecify.annotations.NullMarked;
