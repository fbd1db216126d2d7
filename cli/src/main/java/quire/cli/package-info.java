/** The command {@code quire}, and how other modules add commands to it. */
@NullMarked
package quire.cli;

import org.jspecify.annotations.NullMarked;
