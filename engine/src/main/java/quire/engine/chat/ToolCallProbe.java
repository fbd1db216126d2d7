package quire.engine.chat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.ToolCallFormat.Piece;
import quire.engine.chat.ToolCallFormat.Tags;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;

/**
 * Finds out the {@link ToolCallFormat} of a chat template: renders conversations that end with calls of known names,
 * arguments and ids, and looks where these stand in the text.
 *
 * <pre>
 *   with a text           …assistant\n                                  §text§&lt;|im_end|>
 *   with a call           …assistant\n&lt;tool_call>\n{"name": "N", "arguments": {"k": "v"}}\n&lt;/tool_call>&lt;|im_end|>
 *                                     └ first ──────────┘ └ middle ───┘ └ arguments ┘└ last ────┘
 * </pre>
 */
final class ToolCallProbe {
    private static final String TEXT = "§text§";
    private static final List<String> NAMES = List.of("probe_alpha", "probe_beta", "probe_gamma");
    private static final List<String> IDS = List.of("proBe0001", "proBe0002", "proBe0003"); // nine, as Mistral demands
    private static final String KEY = "probe_key";
    private static final String VALUE = "probe text";
    private static final String OTHER_KEY = "probe_other";
    private static final int OTHER_VALUE = 73519;
    private static final String SPECIAL = "<a> & \"b\" \\";
    private static final String ID_PATTERN = "[A-Za-z0-9_.:-]{1,64}";

    /** The ids of nine letters and digits that Mistral's templates demand. */
    static final String MISTRAL_ID = "[A-Za-z0-9]{9}";

    private static final String EMPTY_THOUGHT = "^(<think>\\s*</think>|<\\|START_THINKING\\|><\\|END_THINKING\\|>)";
    /** Gemma 4 writes it behind calls, before their results. */
    private static final String RESULTS = "<|tool_response>";

    private static final String NUMBER_PATTERN = "[0-9]{1,3}";

    private final ChatTemplate template;
    private final ControlTokens control;
    private final @Nullable KnownForm known;

    ToolCallProbe(ChatTemplate template, ControlTokens control) {
        this.template = template;
        this.control = control;
        this.known = KnownForm.of(template);
    }

    ToolCallFormat find() throws UnknownFormatException {
        Channels channels = Channels.of(template, control);
        if (channels != null) {
            ToolCallFormat format = new ToolCallFormat(channels);
            verify(format);
            return format;
        }
        if (known != null) {
            ToolCallFormat format = known.format(control);
            verify(format);
            return format;
        }
        Map<String, Object> both = arguments(true, true);
        String one = answer(calls(List.of(both)));
        Place name = place(one, NAMES.getFirst(), 0);
        if (one.indexOf(NAMES.getFirst(), name.to) >= 0) {
            throw unknown("it writes the name of the tool more than once");
        }
        int key = one.indexOf(KEY, name.to);
        if (key < 0) {
            throw unknown(
                    one.contains(KEY) ? "it writes arguments before the name" : "it does not write the arguments");
        }
        Place json = json(one, key);
        String open = one.substring(name.to, key);
        ToolCallFormat format = json != null
                ? withJson(one, name, json)
                : open.equals("{") || open.equals("(") ? notated(one, name) : tagged(one, name);
        verify(format);
        return format;
    }

    private ToolCallFormat withJson(String one, Place name, Place json) throws UnknownFormatException {
        List<Piece> first = pieces(one.substring(0, name.from), IDS.getFirst());
        List<Piece> middle = pieces(one.substring(name.to, json.from), IDS.getFirst());
        List<Piece> last = pieces(one.substring(json.to), IDS.getFirst());
        List<Piece> next = null;
        List<String> gaps = new ArrayList<>();
        List<String> middles = new ArrayList<>();
        String three = several();
        if (three != null) {
            int at = 0;
            for (int i = 0; i < 3; i++) {
                Place itsName = place(three, NAMES.get(i), at);
                Place itsJson = json(three, Math.max(0, three.indexOf(KEY, itsName.to)));
                if (itsJson == null) {
                    throw unknown("several calls have another form than one");
                }
                if (i > 0) {
                    gaps.add(withoutIds(three.substring(at, itsName.from)));
                }
                middles.add(withoutIds(three.substring(itsName.to, itsJson.from)));
                at = itsJson.to;
            }
            next = merged(gaps.get(0), gaps.get(1));
            middle = merged(middles.get(0), middles.get(1));
            first = numbered(first, next);
        }
        return new ToolCallFormat(withoutSpace(first), middle, next, stripped(last), null, null);
    }

