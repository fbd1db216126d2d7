package quire.engine.chat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.Part;
import quire.model.text.ChatTemplate;
import quire.model.text.Tokenizer;

/**
 * How a model writes calls of tools. It is found out from the model's chat template, which writes the calls of earlier
 * answers in the same form. This one object says what an answer may be, and reads it, so the two cannot disagree.
 *
 * <p>Between the names and values there is always the same text:
 *
 * <pre>
 *   first NAME middle ARGUMENTS (next NAME middle ARGUMENTS)* last
 *
 *   JSON    &lt;tool_call>{"name": "NAME", "arguments": ARGUMENTS}&lt;/tool_call>
 *   own     &lt;|tool_call>call:NAME{KEY:VALUE}&lt;tool_call|>                           in a {@link Notation}
 *   tags    &lt;function=NAME>&lt;parameter=KEY>VALUE&lt;/parameter>&lt;/function>        a tag for each value
 * </pre>
 *
 * <p>Where a template writes the parts of an answer as messages on {@link Channels}, calls have their form.
 *
 * <p>Text is free until the <i>marker</i>, the beginning of {@code first}. Everything from there on must be a call. A form
 * without a marker of its own, such as bare JSON, is a call only at the beginning of an answer.
 *
 * <p>Immutable.
 */
public final class ToolCallFormat {
    /** What stands at one place of a call: always the same text, or an id. */
    sealed interface Piece {
        /** Text that is always the same. */
        record Literal(String text) implements Piece {}

        /** An id or a number that the model chooses, and which is not read. */
        record Id(String pattern) implements Piece {}

        /** The name of the tool once more. */
        record Name() implements Piece {}
    }

    /**
     * The tags of an argument: {@code before KEY (text | json) VALUE after}. The value of a string is the bare text, any
     * other is JSON. Some forms have marks around strings with certain characters: {@code open} and {@code close}.
     *
     * @param before the text before a key
     * @param text between a key and a value that is a string
     * @param json between a key and any other value; {@link Tags#TYPE} in it stands for the type of the value
     * @param after the text after a value
     * @param open may stand before a string; empty if there is no such mark
     * @param close stands behind a string that {@code open} stands before
     * @param isAttribute whether {@code &} and {@code "} in a key are written as in an attribute of XML
     */
    record Tags(String before, String text, String json, String after, String open, String close, boolean isAttribute) {
        /** Stands for the name of a type in JSON Schema. */
        static final String TYPE = "\0";

        boolean hasMarks() {
            return !open.isEmpty();
        }

        boolean hasTypes() {
            return json.contains(TYPE);
        }

        /** What all values but strings have between the key and their type, or themselves. */
        String beforeType() {
            return hasTypes() ? json.substring(0, json.indexOf(TYPE)) : json;
        }

        /** A key as it is written. */
        String written(String key) {
            return isAttribute ? key.replace("&", "&amp;").replace("\"", "&quot;") : key;
        }

        /** A key that is written so. */
        String key(String written) {
            return isAttribute ? written.replace("&quot;", "\"").replace("&amp;", "&") : written;
        }

        /** Whether a key is read back as it is. */
        boolean isName(String key) {
            return ends(written(key), List.of(text, beforeType()));
        }
    }

    private static final Part SPACE = new Part.Regex("[ \\n]{0,4}");

    private final List<Piece> first;
    private final List<Piece> middle;
    private final @Nullable List<Piece> next;
    private final List<Piece> last;
    private final @Nullable Tags tags;
    private final String marker;
    private final boolean anywhere;
    private final @Nullable Notation notation;
    private final @Nullable Elements elements;
    private final @Nullable Channels channels;
    private final @Nullable Frame frame;

    /**
     * @param next from the arguments of a call to the name of the next; null if there can be only one
     * @param tags of the arguments; null if they have none
     * @param notation of the arguments; null if they are JSON or have tags
     */
    ToolCallFormat(
            List<Piece> first,
            List<Piece> middle,
            @Nullable List<Piece> next,
            List<Piece> last,
            @Nullable Tags tags,
            @Nullable Notation notation) {
        this.first = first;
        this.middle = middle;
        this.next = next;
        this.last = last;
        this.tags = tags;
        this.notation = notation;
        this.elements = null;
        this.frame = null;
        String text = first.getFirst() instanceof Piece.Literal literal ? literal.text : "";
        int length = markerLength(text);
        this.anywhere = length > 0;
        this.marker = anywhere ? text.substring(0, length) : text;
        this.channels = null;
    }

