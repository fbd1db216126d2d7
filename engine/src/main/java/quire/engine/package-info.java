/** Time and memory: who runs in this step, on which KV pages, what came out. */
@NullMarked
package quire.engine;

import org.jspecify.annotations.NullMarked;
