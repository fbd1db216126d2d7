package quire.engine.chat;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import quire.engine.chat.TaggedArguments.Kind;
import quire.engine.constrain.Part;

/**
 * Arguments that are elements within elements, as MiniMax M3 writes them. A mark stands before each tag:
 *
 * <pre>
 *   ◆&lt;city>Bern◆&lt;/city>  ◆&lt;days>◆&lt;item>1◆&lt;/item>◆&lt;item>2◆&lt;/item>◆&lt;/days>  ◆&lt;place>◆&lt;x>1.5◆&lt;/x>◆&lt;/place>
 *   "city": "Bern",       "days": [1, 2],                                   "place": {"x": 1.5}
 * </pre>
 *
 * <p>No value shows its type, so the schema of the tool tells it. A value of no schema is JSON if it is a number, true, false
 * or null, a list if its elements have the name {@code item}, and otherwise an object or a string. Of the keywords for strings
 * only {@code enum} and {@code const} are enforced; lists and objects may have only the keywords for their elements and
 * properties. What would not be read back as it is, is not written, as in {@link TaggedArguments}.
 *
 * @param mark before each tag; it is in no value
 */
record Elements(String mark) {
    private static final String ITEM = "item";
    private static final int ANY_DEPTH = 2;
    private static final int MAX_DEPTH = 20;

    /** An argument for display. */
    String describe() {
        return mark + "<KEY>VALUE" + mark + "</KEY>";
    }

    private String open(String name) {
        return mark + "<" + name + ">";
    }

    private String close(String name) {
        return mark + "</" + name + ">";
    }

    // What arguments may be.

    /**
     * The arguments of a tool.
     *
     * @throws quire.engine.constrain.InvalidConstraintException if the schema has keywords that cannot be enforced in this form
     */
    Part part(Tool tool) {
        TaggedArguments.checkRoot(tool);
        return members(tool.parameters(), tool.parameters(), "", 0);
    }

    private Part members(Map<String, ?> schema, Map<String, ?> root, String place, int depth) {
        TaggedArguments.PairWriter writer = new TaggedArguments.PairWriter() {
            @Override
            public boolean isName(String name) {
                return !name.startsWith("/") && !name.contains(">") && name.indexOf(Part.CONTROL_MARK) < 0;
            }

            @Override
            public String written(String name) {
                return open(name);
            }

            @Override
            public Part value(String name, @Nullable Object of, String at) {
                return Elements.this.value(of, root, close(name), at, depth);
            }
        };
        return new Part.Pairs(TaggedArguments.pairs(schema, place, writer), "");
    }

    /** A value, and the tag behind it. */
    private Part value(@Nullable Object of, Map<String, ?> root, String end, String place, int depth) {
        if (depth > MAX_DEPTH) {
            throw Notation.refused(place, "a schema that refers to itself");
        }
        Map<String, ?> schema = resolved(of, root);
        if (schema == null) {
            return any(end, ANY_DEPTH);
        }
        List<@Nullable Object> values = TaggedArguments.values(schema);
        if (values != null) {
            return choice(values, end);
        }
        if (schema.get("anyOf") instanceof List<?> parts) {
            Notation.checkKeywords(schema, Set.of("anyOf"), place);
            List<Part> ways = new ArrayList<>();
            for (Object part : parts) {
                ways.add(value(part, root, end, place + "/anyOf/" + ways.size(), depth + 1));
            }
            return new Part.OneOf(ways);
        }
        Object type = schema.get("type");
        if (type == null) {
            Notation.checkKeywords(schema, Set.of(), place);
            return any(end, ANY_DEPTH);
        }
        List<Part> ways = new ArrayList<>();
        for (Object each : type instanceof List<?> several ? several : List.of(type)) {
            switch (String.valueOf(each)) {
                case "string" -> ways.add(text(end));
                case "array" -> {
                    Notation.checkKeywords(schema, Set.of("type", "items"), place);
                    Part item = schema.containsKey("items")
                            ? value(schema.get("items"), root, close(ITEM), place + "/items", depth + 1)
                            : any(close(ITEM), ANY_DEPTH - 1);
                    ways.add(items(item, end));
                }
                case "object" -> {
                    Notation.checkKeywords(schema, Set.of("type", "properties", "required"), place);
                    ways.add(Part.sequence(members(schema, root, place, depth + 1), new Part.Text(end)));
                }
                default -> {
                    Map<String, Object> only = new LinkedHashMap<>(schema);
                    only.put("type", each);
                    ways.add(Part.sequence(new Part.Json(only), new Part.Text(end)));
                }
            }
        }
        return new Part.OneOf(ways);
    }

