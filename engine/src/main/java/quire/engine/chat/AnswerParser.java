package quire.engine.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.TaggedArguments.Kind;
import quire.engine.chat.ToolCallFormat.Piece;
import quire.engine.chat.ToolCallFormat.Tags;
import quire.engine.constrain.Part;

/**
 * Reads one answer as it comes. The events depend on the text only, and not on where it is cut; pieces of content and
 * arguments come as soon as they are certain.
 *
 * <p>White space between reasoning, content and calls is not part of them. Text that begins like a call and is none is content. If the
 * answer is cut off within a call, its arguments so far have been given; a call whose name is not complete is left out.
 *
 * <p>Not thread-safe.
 */
public final class AnswerParser {
    /** Longest name of a tool that is waited for. */
    private static final int MAX_NAME = 512;

    private static final String NOT_IN_NAMES = " \t\r\n\"'<>" + Part.CONTROL_MARK;

    private static final String MARK = String.valueOf(Part.CONTROL_MARK);

    private static final int NO_MATCH = -1;
    private static final int UNDECIDED = -2;

    private enum State {
        START,
        REASONING,
        CONTENT,
        FIRST,
        NAME,
        MIDDLE,
        JSON,
        PAIRS,
        ELEMENTS,
        ARGUMENT,
        ASSIGN,
        VALUE,
        END
    }

    private final Channels.@Nullable Reader channels; // reads all of the answer; null without channels
    private final @Nullable ToolCallFormat format; // null if no calls are read
    private final @Nullable Frame frame;
    private final List<String> silent; // texts that are not part of the content
    private final boolean isMarked; // control tokens are written in the text
    private final Map<String, Tool> tools;
    private @Nullable ReasoningFormat reasoning; // null if none can begin
    private String prompted; // stands before the answer; empty when it is known what begins with it
    private boolean isPrompted; // what may be a call begins with it
    private boolean reasoningBegun;
    private final StringBuilder pending = new StringBuilder();
    private final StringBuilder begun = new StringBuilder(); // of a call, while its name is not known
    private List<AnswerEvent> events = new ArrayList<>();
    private State state = State.START;
    private boolean finished;
    private boolean dropSpace; // behind a call
    private int calls;
    private String name = "";

    // Within JSON.
    private int depth;
    private boolean inString;
    private boolean escaped;

    private boolean isFirstArgument; // nothing of the arguments is read yet

    private Elements.@Nullable Reader elements; // of the arguments; null if they are none

    // Within tags.
    private String key = "";
    private Kind kind = Kind.JSON;
    private String valueEnd = ""; // the text behind the value, once it is known whether marks are around it

    /**
     * Reads one answer.
     *
     * @param format of calls; null if there are none
     * @param tools that the model knows
     * @param reasoning its marks; null if it is not read apart from the content
     * @param beginning where the answer begins
     */
    public AnswerParser(
            @Nullable ToolCallFormat format,
            List<Tool> tools,
            @Nullable ReasoningFormat reasoning,
            ReasoningFormat.Beginning beginning) {
        this(format, true, tools, reasoning, beginning);
    }

    /**
     * Reads one answer, perhaps without calls.
     *
     * @param format of the model's answers; null if their text stands alone
     * @param hasCalls whether calls are read; otherwise they are text
     */
    public AnswerParser(
            @Nullable ToolCallFormat format,
            boolean hasCalls,
            List<Tool> tools,
            @Nullable ReasoningFormat reasoning,
            ReasoningFormat.Beginning beginning) {
        Channels read = reasoning != null && reasoning.channels()
                ? new Channels(reasoning.hasControlTokens())
                : format != null ? format.channels() : null;
        this.isMarked =
                (format != null && format.hasControlTokens()) || (reasoning != null && reasoning.hasControlTokens());
        this.channels = read == null ? null : read.reader(reasoning != null);
        this.format = hasCalls ? format : null;
        this.frame = format == null ? null : format.frame();
        this.silent = frame == null ? List.of() : frame.silent();
        this.prompted = frame == null ? "" : frame.prompted();
        pending.append(prompted);
        this.tools = tools.stream().collect(Collectors.toMap(Tool::name, tool -> tool, (first, second) -> first));
        this.reasoning = beginning == ReasoningFormat.Beginning.ANSWER ? null : reasoning;
        if (reasoning != null && beginning == ReasoningFormat.Beginning.REASONING) {
            state = State.REASONING;
        }
        // Behind a mark that the prompt ends with, white space is as little content as behind one of the answer.
        dropSpace = reasoning != null && beginning != ReasoningFormat.Beginning.EITHER;
    }

