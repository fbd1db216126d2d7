/** The command {@code quire bench}. */
@NullMarked
package quire.bench;

import org.jspecify.annotations.NullMarked;
