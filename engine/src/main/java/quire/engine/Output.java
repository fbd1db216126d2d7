package quire.engine;

import org.jspecify.annotations.Nullable;

/**
 * One generated token.
 *
 * @param token its id
 * @param text the text that became final with this token. Empty if the token ends inside a character or inside a
 *     possible stop string; the text then comes with a later token
 * @param logprobs null unless the request asked for them
 */
public record Output(int token, String text, @Nullable Logprobs logprobs) {}
