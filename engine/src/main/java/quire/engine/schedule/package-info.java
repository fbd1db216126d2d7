/**
 * The engine's loop and its state: which sequences run in a step, on which KV pages, with which tokens, and what came out.
 * Knows of draft tokens only that a {@link quire.engine.schedule.DraftSource} may propose some.
 */
@NullMarked
package quire.engine.schedule;

import org.jspecify.annotations.NullMarked;
