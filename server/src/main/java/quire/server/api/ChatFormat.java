package quire.server.api;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.FinishReason;
import quire.engine.InvalidRequestException;
import quire.engine.Output;
import quire.engine.TokenStream;
import quire.engine.chat.AnswerEvent;
import quire.engine.chat.AnswerParser;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Writes the answer to a chat as a list of parts: reasoning, text and calls. A stream has the same parts as the whole
 * answer, because both are made here.
 *
 * <pre>
 *   stream    begin  ( partBegins  partGrows*  partEnds )*  ended
 * </pre>
 */
public abstract class ChatFormat implements AnswerFormat {
    /** A part of an answer. */
    public sealed interface Part {
        /** The reasoning before the answer. */
        record Reasoning(String text) implements Part {}

        /** Text. */
        record Text(String text) implements Part {}

        /**
         * A call of a tool.
         *
         * @param id the same in every answer to the same request with the same seed
         * @param name of the tool
         * @param arguments an object in JSON, unless the answer was cut off
         */
        record Call(String id, String name, String arguments) implements Part {}
    }

    private final ChatAnswer answer;
    private final AnswerParser parser;
    private final List<Part> parts = new ArrayList<>(); // that are complete
    private final StringBuilder grown = new StringBuilder(); // of the part that is not
    private @Nullable Part open;
    private boolean reasoned;
    private boolean answerBegun; // text or a call
    private int reasoningTokens;
    private boolean cutOff;

    /** @param answer what is known of the answer */
    protected ChatFormat(ChatAnswer answer) {
        this.answer = answer;
        this.parser = answer.parser().get();
    }

    /** What is known of the answer. */
    protected ChatAnswer answer() {
        return answer;
    }

    /** Whether the answer has a call of a tool. */
    protected boolean hasCalls() {
        return parser.hasCalls();
    }

    /** Whether the answer ended because it was too long or took too long; false before its end. */
    protected boolean cutOff() {
        return cutOff;
    }

    /** Tokens before the text and the calls, if they were reasoning; counted where {@link #needsOutputs} is true. */
    protected int reasoningTokens() {
        return reasoned ? reasoningTokens : 0;
    }

    /** The complete parts so far; all of them after the end. */
    protected List<Part> parts() {
        return List.copyOf(parts);
    }

    /** The document of a whole answer. */
    protected abstract JsonNode document(TokenStream ended);

    /**
     * Writes the beginning of a part.
     *
     * @param index of the part in the answer, from 0
     * @param part without its text or arguments
     */
    protected abstract void partBegins(int index, Part part, ServerSentEvents events);

    /** Writes a piece of the text or the arguments of a part. */
    protected abstract void partGrows(int index, Part part, String piece, ServerSentEvents events);

    /** Writes the end of a part. */
    protected abstract void partEnds(int index, Part part, ServerSentEvents events);

    /** Writes the end of the answer. */
    protected abstract void ended(TokenStream ended, ServerSentEvents events);

    @Override
    public boolean needsOutputs() {
        return false;
    }

    @Override
    public final JsonNode whole(String text, List<Output> outputs, TokenStream ended) {
        if (outputs.isEmpty()) {
            add(parser.append(text), null);
        } else {
            outputs.forEach(output -> add(output, null));
            add(parser.append(ended.finish().text()), null);
        }
        finish(ended, null);
        return document(ended);
    }

    @Override
    public final void token(Output output, ServerSentEvents events) {
        add(output, events);
    }

    @Override
    public final void text(String text, ServerSentEvents events) {
        add(parser.append(text), events);
    }

    @Override
    public final void end(TokenStream ended, ServerSentEvents events) {
        finish(ended, events);
        ended(ended, events);
    }

    @Override
    public HttpException refusal(InvalidRequestException e) {
        return answer.refusal().apply(e);
    }

    private void add(Output output, @Nullable ServerSentEvents events) {
        add(parser.append(output.text()), events);
        if (!answerBegun) {
            reasoningTokens++;
        }
    }

    private void finish(TokenStream ended, @Nullable ServerSentEvents events) {
        add(parser.finish(), events);
        FinishReason reason = ended.finish().reason();
        cutOff = reason == FinishReason.LENGTH || reason == FinishReason.TIMEOUT;
        endPart(events);
    }

    /** @param events where the parts are written; null if they are only kept */
    private void add(List<AnswerEvent> all, @Nullable ServerSentEvents events) {
        for (AnswerEvent event : all) {
            reasoned |= event instanceof AnswerEvent.Reasoning;
            answerBegun |= !(event instanceof AnswerEvent.Reasoning);
            switch (event) {
                case AnswerEvent.Reasoning(String text) -> {
                    if (answer.showsReasoning()) {
                        if (!(open instanceof Part.Reasoning)) {
                            beginPart(new Part.Reasoning(""), events);
                        }
                        grow(text, events);
                    }
                }
                case AnswerEvent.Content(String text) -> {
                    if (!(open instanceof Part.Text)) {
                        beginPart(new Part.Text(""), events);
                    }
                    grow(text, events);
                }
                case AnswerEvent.Call(int call, String name) ->
                    beginPart(new Part.Call(answer.callId().apply(call), name, ""), events);
                case AnswerEvent.Arguments(int call, String json) -> grow(json, events);
            }
        }
    }

    private void beginPart(Part part, @Nullable ServerSentEvents events) {
        endPart(events);
        open = part;
        if (events != null) {
            partBegins(parts.size(), part, events);
        }
    }

    private void grow(String piece, @Nullable ServerSentEvents events) {
        grown.append(piece);
        if (events != null && open != null) {
            partGrows(parts.size(), open, piece, events);
        }
    }

    private void endPart(@Nullable ServerSentEvents events) {
        if (open == null) {
            return;
        }
        String text = grown.toString();
        Part whole =
                switch (open) {
                    case Part.Reasoning begun -> new Part.Reasoning(text);
                    case Part.Text begun -> new Part.Text(text);
                    case Part.Call(String id, String name, String begun) -> new Part.Call(id, name, text);
                };
        grown.setLength(0);
        open = null;
        if (events != null) {
            partEnds(parts.size(), whole, events);
        }
        parts.add(whole);
    }

    /** The arguments of a call as an object; null if the answer was cut off within them. */
    protected static @Nullable JsonNode object(Part.Call call) {
        try {
            JsonNode value = Json.parse(call.arguments());
            return value.isObject() ? value : null;
        } catch (InvalidJsonException e) {
            return null;
        }
    }
}