    /**
     * A form that is known, and not found out.
     *
     * @param marker the text that begins a call, anywhere in an answer
     * @param next from the arguments of a call to the name of the next
     * @param tags of the arguments; null if they have none
     * @param elements that the arguments are; null if they are none. Without both, arguments are JSON
     * @param frame what stands around the parts of an answer; null for nothing
     */
    ToolCallFormat(
            String marker,
            List<Piece> first,
            List<Piece> middle,
            List<Piece> next,
            List<Piece> last,
            @Nullable Tags tags,
            @Nullable Elements elements,
            @Nullable Frame frame) {
        this.first = first;
        this.middle = middle;
        this.next = next;
        this.last = last;
        this.tags = tags;
        this.notation = null;
        this.elements = elements;
        this.marker = marker;
        this.anywhere = true;
        this.channels = null;
        this.frame = frame;
    }

    /** Calls on a channel. */
    ToolCallFormat(Channels channels) {
        this.elements = null;
        this.frame = null;
        this.first = List.of();
        this.middle = List.of();
        this.next = null;
        this.last = List.of();
        this.tags = null;
        this.notation = null;
        this.marker = "";
        this.anywhere = false;
        this.channels = channels;
    }

    /**
     * Finds out the format by rendering about ten conversations, and checks that it reads back what the template writes.
     *
     * @throws UnknownFormatException if that is not possible
     */
    public static ToolCallFormat of(ChatTemplate template, Tokenizer tokenizer) throws UnknownFormatException {
        return of(template, ControlTokens.of(tokenizer));
    }

    static ToolCallFormat of(ChatTemplate template, ControlTokens control) throws UnknownFormatException {
        return new ToolCallProbe(template, control).find();
    }

    /** How many characters of the text before the first name show that a call begins; 0 if there are no such ones. */
    private static int markerLength(String text) {
        if (text.startsWith(String.valueOf(Part.CONTROL_MARK))) {
            return text.indexOf(Part.CONTROL_MARK, 1) + 1;
        }
        if (text.startsWith("<")) {
            int end = text.indexOf('>');
            return end < 0 ? text.length() : end + 1;
        }
        if (text.startsWith("[")) {
            int end = text.indexOf(']');
            return end > 1 && text.substring(1, end).chars().allMatch(c -> Character.isUpperCase(c) || c == '_')
                    ? end + 1
                    : 0;
        }
        return 0;
    }

    /** Whether a name has no control token, and ends where these texts, of which each may follow it, first occur. */
    private static boolean ends(String name, List<String> behind) {
        return name.indexOf(Part.CONTROL_MARK) < 0
                && behind.stream().allMatch(next -> behind.stream()
                        .mapToInt((name + next)::indexOf)
                        .allMatch(at -> at < 0 || at >= name.length()));
    }

    List<Piece> first() {
        return first;
    }

    List<Piece> middle() {
        return middle;
    }

    @Nullable
    List<Piece> next() {
        return next;
    }

    List<Piece> last() {
        return last;
    }

    @Nullable
    Tags tags() {
        return tags;
    }

    @Nullable
    Notation notation() {
        return notation;
    }

    /** Elements within elements that the arguments are; null if they are none. */
    @Nullable
    Elements elements() {
        return elements;
    }

    /** What stands around the parts of an answer; null for nothing. */
    @Nullable
    Frame frame() {
        return frame;
    }

    /** Whether marks stand around the text of an answer too, so that answers without tools must be read as well. */
    public boolean isFramed() {
        return frame != null;
    }

    /** The text that begins a call. */
    String marker() {
        return marker;
    }

    /** Whether a call may begin anywhere in an answer, and not only at its beginning. */
    boolean anywhere() {
        return anywhere;
    }

    /** The channels on which the parts of an answer come; null if they come one after the other. */
    @Nullable
    Channels channels() {
        return channels;
    }

    /** Whether {@link #constraint} is for a whole answer, with the reasoning before it. */
    public boolean hasReasoning() {
        return channels != null || (frame != null && frame.isWhole());
    }