    private Part choice(List<@Nullable Object> choices, String end) {
        List<Part> ways = new ArrayList<>();
        for (Object choice : choices) {
            if (choice instanceof String text) {
                if (!text.contains(mark) && TaggedArguments.isReadBack(text, end)) {
                    ways.add(new Part.Text(text + end));
                }
            } else if (!TaggedArguments.contains(choice, mark)) {
                ways.add(Part.sequence(new Part.Json(Collections.singletonMap("const", choice)), new Part.Text(end)));
            }
        }
        return new Part.OneOf(ways);
    }

    private Part text(String end) {
        boolean control = mark.indexOf(Part.CONTROL_MARK) >= 0;
        return Part.sequence(
                new Part.FreeText(
                        control
                                ? List.of(String.valueOf(Part.CONTROL_MARK))
                                : List.of(mark, String.valueOf(Part.CONTROL_MARK)),
                        List.of()),
                new Part.Text(end));
    }

    private Part items(Part item, String end) {
        return Part.sequence(new Part.Repeated(Part.sequence(new Part.Text(open(ITEM)), item)), new Part.Text(end));
    }

    /** A text, or lists in lists up to a depth. */
    private Part any(String end, int depth) {
        return depth == 0 ? text(end) : Part.oneOf(text(end), items(any(close(ITEM), depth - 1), end));
    }

    // The schema of a value.

    /** A schema without its reference; null for one that is not known. */
    private static @Nullable Map<String, ?> resolved(@Nullable Object of, Map<String, ?> root) {
        Object schema = of;
        for (int i = 0;
                i < MAX_DEPTH && schema instanceof Map<?, ?> map && map.get("$ref") instanceof String ref;
                i++) {
            Object target = root;
            for (String step : ref.replaceFirst("^#/?", "").split("/", -1)) {
                target = step.isEmpty() ? target : target instanceof Map<?, ?> inside ? inside.get(step) : null;
            }
            schema = target;
        }
        if (!(schema instanceof Map<?, ?> map) || map.isEmpty()) {
            return null;
        }
        Map<String, Object> plain = new LinkedHashMap<>();
        map.forEach((key, value) -> plain.put(String.valueOf(key), value));
        return plain;
    }

    /** The schema of an element within a value; null if it is not known. */
    private static @Nullable Map<String, ?> child(
            @Nullable Map<String, ?> schema, Map<String, ?> root, String name, boolean isItem, int depth) {
        if (schema == null || depth > MAX_DEPTH) {
            return null;
        }
        if (isItem && schema.containsKey("items")) {
            return resolved(schema.get("items"), root);
        }
        if (!isItem && schema.get("properties") instanceof Map<?, ?> properties && properties.containsKey(name)) {
            return resolved(properties.get(name), root);
        }
        for (String keyword : List.of("anyOf", "oneOf", "allOf")) {
            if (schema.get(keyword) instanceof List<?> parts) {
                for (Object part : parts) {
                    Map<String, ?> found = child(resolved(part, root), root, name, isItem, depth + 1);
                    if (found != null) {
                        return found;
                    }
                }
            }
        }
        return isItem ? null : resolved(schema.get("additionalProperties"), root);
    }

    // Reading.

    private enum Shape {
        /** Nothing of the value is read. */
        BEGUN,
        OBJECT,
        LIST,
        TEXT
    }

    /** An element whose end has not come. */
    private static final class Open {
        final String name;
        final @Nullable Map<String, ?> schema;
        Shape shape;
        int children;

        Open(String name, @Nullable Map<String, ?> schema, Shape shape) {
            this.name = name;
            this.schema = schema;
            this.shape = shape;
        }
    }

    /** Reads the arguments of a call as JSON. */
    Reader reader(@Nullable Tool tool) {
        return new Reader(tool == null ? Map.of() : tool.parameters());
    }

    /** Reads the arguments of one call as they come. */
    final class Reader {
        private final Map<String, ?> root;
        private final Deque<Open> stack = new ArrayDeque<>();
        private boolean done;

        private Reader(Map<String, ?> root) {
            this.root = root;
            stack.push(new Open("", root, Shape.OBJECT));
        }

        /** Whether the arguments are complete. */
        boolean isDone() {
            return done;
        }

        /**
         * Reads on, and removes what is read from the text.
         *
         * @return the JSON of it; empty if more text is needed
         */
        String read(StringBuilder pending) {
            StringBuilder json = new StringBuilder();
            while (!done && step(pending, json)) {
                // until more text is needed
            }
            return json.toString();
        }