    /**
     * Adds text; returns what is certain now. If the format of calls or reasoning has control tokens, those of the text are written
     * as {@link Part#control} does.
     */
    public List<AnswerEvent> append(String text) {
        String read = isMarked ? text : text.replace(Part.CONTROL_MARK, '\uFFFD');
        if (channels != null) {
            return channels.append(read);
        }
        pending.append(read);
        return run();
    }

    /** Ends the answer; returns the rest. */
    public List<AnswerEvent> finish() {
        if (channels != null) {
            return channels.finish();
        }
        finished = true;
        return run();
    }

    /** Whether a call has begun. */
    public boolean hasCalls() {
        return channels != null ? channels.calls() > 0 : calls > 0;
    }

    private ToolCallFormat calls() {
        return Objects.requireNonNull(format);
    }

    private List<AnswerEvent> run() {
        while (step()) {
            // until more text is needed
        }
        List<AnswerEvent> result = events;
        events = new ArrayList<>();
        return result;
    }

    /** Reads on; returns whether anything changed. */
    private boolean step() {
        return switch (state) {
            case START -> start();
            case REASONING -> reasoning();
            case CONTENT -> content();
            case FIRST -> piece(calls().first(), State.NAME);
            case NAME -> name();
            case MIDDLE -> middle();
            case JSON -> json();
            case PAIRS -> pairs();
            case ELEMENTS -> elements();
            case ARGUMENT -> argument();
            case ASSIGN -> assign();
            case VALUE -> value();
            case END -> end();
        };
    }

    private boolean start() {
        int from = spaceFrom(0);
        if (from == pending.length() && !finished) {
            return false;
        }
        String rest = pending.substring(from);
        String thought = startOfReasoning();
        if (reasoning != null && rest.startsWith(thought)) {
            pending.delete(0, from + thought.length());
            prompted = "";
            state = State.REASONING;
            return true;
        }
        if (reasoning != null && rest.startsWith(reasoning.end())) { // there is none
            pending.delete(0, from + reasoning.end().length());
            endReasoning();
            return true;
        }
        String marker = format == null || format.anywhere() ? "" : format.marker();
        if (!marker.isEmpty() && rest.startsWith(marker)) {
            pending.delete(0, from);
            state = State.FIRST;
            return true;
        }
        boolean mayBegin = (!marker.isEmpty() && marker.startsWith(rest))
                || (reasoning != null
                        && (thought.startsWith(rest) || reasoning.end().startsWith(rest)));
        if (mayBegin && !finished) {
            return false;
        }
        if (!prompted.isEmpty() && !isHead(rest)) {
            if (isBeginningOfHead(rest)) {
                pending.setLength(finished ? 0 : pending.length());
                return false;
            }
            pending.delete(0, prompted.length()); // the answer does not go on with the head of its first message
        }
        isPrompted = !prompted.isEmpty() && rest.startsWith(prompted) && isHead(rest);
        prompted = "";
        state = State.CONTENT;
        return true;
    }

    /** What begins the reasoning; empty if there is none. */
    private String startOfReasoning() {
        return reasoning == null ? "" : (frame == null ? "" : frame.prompted()) + reasoning.start();
    }

    private void endReasoning() {
        if (frame == null || !frame.isWhole()) {
            reasoning = null; // in messages, there may be several with reasoning
        }
        dropSpace = true;
        state = State.START;
    }

    /** Whether a text begins with the head of a message. */
    private boolean isHead(String text) {
        return silent.stream().anyMatch(text::startsWith) || (format != null && text.startsWith(format.marker()));
    }

    /** Whether a text is the beginning of such a head, and not all of it. */
    private boolean isBeginningOfHead(String text) {
        return silent.stream().anyMatch(mark -> mark.startsWith(text))
                || (format != null && format.marker().startsWith(text));
    }

    private boolean reasoning() {
        String end = Objects.requireNonNull(reasoning).end();
        if (!reasoningBegun) {
            pending.delete(0, spaceFrom(0));
            reasoningBegun = !pending.isEmpty();
        }
        int at = indexOf(pending, end);
        if (at >= 0) {
            emitReasoning(endWithoutSpace(at));
            pending.delete(0, indexOf(pending, end) + end.length());
            endReasoning();
            return true;
        }
        int certain = Math.min(openControl(pending, pending.length()), pending.length() - beginning(pending, end));
        if (finished && pending.indexOf(MARK, pending.length() - beginning(pending, end)) >= 0) {
            pending.setLength(pending.length() - beginning(pending, end)); // the beginning of a mark
        }
        int length = finished ? pending.length() : endWithoutSpace(certain);
        if (length == 0) {
            return false;
        }
        emitReasoning(length);
        return !finished;
    }

