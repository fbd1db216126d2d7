/** Converts text to tokens and back: tokenizers, incremental decoding, chat templates. */
@NullMarked
package quire.model.text;

import org.jspecify.annotations.NullMarked;
