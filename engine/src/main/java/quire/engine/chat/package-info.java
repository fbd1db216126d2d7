/**
 * The parts of a chat model's answer: calls of tools and text. {@link quire.engine.chat.ToolCallFormat} is found out from
 * the model's chat template; it says what an answer may be ({@link quire.engine.constrain.Constraint}) and reads it.
 */
@NullMarked
package quire.engine.chat;

import org.jspecify.annotations.NullMarked;
