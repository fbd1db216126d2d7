/** Model files: GGUF. */
@NullMarked
package quire.model.format;

import org.jspecify.annotations.NullMarked;