    private ToolCallFormat notated(String one, Place name) throws UnknownFormatException {
        Place key = place(one, KEY, name.to);
        Place value = place(one, VALUE, key.to);
        Place otherKey = place(one, OTHER_KEY, value.to);
        Place otherValue = place(one, String.valueOf(OTHER_VALUE), otherKey.to);
        String open = one.substring(name.to, key.from);
        String close = open.equals("(") ? ")" : "}";
        String assign = one.substring(otherKey.to, otherValue.from);
        String before = one.substring(key.to, value.from);
        String quote = before.substring(Math.min(assign.length(), before.length()));
        String behind = one.substring(value.to, otherKey.from);
        if (assign.isEmpty()
                || quote.isEmpty()
                || !before.startsWith(assign)
                || !behind.startsWith(quote)
                || !one.startsWith(close, otherValue.to)) {
            throw unknown("it writes the arguments in a form of its own");
        }
        Notation notation = new Notation(
                control.marked(assign),
                control.marked(behind.substring(quote.length())),
                close,
                quote.equals("\"") ? "" : control.marked(quote));
        List<Piece> first = pieces(one.substring(0, name.from), IDS.getFirst());
        List<Piece> last = pieces(one.substring(otherValue.to + close.length()), IDS.getFirst());
        List<Piece> next = null;
        String three = several();
        if (three != null) {
            List<String> gaps = new ArrayList<>();
            int at = 0;
            for (int i = 0; i < 3; i++) {
                Place itsName = place(three, NAMES.get(i), at);
                if (i > 0) {
                    gaps.add(withoutIds(three.substring(at, itsName.from)));
                }
                at = place(three, String.valueOf(OTHER_VALUE), itsName.to).to + close.length();
            }
            next = merged(gaps.get(0), gaps.get(1));
        }
        return new ToolCallFormat(
                withoutSpace(first), pieces(open, IDS.getFirst()), next, stripped(last), null, notation);
    }

    private ToolCallFormat tagged(String one, Place name) throws UnknownFormatException {
        Place key = place(one, KEY, name.to);
        Place value = place(one, VALUE, key.to);
        Place otherKey = place(one, OTHER_KEY, value.to);
        Place otherValue = place(one, String.valueOf(OTHER_VALUE), otherKey.to);
        if (one.indexOf(KEY, key.to) >= 0 || one.indexOf(OTHER_KEY, otherKey.to) >= 0) {
            throw unknown("it writes the name of an argument more than once");
        }
        String open = one.substring(name.to, key.from);
        String separator = one.substring(value.to, otherKey.from);
        int common = 0;
        while (common < Math.min(open.length(), separator.length())
                && open.charAt(open.length() - 1 - common) == separator.charAt(separator.length() - 1 - common)) {
            common++;
        }
        int tag = open.lastIndexOf('<');
        if (tag >= open.length() - common) {
            common = open.length() - tag;
        }
        String before = open.substring(open.length() - common);
        String after = separator.substring(0, separator.length() - common);
        String rest = one.substring(otherValue.to);
        if (before.isEmpty() || after.isEmpty() || !rest.startsWith(after)) {
            throw unknown("it writes the arguments in a form of its own");
        }
        if (after.startsWith("\"") || after.startsWith("'")) {
            throw unknown("it writes the arguments in a form of its own, with quotes");
        }
        Tags tags = new Tags(
                control.marked(before),
                control.marked(one.substring(key.to, value.from)),
                control.marked(one.substring(otherKey.to, otherValue.from)),
                control.marked(after),
                "",
                "",
                false);
        tags = withMarks(tags);
        checkOther(tags);
        List<Piece> first = pieces(one.substring(0, name.from), IDS.getFirst());
        List<Piece> middle = pieces(open.substring(0, open.length() - common), IDS.getFirst());
        List<Piece> last = pieces(rest.substring(after.length()), IDS.getFirst());
        List<Piece> next = null;
        String three = several();
        if (three != null) {
            List<String> gaps = new ArrayList<>();
            int at = 0;
            for (int i = 0; i < 3; i++) {
                Place itsName = place(three, NAMES.get(i), at);
                if (i > 0) {
                    gaps.add(withoutIds(three.substring(at, itsName.from)));
                }
                at = place(three, String.valueOf(OTHER_VALUE), itsName.to).to + after.length();
            }
            next = merged(gaps.get(0), gaps.get(1));
            first = numbered(first, next);
        }
        return new ToolCallFormat(withoutSpace(first), middle, next, stripped(last), tags, null);
    }

