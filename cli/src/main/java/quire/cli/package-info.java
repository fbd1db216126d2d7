/** The command line. */
@NullMarked
package quire.cli;

import org.jspecify.annotations.NullMarked;
