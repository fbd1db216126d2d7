package quire.server.openai;

import org.jspecify.annotations.Nullable;
import quire.engine.chat.AnswerParser;
import quire.engine.chat.ReasoningFormat;
import quire.engine.chat.ReasoningFormat.Beginning;
import quire.engine.chat.ToolCallFormat;
import quire.server.api.ServedModel;

/**
 * The parts of an answer: reasoning, text and calls of tools.
 *
 * @param tools that may be called
 * @param reasoning how the model marks its reasoning; null if it does not
 * @param beginning where the answer begins
 * @param place where the reasoning goes
 */
record AnswerShape(
        ToolRequest tools, @Nullable ReasoningFormat reasoning, Beginning beginning, ReasoningReader.Place place) {
    /** Text only. */
    static final AnswerShape TEXT =
            new AnswerShape(ToolRequest.NONE, null, Beginning.ANSWER, ReasoningReader.Place.IN_TEXT);

    /** @param prompt as the chat template wrote it */
    static AnswerShape of(ServedModel model, ToolRequest tools, String prompt, ReasoningReader.Place place) {
        ReasoningFormat reasoning = model.reasoningFormat();
        return new AnswerShape(
                tools, reasoning, reasoning == null ? Beginning.ANSWER : reasoning.beginning(prompt), place);
    }

    /** Reads one answer; null if all of it is text. */
    @Nullable
    AnswerParser parser() {
        ToolCallFormat read = readFormat();
        ReasoningFormat apart = readReasoning();
        return read == null && apart == null
                ? null
                : new AnswerParser(read, tools.callFormat() != null, tools.tools(), apart, beginning);
    }

    /** Whether the answer is only read correctly with its control tokens. */
    boolean hasControlTokens() {
        ToolCallFormat read = readFormat();
        ReasoningFormat apart = readReasoning();
        return (read != null && read.hasControlTokens()) || (apart != null && apart.hasControlTokens());
    }

    /** The format that reads the answer: of its calls, or of the marks around its text. */
    private @Nullable ToolCallFormat readFormat() {
        ToolCallFormat format = tools.format();
        return format != null && format.isFramed() ? format : tools.callFormat();
    }

    private @Nullable ReasoningFormat readReasoning() {
        return place == ReasoningReader.Place.IN_TEXT ? null : reasoning;
    }
}