    /** Whether one answer can have several calls. */
    public boolean isParallel() {
        return next != null;
    }

    /** Whether answers are read correctly only with their control tokens. */
    public boolean hasControlTokens() {
        return channels != null
                ? channels.control()
                : example().indexOf(Part.CONTROL_MARK) >= 0 || (frame != null && frame.hasControlTokens());
    }

    /** Whether the ids of calls must have exactly nine letters and digits. */
    public boolean hasNineCharacterIds() {
        return ToolCallProbe.MISTRAL_ID.equals(idPattern(first))
                || ToolCallProbe.MISTRAL_ID.equals(idPattern(middle))
                || ToolCallProbe.MISTRAL_ID.equals(idPattern(last));
    }

    private static String idPattern(List<Piece> pieces) {
        return pieces.stream()
                .map(piece -> piece instanceof Piece.Id id ? id.pattern : "")
                .filter(pattern -> !pattern.isEmpty())
                .findFirst()
                .orElse("");
    }

    /** The form of a call for display, with names in capitals for what varies. */
    public String describe() {
        return channels != null ? channels.describe() : example().replace(String.valueOf(Part.CONTROL_MARK), "");
    }

    private String example() {
        StringBuilder text = new StringBuilder();
        append(text, first);
        text.append("NAME");
        append(text, middle);
        text.append(
                tags != null
                        ? tags.before + "KEY" + tags.text + "VALUE" + tags.after
                        : notation != null
                                ? notation.describe()
                                : elements != null ? elements.describe() : "ARGUMENTS");
        append(text, last);
        return text.toString();
    }

    private static void append(StringBuilder text, List<Piece> pieces) {
        for (Piece piece : pieces) {
            text.append(
                    switch (piece) {
                        case Piece.Literal literal -> literal.text;
                        case Piece.Id id -> "ID";
                        case Piece.Name name -> "NAME";
                    });
        }
    }

    // What an answer may be.

    /** Which calls an answer has. */
    public enum Choice {
        /** Text, or calls, or text and then calls. */
        AUTO,
        /** At least one call, and no text. */
        REQUIRED,
        /** Only text. */
        NONE
    }

    /**
     * What an answer may be. The arguments of each call satisfy the schema of the tool.
     *
     * @param tools that may be called; at least one unless {@code choice} is {@link Choice#NONE}
     * @param parallel whether there may be several calls, if the model knows how
     * @param text what an answer without calls must be; null for any text
     * @throws InvalidConstraintException if a schema is refused, see {@link #checked}
     */
    public Constraint constraint(List<Tool> tools, Choice choice, boolean parallel, @Nullable Constraint text) {
        if (choice != Choice.NONE) {
            tools.forEach(tool -> checkName(tool.name()));
        }
        if (channels != null) {
            return channels.constraint(tools, choice, text);
        }
        if (frame != null && frame.isWhole()) {
            return Constraint.of(frame.answer(
                    choice == Choice.NONE ? null : calls(withoutMarker(), tools, parallel),
                    choice == Choice.REQUIRED,
                    text));
        }
        List<String> without = anywhere ? List.of(marker) : List.of();
        List<String> notAtStart = anywhere ? List.of() : List.of(marker);
        Part plain = text == null
                ? new Part.FreeText(without, notAtStart)
                : frame == null
                        ? new Part.Whole(text)
                        : Part.sequence(frame.beforeText(), new Part.Whole(text), frame.behindText());
        if (choice == Choice.NONE) {
            return Constraint.of(plain);
        }
        Part fromStart = Part.sequence(frame == null ? SPACE : frame.withoutText(), calls(first, tools, parallel));
        if (choice == Choice.REQUIRED) {
            return Constraint.of(fromStart);
        }
        if (!anywhere || text != null) {
            return Constraint.of(Part.oneOf(plain, fromStart));
        }
        return Constraint.of(Part.oneOf(
                plain, Part.sequence(new Part.Until(marker, List.of()), calls(withoutMarker(), tools, parallel))));
    }

    private List<Piece> withoutMarker() {
        List<Piece> rest = new ArrayList<>(first);
        String literal = ((Piece.Literal) first.getFirst()).text;
        rest.set(0, new Piece.Literal(literal.substring(marker.length())));
        return rest;
    }

