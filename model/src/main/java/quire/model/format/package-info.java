/** Reads model files in the format GGUF. */
@NullMarked
package quire.model.format;

import org.jspecify.annotations.NullMarked;
