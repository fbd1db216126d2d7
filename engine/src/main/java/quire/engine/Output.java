package quire.engine;

import org.jspecify.annotations.Nullable;

/**
 * One generated token.
 *
 * @param token its id
 * @param text what became certain to be part of the answer with it: empty while a character is incomplete or a stop
 *     string may be under way; several tokens' worth when that resolves
 * @param logprobs if the request asked for them
 */
public record Output(int token, String text, @Nullable Logprobs logprobs) {}
