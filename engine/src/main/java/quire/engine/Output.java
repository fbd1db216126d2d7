package quire.engine;

import org.jspecify.annotations.Nullable;

/**
 * One generated token.
 *
 * @param token its id
 * @param text the text that this token makes certain to be part of the answer. Empty if it ends inside a character or
 *     inside a possible stop string; then a later token brings the text
 * @param logprobs null unless the request asked for them
 */
public record Output(int token, String text, @Nullable Logprobs logprobs) {}
