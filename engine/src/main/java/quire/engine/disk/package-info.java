/** Keeps KV pages in a file, which outlives the process. Knows no sequences and no model. */
@NullMarked
package quire.engine.disk;

import org.jspecify.annotations.NullMarked;
