/** What the commands write: JSON, text tables, log lines. */
@NullMarked
package quire.cli.output;

import org.jspecify.annotations.NullMarked;
