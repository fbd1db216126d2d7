package quire.server.api;

import java.util.function.Function;

/**
 * Reads chats in the form of {@code /v1/chat/completions}. The other APIs bring their requests into this form ({@link
 * ChatBody}) and write the answers in their own ({@link ChatFormat}), so that templates, tools, constraints and limits
 * are the same for all.
 */
public interface ChatReader {
    /**
     * Reads a chat.
     *
     * @param body the request in OpenAI's form
     * @param format makes what writes its answer
     * @throws quire.server.http.HttpException 400 that names the parameter
     */
    AnswerRequest read(Fields body, Function<ChatAnswer, AnswerFormat> format);

    /**
     * Reads a prompt that is no chat, perhaps with a text behind the answer. The answer has no limit unless the body says so.
     *
     * @param body the request in the form of {@code /v1/completions}
     * @param format makes what writes its answer
     * @throws quire.server.http.HttpException 400 that names the parameter
     */
    AnswerRequest complete(Fields body, Function<ChatAnswer, AnswerFormat> format);

    /**
     * How many tokens the prompt of a chat has.
     *
     * @param body the messages and tools in OpenAI's form
     * @throws quire.server.http.HttpException 400 that names the parameter
     */
    int countTokens(Fields body);
}
