/** The measurements of {@code quire bench speculation}, and their page. */
@NullMarked
package quire.bench.speculation;

import org.jspecify.annotations.NullMarked;
