/**
 * Speculative decoding: drafters that propose draft tokens, the choice of their number, and statistics on acceptance.
 */
@NullMarked
package quire.engine.speculate;

import org.jspecify.annotations.NullMarked;