    /** Tags with the marks that stand around strings with certain characters, and around no others. */
    private Tags withMarks(Tags tags) throws UnknownFormatException {
        String string = control.marked(answer(calls(List.of(Map.of(KEY, SPECIAL)))));
        int key = string.indexOf(KEY + tags.text());
        int from = key + (KEY + tags.text()).length();
        int at = key < 0 ? -1 : string.indexOf(SPECIAL, from);
        int end = at < 0 ? -1 : string.indexOf(tags.after(), at + SPECIAL.length());
        if (end < 0 || (at == from) != (end == at + SPECIAL.length())) {
            throw unknown("it does not write a string as it is");
        }
        return new Tags(
                tags.before(),
                tags.text(),
                tags.json(),
                tags.after(),
                string.substring(from, at),
                string.substring(at + SPECIAL.length(), end),
                false);
    }

    /** All values but strings must have the same tags. */
    private void checkOther(Tags tags) throws UnknownFormatException {
        String text = control.marked(answer(calls(List.of(Map.of(KEY, List.of(1))))));
        if (!text.contains(KEY + tags.json() + "[1]" + tags.after())) {
            throw unknown("the tags of a value depend on its type");
        }
    }

    private void verify(ToolCallFormat format) throws UnknownFormatException {
        List<Map<String, Object>> all = new ArrayList<>(List.of(arguments(true, true)));
        if (format.next() != null) {
            all.add(arguments(true, false));
        }
        String text = control.marked(answer(calls(all)));
        List<Tool> tools = NAMES.stream()
                .map(name -> new Tool(
                        name,
                        Map.of(
                                "type",
                                "object",
                                "properties",
                                Map.of(KEY, Map.of("type", "string"), OTHER_KEY, Map.of("type", "integer")))))
                .toList();
        AnswerParser parser = format.parser(tools);
        List<AnswerEvent> events = new ArrayList<>(parser.append(text));
        events.addAll(parser.finish());
        StringBuilder read = new StringBuilder();
        for (AnswerEvent event : events) {
            switch (event) {
                case AnswerEvent.Reasoning thought -> read.append(thought.text());
                case AnswerEvent.Content content -> read.append(content.text());
                case AnswerEvent.Call call -> read.append('|').append(call.name());
                case AnswerEvent.Arguments arguments ->
                    read.append(arguments.json().replaceAll("[ \n]", ""));
            }
        }
        StringBuilder expected = new StringBuilder();
        for (int i = 0; i < all.size(); i++) {
            expected.append('|').append(NAMES.get(i)).append(compact(all.get(i)));
        }
        if (!read.toString().equals(expected.toString())) {
            throw unknown("what it writes is not read back: " + read);
        }
    }

    // Conversations.

    /** What the template writes for an answer with calls of these arguments, without the parts of the template around it. */
    String answer(List<Map<String, Object>> calls) throws UnknownFormatException {
        try {
            if (known != null) {
                return known.answer(template, message(null, calls), describedTools());
            }
            String withText = render(message(TEXT, List.of()));
            String withCalls = render(message(null, calls));
            int from = mismatch(withText, withCalls);
            from = withText.contains(TEXT) ? Math.min(from, withText.indexOf(TEXT)) : from;
            from = startOfTag(withCalls, from);
            String rest = withText.contains(TEXT) ? withText.substring(withText.indexOf(TEXT) + TEXT.length()) : "";
            int to = withCalls.length();
            while (to > from && !rest.isEmpty() && rest.charAt(rest.length() - 1) == withCalls.charAt(to - 1)) {
                to--;
                rest = rest.substring(0, rest.length() - 1);
            }
            to = endOfTag(withCalls, to);
            String text = control.upToEnd(withCalls.substring(from, to)).replaceFirst(EMPTY_THOUGHT, "");
            text = text.contains(RESULTS) ? text.substring(0, text.indexOf(RESULTS)) : text;
            String found = text;
            if (calls.stream().anyMatch(call -> !found.contains(nameOf(call)))) {
                throw unknown("it does not write the calls of an earlier answer");
            }
            return text;
        } catch (ChatTemplateException e) {
            throw unknown("it refuses an earlier answer with a call: " + e.getMessage());
        }
    }

