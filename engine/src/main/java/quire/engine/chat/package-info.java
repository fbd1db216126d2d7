/**
 * The parts of a chat model's answer: reasoning, text and calls of tools. {@link quire.engine.chat.ToolCallFormat} and {@link
 * quire.engine.chat.ReasoningFormat} are found out from the model's chat template. They say what an answer may be ({@link
 * quire.engine.constrain.Constraint}), and {@link quire.engine.chat.AnswerParser} reads it.
 */
@NullMarked
package quire.engine.chat;

import org.jspecify.annotations.NullMarked;