    private void emitReasoning(int length) {
        String shown = withoutControl(pending.substring(0, length));
        pending.delete(0, length);
        if (!shown.isEmpty()) {
            events.add(new AnswerEvent.Reasoning(shown));
        }
    }

    private boolean content() {
        if (dropSpace) {
            pending.delete(0, spaceFrom(0)); // until anything else has come
        }
        String marker = format != null && format.anywhere() ? format.marker() : "";
        int call = marker.isEmpty() ? -1 : indexOf(pending, marker);
        if (!silent.isEmpty()) {
            int at = silentMark(call);
            if (at != NO_MATCH) {
                return at != UNDECIDED;
            }
        }
        if (call >= 0) {
            emitContent(pending.substring(0, endWithoutSpace(call)));
            pending.delete(0, call);
            dropSpace = false;
            state = State.FIRST;
            return true;
        }
        int certain = pending.length() - beginning(pending, marker);
        for (String mark : silent) {
            certain = Math.min(certain, pending.length() - beginning(pending, mark));
        }
        if (finished && certain < pending.length() && pending.indexOf(MARK, certain) >= 0) {
            pending.setLength(certain); // the beginning of a mark
        }
        int open = openControl(pending, certain);
        certain = Math.min(open, certain);
        if (finished) {
            int length = calls > 0 ? endWithoutSpace(pending.length()) : pending.length();
            emitContent(pending.substring(0, length));
            pending.setLength(0);
            return false;
        }
        int length = endWithoutSpace(certain);
        if (length == 0) {
            return false;
        }
        emitContent(pending.substring(0, length));
        pending.delete(0, length);
        dropSpace = false;
        return true;
    }

    /**
     * Leaves out the first text that is not part of the content, if it stands before a call.
     *
     * @param call where a call may begin; negative for nowhere
     * @return a place if there was one, or {@link #NO_MATCH}, or {@link #UNDECIDED} if more text decides what begins at the call
     */
    private int silentMark(int call) {
        int at = call;
        String found = "";
        for (String mark : silent) {
            int place = indexOf(pending, mark);
            if (place >= 0 && (at < 0 || place < at || (place == at && mark.length() > found.length()))) {
                at = place;
                found = mark;
            }
        }
        if (found.isEmpty()) {
            String rest = call < 0 ? "" : pending.substring(call);
            boolean isOpen = call >= 0 && !finished && silent.stream().anyMatch(mark -> mark.startsWith(rest));
            if (isOpen) {
                int length = endWithoutSpace(call);
                emitContent(pending.substring(0, length));
                pending.delete(0, length);
                dropSpace &= length == 0;
            }
            return isOpen ? UNDECIDED : NO_MATCH;
        }
        isPrompted = false;
        int length = endWithoutSpace(at);
        emitContent(pending.substring(0, length));
        dropSpace &= length == 0;
        if (found.equals(startOfReasoning())) {
            pending.delete(0, at + found.length());
            state = State.REASONING;
        } else {
            pending.delete(at, at + found.length()); // the white space before it belongs to the content if that goes on
            pending.delete(0, length);
        }
        return at;
    }

    private void emitContent(String text) {
        String shown = withoutControl(text);
        if (!shown.isEmpty()) {
            events.add(new AnswerEvent.Content(shown));
        }
    }

    /** Text that cannot be a call is content from its first character on. */
    private boolean noCall() {
        String text = begun.toString();
        begun.setLength(0);
        pending.insert(0, text);
        int length = Math.max(1, Math.min(calls().marker().length(), pending.length()));
        if (isPrompted) {
            length = Objects.requireNonNull(frame).prompted().length(); // the prompt has it
        } else if (frame == null || pending.indexOf(MARK) != 0) {
            emitContent(pending.substring(0, length));
        }
        isPrompted = false;
        pending.delete(0, length);
        state = State.CONTENT;
        return true;
    }

    private boolean piece(List<Piece> pieces, State then) {
        int length = match(pieces);
        if (length == UNDECIDED) {
            return false;
        }
        if (length == NO_MATCH) {
            return noCall();
        }
        begun.append(pending, 0, length);
        pending.delete(0, length);
        state = then;
        return true;
    }