        private boolean step(StringBuilder pending, StringBuilder json) {
            Open top = stack.getFirst();
            if (top.shape == Shape.TEXT) {
                return text(pending, top, json);
            }
            String tag = mark + "<";
            int space = 0;
            while (space < pending.length() && " \n\t".indexOf(pending.charAt(space)) >= 0) {
                space++;
            }
            if (top.shape != Shape.BEGUN) {
                pending.delete(0, space);
            } else if (space > 0) {
                String rest = pending.substring(space);
                if (rest.startsWith(tag) && !rest.startsWith(close(top.name))) {
                    if (rest.length() == tag.length()) {
                        return false;
                    }
                    if (rest.charAt(tag.length()) != '/') {
                        pending.delete(0, space); // a list or an object
                    }
                } else if (tag.startsWith(rest)) {
                    return false;
                }
            }
            if (pending.length() < tag.length() && tag.startsWith(pending.toString())) {
                return false;
            }
            if (pending.indexOf(tag) != 0) {
                if (top.shape == Shape.BEGUN) {
                    return scalar(pending, top, json);
                }
                done = true; // no element: the call ends here
                json.append(end(top));
                return false;
            }
            int close = pending.indexOf(">", tag.length());
            if (close < 0) {
                return false;
            }
            String name = pending.substring(tag.length(), close);
            if (stack.size() == 1 && name.startsWith("/")) {
                done = true;
                json.append(end(top));
                return false; // the text behind a call
            }
            pending.delete(0, close + 1);
            if (name.equals("/" + top.name)) {
                json.append(end(top));
                stack.pop();
            } else if (!name.startsWith("/")) {
                begin(top, name, json);
            }
            return true;
        }

        private void begin(Open top, String name, StringBuilder json) {
            if (top.shape == Shape.BEGUN) {
                boolean isList = top.schema == null
                        ? name.equals(ITEM)
                        : !TaggedArguments.isPossible(withDefinitions(top.schema), "object")
                                || (name.equals(ITEM)
                                        && TaggedArguments.isPossible(withDefinitions(top.schema), "array"));
                top.shape = isList ? Shape.LIST : Shape.OBJECT;
            }
            boolean isList = top.shape == Shape.LIST;
            json.append(top.children++ > 0 ? ", " : isList ? "[" : "{");
            if (!isList) {
                json.append(AnswerParser.quoted(name)).append(": ");
            }
            Map<String, ?> schema = child(top.schema, root, name, isList, 0);
            boolean isText = schema != null && TaggedArguments.kind(withDefinitions(schema)) == Kind.TEXT;
            json.append(isText ? "\"" : "");
            stack.push(new Open(name, schema, isText ? Shape.TEXT : Shape.BEGUN));
        }

        /** What ends an element without a text. */
        private String end(Open open) {
            return switch (open.shape) {
                case OBJECT -> open.children == 0 ? "{}" : "}";
                case LIST -> open.children == 0 ? "[]" : "]";
                case TEXT -> "\"";
                case BEGUN -> {
                    Map<String, ?> schema = open.schema == null ? null : withDefinitions(open.schema);
                    yield schema == null || TaggedArguments.isPossible(schema, "string")
                            ? "\"\""
                            : TaggedArguments.isPossible(schema, "array")
                                    ? "[]"
                                    : TaggedArguments.isPossible(schema, "object") ? "{}" : "null";
                }
            };
        }

        private boolean text(StringBuilder pending, Open top, StringBuilder json) {
            String close = close(top.name);
            int end = AnswerParser.indexOf(pending, close);
            int length = end >= 0 ? end : pending.length() - AnswerParser.beginning(pending, close);
            AnswerParser.quote(pending.substring(0, length), json);
            pending.delete(0, length + (end >= 0 ? close.length() : 0));
            if (end >= 0) {
                json.append('"');
                stack.pop();
            }
            return end >= 0;
        }

        /** A value that is not certain to be a string: all of it decides. */
        private boolean scalar(StringBuilder pending, Open top, StringBuilder json) {
            String close = close(top.name);
            int end = AnswerParser.indexOf(pending, close);
            if (end < 0) {
                return false;
            }
            String text = pending.substring(0, end);
            pending.delete(0, end + close.length());
            json.append(
                    TaggedArguments.isJson(text, top.schema == null ? null : withDefinitions(top.schema))
                            ? text
                            : AnswerParser.quoted(text));
            stack.pop();
            return true;
        }

        private Map<String, ?> withDefinitions(Map<String, ?> schema) {
            return TaggedArguments.withDefinitions(schema, root);
        }
    }
}
