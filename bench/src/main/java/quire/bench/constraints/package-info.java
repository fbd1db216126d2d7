/** Measures what constraints cost. */
@NullMarked
package quire.bench.constraints;

import org.jspecify.annotations.NullMarked;
