/** Files become weights, text becomes tokens, a batch becomes logits. */
@NullMarked
package quire.model;

import org.jspecify.annotations.NullMarked;
