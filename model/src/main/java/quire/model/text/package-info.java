/** Text becomes tokens and back: tokenizers, incremental detokenising, chat templates. */
@NullMarked
package quire.model.text;

import org.jspecify.annotations.NullMarked;
