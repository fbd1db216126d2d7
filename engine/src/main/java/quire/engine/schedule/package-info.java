/**
 * The engine's loop and its state: which sequences run in a step, on which KV pages, with how many tokens, and what
 * came out. It depends on speculation only through {@link quire.engine.schedule.DraftSource}.
 */
@NullMarked
package quire.engine.schedule;

import org.jspecify.annotations.NullMarked;