    /** Three calls; null if the template does not write them. */
    private @Nullable String several() {
        try {
            Map<String, Object> both = arguments(true, true);
            return answer(calls(List.of(both, both, both)));
        } catch (UnknownFormatException e) {
            return null;
        }
    }

    private String render(Map<String, @Nullable Object> answer) {
        return template.render(List.of(Map.of("role", "user", "content", "probe"), answer), describedTools(), false);
    }

    private static List<Map<String, Object>> describedTools() {
        return NAMES.stream().map(ToolCallProbe::tool).toList();
    }

    private static Map<String, Object> tool(String name) {
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put(KEY, Map.of("type", "string", "description", "A text."));
        properties.put(OTHER_KEY, Map.of("type", "integer", "description", "A number."));
        Map<String, Object> function = new LinkedHashMap<>();
        function.put("name", name);
        function.put("description", "A tool.");
        function.put("parameters", Map.of("type", "object", "properties", properties, "required", List.of(KEY)));
        return Map.of("type", "function", "function", function);
    }

    private static Map<String, @Nullable Object> message(@Nullable String text, List<Map<String, Object>> calls) {
        Map<String, @Nullable Object> message = new LinkedHashMap<>();
        message.put("role", "assistant");
        message.put("content", text);
        if (!calls.isEmpty()) {
            message.put("tool_calls", calls);
        }
        return message;
    }

    /** Calls with these arguments of different tools. */
    private static List<Map<String, Object>> calls(List<Map<String, Object>> arguments) {
        return IntStream.range(0, arguments.size())
                .mapToObj(i -> call(i, NAMES.get(i), arguments.get(i)))
                .toList();
    }

    /** The call of an earlier answer. */
    static Map<String, Object> call(int index, String name, Map<String, ?> arguments) {
        Map<String, Object> function = new LinkedHashMap<>();
        function.put("name", name);
        function.put("arguments", arguments);
        Map<String, Object> call = new LinkedHashMap<>();
        call.put("id", IDS.get(index));
        call.put("type", "function");
        call.put("function", function);
        return call;
    }

    private static String nameOf(Map<String, Object> call) {
        return String.valueOf(((Map<?, ?>) Objects.requireNonNull(call.get("function"))).get("name"));
    }

    private static Map<String, Object> arguments(boolean text, boolean number) {
        Map<String, Object> arguments = new LinkedHashMap<>();
        if (text) {
            arguments.put(KEY, VALUE);
        }
        if (number) {
            arguments.put(OTHER_KEY, OTHER_VALUE);
        }
        return arguments;
    }

    private static String compact(Map<String, Object> arguments) {
        StringBuilder text = new StringBuilder("{");
        arguments.forEach((key, value) -> text.append(text.length() > 1 ? "," : "")
                .append('"')
                .append(key)
                .append("\":")
                .append(value instanceof String ? "\"" + value + "\"" : value));
        return text.append('}').toString().replace(" ", "");
    }

    // Places in a text.

    private record Place(int from, int to) {}

    private Place place(String text, String part, int from) throws UnknownFormatException {
        int at = text.indexOf(part, from);
        if (at < 0) {
            throw unknown("it does not write the arguments one after the other, each behind its name");
        }
        return new Place(at, at + part.length());
    }

    /** The arguments as JSON, of which one key stands at {@code key}; null if they are not JSON. */
    private static @Nullable Place json(String text, int key) {
        int from = text.lastIndexOf('{', key);
        if (from < 0 || !text.substring(from + 1, key).replaceAll("[ \n]", "").equals("\"")) {
            return null;
        }
        int to = text.indexOf('}', key) + 1;
        boolean same =
                to > 0 && text.substring(from, to).replaceAll("[ \n]", "").equals(compact(arguments(true, true)));
        return same ? new Place(from, to) : null;
    }

    /** Moves a place back to the beginning of the tag that it is in. */
    private static int startOfTag(String text, int at) {
        int open = text.lastIndexOf('<', at - 1);
        return open >= 0 && text.substring(open, at).matches("<[^>\\s]*") ? open : at;
    }

