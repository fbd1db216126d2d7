/** Speculative decoding: who proposes draft tokens, how many pay, and statistics on what became of them. */
@NullMarked
package quire.engine.speculate;

import org.jspecify.annotations.NullMarked;