    /**
     * Checks that the schema of a tool can be enforced.
     *
     * @throws InvalidConstraintException with the JSON pointer of what is malformed or not computed
     */
    public void checked(Tool tool) {
        checkName(tool.name());
        Constraint.of(call(tool));
    }

    /**
     * A tool of the same name for a schema that is refused. Its arguments may be any object, or, where they are not written as
     * JSON, its declared properties, with any value for those whose own schema is refused.
     */
    public Tool loosened(Tool tool) {
        boolean isJson = tags == null && notation == null && elements == null;
        Map<String, Object> loose = new LinkedHashMap<>(Map.of("type", "object"));
        if (!isJson && tool.parameters().get("properties") instanceof Map<?, ?> properties) {
            Map<String, Object> possible = new LinkedHashMap<>();
            properties.keySet().forEach(key -> possible.put(String.valueOf(key), Map.of()));
            loose.put("properties", possible);
            Map<String, ?> known = TaggedArguments.withDefinitions(loose, tool.parameters());
            for (Map.Entry<?, ?> property : properties.entrySet()) {
                String name = String.valueOf(property.getKey());
                possible.put(name, Objects.requireNonNullElse(property.getValue(), Map.of()));
                if (!isPossible(new Tool(tool.name(), known))) {
                    possible.put(name, Map.of());
                }
            }
            return new Tool(tool.name(), known);
        }
        return new Tool(tool.name(), loose);
    }

    private boolean isPossible(Tool tool) {
        try {
            checked(tool);
            return true;
        } catch (InvalidConstraintException e) {
            return false;
        }
    }

    private Part calls(List<Piece> beginning, List<Tool> tools, boolean parallel) {
        Part call = Part.oneOf(tools.stream().map(this::call).toArray(Part[]::new));
        Part more =
                parallel && next != null ? new Part.Repeated(Part.sequence(part(next, ""), call)) : new Part.Text("");
        return Part.sequence(part(beginning, ""), call, more, part(last, ""));
    }

    /** The texts that may follow the name of a tool. */
    List<String> behindName() {
        if (!middle.isEmpty()) {
            return List.of(literal(middle));
        }
        List<String> ends = new ArrayList<>(List.of(literal(last)));
        if (next != null) {
            ends.add(literal(next));
        }
        if (tags != null) {
            ends.add(tags.before());
        }
        return ends;
    }

    static String literal(List<Piece> pieces) {
        return !pieces.isEmpty() && pieces.getFirst() instanceof Piece.Literal literal ? literal.text : "";
    }

    /** Checks that the name of a tool is read back, and that the head of its message is not that of a text. */
    private void checkName(String name) {
        String head = frame == null ? "" : frame.head() + name + literal(middle);
        if (!ends(name, channels == null ? behindName() : List.of())
                || (frame != null && frame.isWhole() && frame.silent().stream().anyMatch(head::startsWith))) {
            throw new InvalidConstraintException(
                    "",
                    "the name '" + name + "' is not supported in this model's form of tool calls,"
                            + " which gives it another meaning: call the tool something else");
        }
    }

    private Part call(Tool tool) {
        Part arguments = tags != null
                ? TaggedArguments.part(tags, tool)
                : notation != null
                        ? notation.part(tool)
                        : elements != null ? elements.part(tool) : new Part.Json(tool.parameters());
        return Part.sequence(new Part.Text(tool.name()), part(middle, tool.name()), arguments);
    }

    private static Part part(List<Piece> pieces, String tool) {
        return new Part.Sequence(pieces.stream()
                .map(piece -> switch (piece) {
                    case Piece.Literal literal -> new Part.Text(literal.text);
                    case Piece.Id id -> (Part) new Part.Regex(id.pattern);
                    case Piece.Name name -> new Part.Text(tool);
                })
                .toList());
    }

    // Reading an answer.

    /**
     * Reads an answer with these tools, which may have the form that {@link #constraint} allows, but need not.
     *
     * @param tools that the model knows
     */
    public AnswerParser parser(List<Tool> tools) {
        return new AnswerParser(this, true, tools, null, ReasoningFormat.Beginning.EITHER);
    }
}
