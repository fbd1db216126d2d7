/** Chooses a token from a row of logits: penalties, bias, filters and the seeded draw. */
@NullMarked
package quire.engine.sample;

import org.jspecify.annotations.NullMarked;