    private boolean name() {
        int end = -1;
        for (String text : calls().behindName()) {
            int at = pending.indexOf(text);
            end = at >= 0 && (end < 0 || at < end) ? at : end;
        }
        if (end == 0 || isNoName(end < 0 ? pending.length() : end)) {
            return noCall();
        }
        if (end < 0) {
            return false;
        }
        name = pending.substring(0, end);
        begun.append(name);
        pending.delete(0, end);
        state = State.MIDDLE;
        return true;
    }

    /** Whether the text up to a place contains what no name does, and what cannot be the beginning of the text behind it. */
    private boolean isNoName(int to) {
        for (int i = 0; i < to; i++) {
            if (NOT_IN_NAMES.indexOf(pending.charAt(i)) >= 0) {
                for (int from = 0; from <= i; from++) {
                    String rest = pending.substring(from);
                    if (calls().behindName().stream().anyMatch(text -> text.startsWith(rest))) {
                        return false;
                    }
                }
                return true;
            }
        }
        return to > MAX_NAME;
    }

    private static char firstCharacter(List<Piece> pieces) {
        String text = ToolCallFormat.literal(pieces);
        return text.isEmpty() ? 0 : text.charAt(0);
    }

    private boolean middle() {
        int length = match(calls().middle());
        if (length == UNDECIDED) {
            return false;
        }
        boolean isTags = calls().tags() != null;
        Elements of = calls().elements();
        boolean isJson = !isTags && calls().notation() == null && of == null;
        if (length == NO_MATCH || (isJson && pending.length() > length && pending.charAt(length) != '{')) {
            return noCall();
        }
        if (isJson && pending.length() == length) {
            return false;
        }
        pending.delete(0, length);
        begun.setLength(0);
        events.add(new AnswerEvent.Call(calls++, name));
        isPrompted = false;
        depth = 0;
        inString = false;
        escaped = false;
        isFirstArgument = true;
        elements = of == null ? null : of.reader(tools.get(name));
        state = isTags ? State.ARGUMENT : isJson ? State.JSON : of == null ? State.PAIRS : State.ELEMENTS;
        return true;
    }

    private boolean json() {
        if (isFirstArgument && pending.length() == 1 && !finished) {
            return false; // the brace waits, so that empty arguments come as one piece
        }
        isFirstArgument = false;
        int at = 0;
        boolean done = false;
        while (at < pending.length() && !done) {
            char c = pending.charAt(at++);
            done = readJson(c) && depth == 0;
        }
        if (at > 0) {
            emitArguments(pending.substring(0, at));
            pending.delete(0, at);
        }
        if (done) {
            state = State.END;
        }
        return done;
    }

    /** Reads a character of JSON; returns whether it ends a list or an object. */
    private boolean readJson(char c) {
        if (inString) {
            inString = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"') {
            inString = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
            return true;
        }
        return false;
    }

    private boolean elements() {
        Elements.Reader reader = Objects.requireNonNull(elements);
        emitArguments(reader.read(pending));
        if (reader.isDone()) {
            state = State.END;
        }
        return reader.isDone();
    }

    /** Reads a pair of a notation as soon as it is complete, or the end of the pairs. */
    private boolean pairs() {
        Notation notation = Objects.requireNonNull(calls().notation());
        String text = pending.toString();
        int at = spaceFrom(0);
        if (text.startsWith(notation.close(), at)) {
            emitArguments(isFirstArgument ? "{}" : "}");
            pending.delete(0, at + notation.close().length());
            state = State.END;
            return true;
        }
        at = text.startsWith(",", at) ? spaceFrom(at + 1) : at;
        int assign = text.indexOf(notation.assign(), at);
        if (assign < 0) {
            return false;
        }
        StringBuilder pair = new StringBuilder(isFirstArgument ? "{" : ", ");
        pair.append(quoted(text.substring(at, assign).strip())).append(": ");
        int end = notation.read(text, assign + notation.assign().length(), pair);
        if (end == Notation.INCOMPLETE) {
            return false;
        }
        emitArguments(pair.toString());
        pending.delete(0, end);
        isFirstArgument = false;
        return true;
    }

    private void emitArguments(String json) {
        if (!json.isEmpty()) {
            events.add(new AnswerEvent.Arguments(calls - 1, json));
        }
    }

    private Tags tags() {
        Tags tags = calls().tags();
        if (tags == null) {
            throw new IllegalStateException("a format without tags");
        }
        return tags;
    }

