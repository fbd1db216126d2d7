/** The measurement of {@code quire bench attack}: what hostile clients do to honest ones, and to the server. */
@NullMarked
package quire.bench.attack;

import org.jspecify.annotations.NullMarked;
