/** The commands, one class each. */
@NullMarked
package quire.cli.command;

import org.jspecify.annotations.NullMarked;