    private boolean argument() {
        String before = tags().before();
        if (pending.indexOf(before) == 0) {
            pending.delete(0, before.length());
            state = State.ASSIGN;
            return true;
        }
        if (before.startsWith(pending.toString())) {
            return false;
        }
        emitArguments(isFirstArgument ? "{}" : "}");
        state = State.END;
        return true;
    }

    private boolean assign() {
        Tags tags = tags();
        int text = pending.indexOf(tags.text());
        String before = tags.beforeType();
        int json = pending.indexOf(before);
        int end = json + before.length();
        if (json >= 0 && tags.hasTypes()) {
            String behind = tags.json().substring(before.length() + 1);
            int close = pending.indexOf(behind, end);
            if (close < 0) {
                return false;
            }
            end = close + behind.length();
        }
        boolean isText = text >= 0 && (json < 0 || text <= json);
        int at = isText ? text : json;
        if (at < 0) {
            return false;
        }
        key = tags.key(pending.substring(0, at));
        Tool tool = tools.get(name);
        Map<String, ?> schema = tool == null ? null : TaggedArguments.property(tool, key);
        kind = tags.text().equals(tags.json()) ? TaggedArguments.kind(schema) : isText ? Kind.TEXT : Kind.JSON;
        pending.delete(0, isText ? text + tags.text().length() : end);
        StringBuilder begin = new StringBuilder(isFirstArgument ? "{" : ", ");
        quote(key, begin.append('"'));
        begin.append("\": ").append(kind == Kind.TEXT ? "\"" : "");
        emitArguments(begin.toString());
        isFirstArgument = false;
        inString = false;
        escaped = false;
        state = State.VALUE;
        return true;
    }

    private boolean value() {
        Tags tags = tags();
        if (tags.hasMarks() && kind != Kind.JSON && valueEnd.isEmpty()) {
            boolean opens = pending.indexOf(tags.open()) == 0;
            if (!opens && tags.open().startsWith(pending.toString())) {
                return false; // also at the end: the beginning of a mark is not part of the value
            }
            if (opens) {
                pending.delete(0, tags.open().length());
                if (kind == Kind.EITHER) {
                    emitArguments("\"");
                }
                kind = Kind.TEXT;
            }
            valueEnd = (opens ? tags.close() : "") + tags.after();
        }
        String after = valueEnd.isEmpty() ? tags.after() : valueEnd;
        if (kind == Kind.JSON) {
            return jsonValue(after);
        }
        int end = pending.indexOf(after);
        if (end < 0 && kind == Kind.EITHER) {
            return false; // the whole value decides
        }
        int length = end >= 0 ? end : pending.length() - beginning(pending, after);
        String text = pending.substring(0, length);
        pending.delete(0, length + (end >= 0 ? after.length() : 0));
        if (kind == Kind.EITHER) {
            Tool tool = tools.get(name);
            boolean isJson = TaggedArguments.isJson(text, tool == null ? null : TaggedArguments.property(tool, key));
            emitArguments(isJson ? text : quoted(text));
        } else {
            StringBuilder quoted = new StringBuilder();
            quote(text, quoted);
            emitArguments(quoted.append(end >= 0 ? "\"" : "").toString());
        }
        if (end >= 0) {
            valueEnd = "";
            state = State.ARGUMENT;
        }
        return end >= 0;
    }

    /** Reads JSON up to the tag behind it: the first that is not in a string of it. */
    private boolean jsonValue(String after) {
        int at = 0;
        while (at < pending.length()) {
            if (!inString && after.startsWith(pending.substring(at, Math.min(pending.length(), at + after.length())))) {
                break; // the tag, or its beginning
            }
            readJson(pending.charAt(at++));
        }
        emitArguments(pending.substring(0, at));
        boolean isEnd = pending.length() - at >= after.length();
        pending.delete(0, at + (isEnd ? after.length() : 0));
        if (isEnd) {
            state = State.ARGUMENT;
        }
        return isEnd;
    }

    private boolean end() {
        if (calls().tags() != null && isFirstArgument && !isSpace(firstCharacter(calls().last()))) {
            pending.delete(0, spaceFrom(0)); // some templates write an empty line in place of arguments
        }
        List<Piece> next = calls().next();
        int another = next == null ? NO_MATCH : match(next);
        if (another >= 0) {
            begun.append(pending, 0, another);
            pending.delete(0, another);
            state = State.NAME;
            return true;
        }
        int last = match(calls().last());
        if ((another == UNDECIDED || last == UNDECIDED) && !finished) {
            return false;
        }
        if (last >= 0) {
            pending.delete(0, last);
        } else if (finished) {
            pending.setLength(0); // the beginning of the text behind a call
        }
        dropSpace = true;
        state = State.CONTENT;
        return true;
    }

