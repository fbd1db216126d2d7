/** Options that several commands share, and how their values are read and checked. */
@NullMarked
package quire.cli.option;

import org.jspecify.annotations.NullMarked;