    /** Moves a place to the end of the tag that it is in. */
    private static int endOfTag(String text, int at) {
        int open = text.lastIndexOf('<', at - 1);
        int close = text.indexOf('>', at);
        return open >= 0 && close >= 0 && text.substring(open, close).matches("<[^>\\s]*") ? close + 1 : at;
    }

    private static int mismatch(String a, String b) {
        int at = 0;
        while (at < Math.min(a.length(), b.length()) && a.charAt(at) == b.charAt(at)) {
            at++;
        }
        return at;
    }

    // Pieces.

    private List<Piece> pieces(String text, String id) {
        List<Piece> pieces = new ArrayList<>();
        int at = text.indexOf(id);
        if (at < 0) {
            return text.isEmpty() ? pieces : new ArrayList<>(List.of(literal(text)));
        }
        if (at > 0) {
            pieces.add(literal(text.substring(0, at)));
        }
        pieces.add(new Piece.Id(idPattern()));
        if (at + id.length() < text.length()) {
            pieces.add(literal(text.substring(at + id.length())));
        }
        return pieces;
    }

    private Piece literal(String text) {
        return new Piece.Literal(control.marked(text));
    }

    private static String withoutIds(String text) {
        String result = text;
        for (String id : IDS) {
            result = result.replace(id, IDS.getFirst());
        }
        return result;
    }

    /** Ids of nine letters and digits if the template refuses others. */
    private String idPattern() {
        Map<String, Object> call = call(0, NAMES.getFirst(), arguments(true, true));
        call.put("id", "a longer id than nine");
        Map<String, @Nullable Object> message = message(null, List.of(call));
        try {
            render(message);
            return ID_PATTERN;
        } catch (ChatTemplateException e) {
            return MISTRAL_ID;
        }
    }

    /** The pieces of two texts that are equal, or differ in one number, which counts the calls. */
    private List<Piece> merged(String a, String b) throws UnknownFormatException {
        if (a.equals(b)) {
            return pieces(a, IDS.getFirst());
        }
        int start = mismatch(a, b);
        String restA = a.substring(start).replaceFirst("^[0-9]+", "");
        String restB = b.substring(start).replaceFirst("^[0-9]+", "");
        if (!restA.equals(restB) || a.contains(IDS.getFirst())) {
            throw unknown("the text between calls is not always the same");
        }
        List<Piece> pieces = new ArrayList<>();
        if (start > 0) {
            pieces.add(literal(a.substring(0, start)));
        }
        pieces.add(new Piece.Id(NUMBER_PATTERN));
        if (!restA.isEmpty()) {
            pieces.add(literal(restA));
        }
        return pieces;
    }

    /** If later calls are numbered before their name, the first one is too. */
    private static List<Piece> numbered(List<Piece> first, List<Piece> next) {
        if (next.size() == 3
                && next.get(1) instanceof Piece.Id id
                && id.pattern().equals(NUMBER_PATTERN)
                && next.get(2) instanceof Piece.Literal behind
                && first.size() == 1
                && first.getFirst() instanceof Piece.Literal whole
                && whole.text().endsWith(behind.text())) {
            String before = whole.text()
                    .substring(0, whole.text().length() - behind.text().length());
            return List.of(new Piece.Literal(before.replaceFirst("[0-9]+$", "")), id, behind);
        }
        return first;
    }

    private List<Piece> withoutSpace(List<Piece> first) throws UnknownFormatException {
        if (first.isEmpty()
                || !(first.getFirst() instanceof Piece.Literal literal)
                || literal.text().isBlank()) {
            throw unknown("it writes nothing before the name of the tool that shows where a call begins");
        }
        List<Piece> stripped = new ArrayList<>(first);
        stripped.set(0, new Piece.Literal(literal.text().stripLeading()));
        return stripped;
    }

    /** Without white space at the end, which an answer need not have. */
    private static List<Piece> stripped(List<Piece> last) {
        if (last.isEmpty() || !(last.getLast() instanceof Piece.Literal literal)) {
            return last;
        }
        List<Piece> stripped = new ArrayList<>(last);
        stripped.set(last.size() - 1, new Piece.Literal(literal.text().stripTrailing()));
        return stripped;
    }

    private static UnknownFormatException unknown(String reason) {
        return new UnknownFormatException(
                "the form of tool calls cannot be found out from the chat template: " + reason);
    }
}