    // Matching.

    /** The length of the pieces at the beginning of the text that is not read yet, or one of the two constants. */
    private int match(List<Piece> pieces) {
        int at = 0;
        for (Piece piece : pieces) {
            switch (piece) {
                case Piece.Literal(String text) -> {
                    int length = Math.min(text.length(), pending.length() - at);
                    if (!text.startsWith(pending.substring(at, at + length))) {
                        return NO_MATCH;
                    }
                    if (length < text.length()) {
                        return UNDECIDED;
                    }
                    at += length;
                }
                case Piece.Id id -> {
                    int from = at;
                    while (at < pending.length() && isId(pending.charAt(at))) {
                        at++;
                    }
                    if (at == pending.length()) {
                        return UNDECIDED;
                    }
                    if (at == from) {
                        return NO_MATCH;
                    }
                }
                case Piece.Name again -> {
                    int length = Math.min(name.length(), pending.length() - at);
                    if (!name.startsWith(pending.substring(at, at + length))) {
                        return NO_MATCH;
                    }
                    if (length < name.length()) {
                        return UNDECIDED;
                    }
                    at += length;
                }
            }
        }
        return at;
    }

    private static boolean isId(char c) {
        return (c >= 'a' && c <= 'z')
                || (c >= 'A' && c <= 'Z')
                || (c >= '0' && c <= '9')
                || c == '_'
                || c == '.'
                || c == '-';
    }

    private int spaceFrom(int at) {
        int end = at;
        while (end < pending.length() && isSpace(pending.charAt(end))) {
            end++;
        }
        return end;
    }

    private int endWithoutSpace(int end) {
        int at = end;
        while (at > 0 && isSpace(pending.charAt(at - 1))) {
            at--;
        }
        return at;
    }

    private static boolean isSpace(char c) {
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
    }

    /** Where a text begins in another, and not behind a control token whose second mark would be its first. */
    static int indexOf(StringBuilder pending, String text) {
        int at = pending.indexOf(text);
        while (at >= 0 && !mayBegin(pending, at, text)) {
            at = pending.indexOf(text, at + 1);
        }
        return at;
    }

    /** Length of the longest end of a text that is the beginning of another, and not all of it. */
    static int beginning(StringBuilder pending, String text) {
        for (int length = Math.min(text.length() - 1, pending.length()); length > 0; length--) {
            int at = pending.length() - length;
            if (pending.substring(at).equals(text.substring(0, length)) && mayBegin(pending, at, text)) {
                return length;
            }
        }
        return 0;
    }

    private static boolean mayBegin(StringBuilder pending, int at, String text) {
        boolean isOutside = true;
        if (text.charAt(0) == Part.CONTROL_MARK) {
            for (int i = 0; i < at; i++) {
                isOutside ^= pending.charAt(i) == Part.CONTROL_MARK;
            }
        }
        return isOutside;
    }

    /** Where a control token begins in a text that is not complete; {@code end} if there is none. */
    static int openControl(StringBuilder pending, int end) {
        int at = -1;
        for (int i = 0; i < pending.length(); i++) {
            if (pending.charAt(i) == Part.CONTROL_MARK) {
                at = at < 0 ? i : -1;
            }
        }
        return at < 0 ? end : Math.min(at, end);
    }

    /** Without control tokens, and without the half of one at the end. */
    static String withoutControl(String text) {
        int from = text.indexOf(Part.CONTROL_MARK);
        if (from < 0) {
            return text;
        }
        StringBuilder shown = new StringBuilder(text.substring(0, from));
        while (from >= 0) {
            int end = text.indexOf(Part.CONTROL_MARK, from + 1);
            if (end < 0) {
                break;
            }
            from = text.indexOf(Part.CONTROL_MARK, end + 1);
            shown.append(text, end + 1, from < 0 ? text.length() : from);
        }
        return shown.toString();
    }

    /** A text as JSON. */
    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        quote(text, quoted);
        return quoted.append('"').toString();
    }

    /** Writes a text as the inside of a JSON string. */
    static void quote(String text, StringBuilder out) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                default -> {
                    if (c < ' ') {
                        out.append(String.format("\\u%04x", (int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
    }
}
