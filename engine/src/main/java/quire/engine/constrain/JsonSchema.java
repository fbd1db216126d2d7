package quire.engine.constrain;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Decimals.Bound;

/**
 * Turns a JSON schema into {@link Expressions} for the texts of its values. Each value has one form:
 *
 * <ul>
 *   <li>White space: at most one space after {@code ,} and {@code :}, none elsewhere.
 *   <li>Strings as {@link Characters} writes them.
 *   <li>Properties in one of the {@linkplain PropertyOrder orders}.
 *   <li>Integers without fraction and exponent; numbers with bounds without exponent, others with at most two digits of it.
 * </ul>
 *
 * <p><b>Idea.</b> A place in the answer is described by a set of schemas that must all hold. {@code allOf}, {@code $ref}
 * and keywords beside them only add to this set. {@code anyOf} makes several sets of it, one for each branch. Then the
 * keywords of a set are joined by type. There are finitely many sets, so each becomes one rule, and recursion is a
 * reference to a rule.
 *
 * <p>A keyword that is not computed is refused with its JSON pointer. Nothing is left out silently.
 */
final class JsonSchema {
    private static final int MAX_SCHEMAS = 20_000;
    private static final int MAX_RULES = 20_000;
    private static final int MAX_WORK = 2_000_000;
    private static final int MAX_BRANCHES = 1000;
    private static final int MAX_OPTIONS = 500_000;
    private static final int MAX_KEY_PATTERNS = 4;
    private static final int DISJOINT_WORK = 100;
    private static final int TRIAL_WORK = 10_000;
    private static final int MAX_DISJOINT_DEPTH = 8;
    private static final int MAX_PREFIX = 500;
    private static final int MAX_DIVISOR = 100_000_000;
    private static final int MAX_CONTAINS = 3;
    private static final int MAX_COUNTED = 20_000;
    private static final int MAX_UNIQUE = 64;
    private static final int MAX_DISTINCT = 1000;
    private static final int MAX_SUBSETS = 5;

    private static final Set<String> COMPUTED = Set.of(
            "type",
            "enum",
            "const",
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
            "items",
            "prefixItems",
            "additionalItems",
            "minItems",
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
            "minLength",
            "maxLength",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "anyOf",
            "oneOf",
            "allOf",
            "dependentRequired",
            "dependentSchemas",
            "dependencies",
            "unevaluatedProperties",
            "unevaluatedItems",
            "not",
            "if",
            "then",
            "else",
            "$ref");

    private static final Set<String> WITHOUT_EFFECT = Set.of(
            "$schema",
            "$id",
            "$comment",
            "$defs",
            "definitions",
            "$anchor",
            "title",
            "description",
            "default",
            "examples",
            "example",
            "deprecated",
            "readOnly",
            "writeOnly",
            "discriminator", // of OpenAPI: which part of oneOf, which the part's own keywords say as well
            "externalDocs",
            "markdownDescription", // of editors
            "enumDescriptions",
            "deprecationMessage",
            "contentEncoding",
            "contentMediaType",
            "contentSchema");

    /** Values that are not allowed; a keyword that no document has. */
    private static final String EXCLUDED = "~excluded";

    /** A regular expression that is not found; a keyword that no document has. */
    private static final String NO_PATTERN = "~pattern";

    private static final Pattern DRAFTS_4_TO_7 = Pattern.compile("https?://json-schema\\.org/draft-0[4-7]/schema#?");
    private static final Pattern DRAFT_2019 = Pattern.compile("https?://json-schema\\.org/draft/2019-09/schema#?");
    private static final Pattern DRAFT_2020 = Pattern.compile("https?://json-schema\\.org/draft/2020-12/schema#?");

    private static final List<String> TYPES =
            List.of("null", "boolean", "number", "integer", "string", "array", "object");

    private static final Set<String> SCALAR_TYPES = Set.of("null", "boolean", "number", "integer", "string");

    /** A schema at a place of the document: a boolean or an object. The place identifies it. */
    private record Schema(String pointer, @Nullable Object value) implements Comparable<Schema> {
        Map<?, ?> map() {
            return value instanceof Map<?, ?> map ? map : Map.of();
        }

        @Nullable
        Object get(String keyword) {
            return map().get(keyword);
        }

        @Override
        public int compareTo(Schema other) {
            return pointer.compareTo(other.pointer);
        }

        @Override
        public boolean equals(@Nullable Object other) {
            return other instanceof Schema schema && pointer.equals(schema.pointer);
        }

        @Override
        public int hashCode() {
            return pointer.hashCode();
        }
    }

    /**
     * One way to satisfy a set of schemas: those whose own keywords all count.
     *
     * @param parts of each schema those that are for the same value, such as the ones of {@code allOf}; empty unless keywords
     *     depend on what others have evaluated
     */
    private record Branch(List<Schema> atoms, Map<Schema, Set<Schema>> parts) {
        Branch(List<Schema> atoms) {
            this(atoms, Map.of());
        }

        /** A schema and all its parts that hold; what is excluded evaluates nothing. */
        Set<Schema> within(Schema schema) {
            Set<Schema> found = new LinkedHashSet<>();
            Deque<Schema> queue = new ArrayDeque<>(List.of(schema));
            while (!queue.isEmpty()) {
                Schema next = queue.removeFirst();
                if (!next.pointer.contains("~not") && found.add(next)) {
                    queue.addAll(parts.getOrDefault(next, Set.of()));
                }
            }
            return found;
        }
    }

    /**
     * What still has to be added to a branch.
     *
     * @param options one of these schemas
     * @param from what led to it, without a step into the value
     */
    private record Pending(List<Schema> options, @Nullable Pending from) {
        boolean leadsTo(Schema other) {
            for (Pending p = from; p != null; p = p.from) {
                if (p.options.size() == 1 && p.options.getFirst().equals(other)) {
                    return true;
                }
            }
            return false;
        }
    }

    private final Object root;
    private final PropertyOrder order;
    private final boolean oldReferences; // drafts 4 to 7: nothing beside $ref counts
    private final boolean oldItems; // draft 2019-09 and older: items may be a list
    private final boolean evaluates; // whether keywords depend on what others have evaluated
    private final Expressions expressions;
    private final Shared shared;
    private final Characters characters;
    private final Decimals decimals;
    private final int comma;
    private final int colon;
    private long work;
    private final Map<String, Schema> schemas = new HashMap<>();
    private final Map<String, Map<String, @Nullable Object>> objects = new HashMap<>(); // by pointer and keyword
    private @Nullable Map<String, String> anchors; // name to pointer
    private final Map<List<String>, Integer> ruleOf = new HashMap<>();
    private final Deque<Map.Entry<Integer, List<Schema>>> open = new ArrayDeque<>();

    private JsonSchema(Object root, PropertyOrder order, Expressions expressions) {
        this.root = root;
        this.order = order;
        this.expressions = expressions;
        String dialect = root instanceof Map<?, ?> map && map.get("$schema") instanceof String s ? s : "";
        oldReferences = DRAFTS_4_TO_7.matcher(dialect).matches();
        oldItems = oldReferences || DRAFT_2019.matcher(dialect).matches();
        if (!dialect.isEmpty() && !oldItems && !DRAFT_2020.matcher(dialect).matches()) {
            throw new InvalidConstraintException(
                    "/$schema",
                    "'/$schema' names the draft '" + dialect
                            + "', which is not supported; 2020-12, 2019-09 and draft-04 to draft-07 are");
        }
        evaluates = isNamed(root);
        shared = expressions.shared(Shared.class, () -> new Shared(expressions));
        characters = shared.characters;
        decimals = shared.decimals;
        comma = shared.comma;
        colon = shared.colon;
    }

    /** What the schemas of a constraint share: a request has a schema for each tool. */
    private static final class Shared {
        final Characters characters;
        final Decimals decimals;
        final int comma;
        final int colon;
        final Map<Map<String, Object>, Integer> scalars = new HashMap<>(); // rules by keywords

        Shared(Expressions expressions) {
            characters = new Characters(expressions, true);
            decimals = new Decimals(expressions);
            expressions.setUniversal(expressions.rep(characters.any(), 0, Expressions.UNLIMITED));
            int space = expressions.optional(expressions.literal(new byte[] {' '}));
            comma = expressions.seq(expressions.literal(new byte[] {','}), space);
            colon = expressions.seq(expressions.literal(new byte[] {':'}), space);
        }
    }

    /**
     * The texts of all values of a schema.
     *
     * @throws InvalidConstraintException with the JSON pointer of what is malformed or not computed
     */
    static int compile(Object root, PropertyOrder order, Expressions expressions) {
        JsonSchema compiler = new JsonSchema(root, order, expressions);
        int start = compiler.value(List.of(compiler.schema("", root)));
        while (!compiler.open.isEmpty()) {
            Map.Entry<Integer, List<Schema>> next = compiler.open.removeLast();
            expressions.define(next.getKey(), compiler.alternatives(next.getValue()));
        }
        return start;
    }

    /** Whether a schema has a keyword that depends on what others have evaluated, or anything of that name. */
    private static boolean isNamed(@Nullable Object value) {
        if (value instanceof Map<?, ?> map) {
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                Object name = entry.getKey();
                if ("unevaluatedProperties".equals(name)
                        || "unevaluatedItems".equals(name)
                        || isNamed(entry.getValue())) {
                    return true;
                }
            }
        } else if (value instanceof List<?> list) {
            for (Object each : list) {
                if (isNamed(each)) {
                    return true;
                }
            }
        }
        return false;
    }

    // Places and branches.

    private Schema schema(String pointer, @Nullable Object value) {
        Schema known = schemas.get(pointer);
        if (known != null) {
            return known;
        }
        if (value instanceof Map<?, ?> map) {
            for (Object key : map.keySet()) {
                String keyword = String.valueOf(key);
                if (!COMPUTED.contains(keyword) && !WITHOUT_EFFECT.contains(keyword) && !keyword.startsWith("x-")) {
                    throw refuse(pointer, keyword, "is not supported");
                }
            }
            if (!pointer.isEmpty() && map.get("$id") != null && map.get("$ref") == null) {
                throw refuse(pointer, "$id", "is supported at the root of the schema only");
            }
        } else if (!(value instanceof Boolean)) {
            throw new InvalidConstraintException(
                    pointer, "a schema must be an object or a boolean, but " + place(pointer) + " is " + kind(value));
        }
        if (schemas.size() == MAX_SCHEMAS) {
            throw new InvalidConstraintException("", "the schema has more than " + MAX_SCHEMAS + " parts");
        }
        Schema schema = new Schema(pointer, value);
        schemas.put(pointer, schema);
        return schema;
    }

    /** A reference to the rule of a set of schemas. */
    private int value(List<Schema> all) {
        if (all.size() == 1) {
            Map<String, Object> keywords = scalarKeywords(all.getFirst());
            if (keywords != null) {
                return expressions.reference(
                        shared.scalars.computeIfAbsent(keywords, k -> newRule(List.of(all.getFirst()))));
            }
        }
        List<Schema> set = all.stream().distinct().sorted().toList();
        List<String> key = set.stream().map(Schema::pointer).toList();
        Integer rule = ruleOf.get(key);
        if (rule == null) {
            rule = newRule(set);
            ruleOf.put(key, rule);
        }
        return expressions.reference(rule);
    }

    private int newRule(List<Schema> set) {
        if (ruleOf.size() + shared.scalars.size() >= MAX_RULES) {
            throw new InvalidConstraintException(
                    "", "the schema combines its parts in more than " + MAX_RULES + " ways");
        }
        int rule = expressions.newRule();
        open.add(Map.entry(rule, set));
        return rule;
    }

    /**
     * The keywords of a schema for texts, numbers, booleans and null alone, which mean the same at every place of all schemas;
     * null for other schemas. Agents send hundreds of them, most of which differ in their descriptions only.
     */
    private static @Nullable Map<String, Object> scalarKeywords(Schema schema) {
        Map<String, Object> keywords = new HashMap<>();
        boolean isScalar = false;
        for (Map.Entry<?, ?> entry : schema.map().entrySet()) {
            String keyword = String.valueOf(entry.getKey());
            Object value = entry.getValue();
            if (value == null) {
                return null;
            }
            switch (keyword) {
                case "type" ->
                    isScalar |= value instanceof List<?> list
                            ? list.stream().allMatch(JsonSchema::isScalarType)
                            : isScalarType(value);
                case "const" -> {
                    if (isStructure(value)) {
                        return null;
                    }
                    isScalar = true;
                }
                case "enum" -> {
                    if (!(value instanceof List<?> list) || list.stream().anyMatch(JsonSchema::isStructure)) {
                        return null;
                    }
                    isScalar = true;
                }
                case "minLength", "maxLength", "pattern", "format" -> {}
                case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf" -> {}
                default -> {
                    if (!WITHOUT_EFFECT.contains(keyword) || keyword.startsWith("$")) {
                        return null;
                    }
                    continue;
                }
            }
            keywords.put(keyword, value);
        }
        return isScalar ? keywords : null;
    }

    private static boolean isScalarType(@Nullable Object type) {
        return type instanceof String name && SCALAR_TYPES.contains(name);
    }

    private static boolean isStructure(@Nullable Object value) {
        return value == null || value instanceof List<?> || value instanceof Map<?, ?>;
    }

    private int alternatives(List<Schema> set) {
        int[] branches = branches(set).stream().mapToInt(this::build).toArray();
        return expressions.alt(branches);
    }

    /** All ways to satisfy a set of schemas. */
    private List<Branch> branches(List<Schema> set) {
        List<Branch> done = new ArrayList<>();
        expand(set.stream().map(schema -> new Pending(List.of(schema), null)).toList(), Set.of(), Map.of(), done);
        return done;
    }

    private void expand(
            List<Pending> pending, Set<Schema> before, Map<Schema, Set<Schema>> partsBefore, List<Branch> done) {
        Set<Schema> atoms = new LinkedHashSet<>(before);
        Map<Schema, Set<Schema>> parts = new HashMap<>();
        partsBefore.forEach((schema, those) -> parts.put(schema, new LinkedHashSet<>(those)));
        Deque<Pending> queue = new ArrayDeque<>(pending);
        while (!queue.isEmpty()) {
            countWork(1);
            Pending next = queue.removeFirst();
            if (next.options.size() > 1) {
                for (Schema option : next.options) {
                    List<Pending> rest = new ArrayList<>(queue);
                    rest.addFirst(new Pending(List.of(option), next.from));
                    expand(rest, atoms, parts, done);
                }
                return;
            }
            if (next.options.isEmpty()) {
                return;
            }
            Schema schema = next.options.getFirst();
            if (Boolean.FALSE.equals(schema.value)) {
                return;
            }
            if (next.leadsTo(schema)) {
                throw new InvalidConstraintException(
                        schema.pointer, place(schema.pointer) + " refers to itself without a step into the value");
            }
            if (evaluates && next.from != null) {
                parts.computeIfAbsent(next.from.options.getFirst(), s -> new LinkedHashSet<>())
                        .add(schema);
            }
            if (atoms.contains(schema)) {
                continue;
            }
            Object reference = schema.get("$ref");
            if (reference != null) {
                queue.addFirst(new Pending(List.of(resolve(schema, reference)), next));
                if (oldReferences) {
                    continue;
                }
            }
            atoms.add(schema);
            for (Schema part : list(schema, "allOf")) {
                queue.addLast(new Pending(List.of(part), next));
            }
            List<Schema> any = list(schema, "anyOf");
            if (!any.isEmpty()) {
                queue.addLast(new Pending(evaluates ? subsets(schema, any) : any, next));
            }
            List<Schema> one = list(schema, "oneOf");
            if (!one.isEmpty()) {
                queue.addLast(new Pending(exclusive(schema, one), next));
            }
            for (List<Schema> ways : dependencies(schema)) {
                queue.addLast(new Pending(ways, next));
            }
            List<Schema> conditions = conditions(schema);
            if (!conditions.isEmpty()) {
                queue.addLast(new Pending(conditions, next));
            }
            if (schema.map().containsKey("not")) {
                queue.addLast(new Pending(negations(child(schema, "not")), next));
            }
        }
        if (done.size() == MAX_BRANCHES) {
            throw new InvalidConstraintException(
                    "", "anyOf and oneOf give more than " + MAX_BRANCHES + " combinations at one place");
        }
        done.add(new Branch(List.copyOf(atoms), parts));
    }

    /**
     * The two ways to satisfy each dependency: the name is absent, or it is there with all that depends on it.
     */
    private List<List<Schema>> dependencies(Schema schema) {
        List<List<Schema>> all = new ArrayList<>();
        for (String keyword : List.of("dependentRequired", "dependentSchemas", "dependencies")) {
            if (keyword.equals("dependencies") && !oldReferences && schema.map().containsKey(keyword)) {
                throw refuse(
                        schema.pointer,
                        keyword,
                        "is not supported in this draft: use dependentRequired or dependentSchemas");
            }
            objectOf(schema, keyword).forEach((name, value) -> {
                String place = schema.pointer + '/' + keyword + '/' + escape(name);
                Schema absent = made(place + "~absent", Map.of("properties", Map.of(name, false)));
                boolean isList = value instanceof List<?> && !keyword.equals("dependentSchemas");
                if (!isList && keyword.equals("dependentRequired")) {
                    throw malformed(schema, keyword, "an object of lists of names");
                }
                List<Object> required = new ArrayList<>(List.of(name));
                if (isList) {
                    ((List<?>) value).forEach(other -> required.add(other == null ? List.of() : other));
                }
                Schema present = made(place + "~present", Map.of("required", required));
                all.add(List.of(absent, isList ? present : both(place + "~both", present, schema(place, value))));
            });
        }
        return all;
    }

    /**
     * A way for each choice of parts that hold together: each of them evaluates properties and elements. The others may hold
     * as well; then another choice allows more.
     */
    private List<Schema> subsets(Schema schema, List<Schema> any) {
        if (any.size() > MAX_SUBSETS) {
            throw refuse(
                    schema.pointer,
                    "anyOf",
                    "with more than " + MAX_SUBSETS
                            + " parts is not supported in a schema with unevaluatedProperties or unevaluatedItems");
        }
        List<Schema> ways = new ArrayList<>();
        for (int subset = 1; subset < 1 << any.size(); subset++) {
            String place = schema.pointer + "/anyOf~" + subset;
            int count = 0;
            for (int i = 0; i < any.size(); i++) {
                if ((subset >> i & 1) != 0) {
                    schemas.put(place + "/allOf/" + count++, any.get(i));
                }
            }
            ways.add(made(place, Map.of("allOf", Collections.nCopies(count, true))));
        }
        return ways;
    }

    /** The two ways to satisfy {@code if}, {@code then} and {@code else}; empty if they ask for nothing. */
    private List<Schema> conditions(Schema schema) {
        if (!schema.map().containsKey("if")
                || !(evaluates
                        || schema.map().containsKey("then")
                        || schema.map().containsKey("else"))) {
            return List.of();
        }
        Schema condition = child(schema, "if");
        Schema then = schema.map().containsKey("then") ? child(schema, "then") : made("~true", true);
        Schema otherwise = schema.map().containsKey("else") ? child(schema, "else") : made("~true", true);
        return List.of(
                both(schema.pointer + "/if~then", condition, then),
                both(schema.pointer + "/if~else", not(condition), otherwise));
    }

    // Schemas that stand nowhere in the document. Their pointers have a '~' that no pointer of the document has.

    private Schema made(String pointer, Object value) {
        return schemas.computeIfAbsent(pointer, p -> new Schema(p, value));
    }

    private Schema both(String pointer, Schema a, Schema b) {
        schemas.put(pointer + "/allOf/0", a);
        schemas.put(pointer + "/allOf/1", b);
        return made(pointer, Map.of("allOf", List.of(true, true)));
    }

    private Schema not(Schema schema) {
        String pointer = schema.pointer + "~not";
        schemas.put(pointer + "/not", schema);
        return made(pointer, Map.of("not", true));
    }

    /**
     * Schemas of which a value satisfies at least one exactly if it does not satisfy a schema: a way for each keyword, because
     * the keywords of a schema must all hold.
     */
    private List<Schema> negations(Schema schema) {
        if (schema.value instanceof Boolean always) {
            return always ? List.of() : List.of(made("~true", true));
        }
        List<Schema> ways = new ArrayList<>();
        for (Object key : schema.map().keySet()) {
            String keyword = String.valueOf(key);
            String place = schema.pointer + "~not/" + escape(keyword);
            switch (keyword) {
                case "type" -> {
                    Set<String> types = new LinkedHashSet<>(TYPES);
                    Set<String> named = types(new Branch(List.of(schema)));
                    if (named.contains("integer") && !named.contains("number")) {
                        throw refuse(schema.pointer, keyword, "integer is not supported inside of not and if");
                    }
                    types.removeAll(named);
                    if (!types.isEmpty()) {
                        ways.add(made(place, Map.of("type", List.copyOf(types))));
                    }
                }
                case "enum", "const" -> ways.addAll(others(place, excludable(schema, keyword)));
                case "pattern" -> ways.add(made(place, Map.of("type", "string", NO_PATTERN, require(schema, keyword))));
                case "minimum" -> ways.add(made(place, bounded("number", "exclusiveMaximum", schema, keyword)));
                case "maximum" -> ways.add(made(place, bounded("number", "exclusiveMinimum", schema, keyword)));
                case "exclusiveMinimum" -> ways.add(made(place, bounded("number", "maximum", schema, keyword)));
                case "exclusiveMaximum" -> ways.add(made(place, bounded("number", "minimum", schema, keyword)));
                case "minLength" -> addFewer(ways, place, "string", "maxLength", count(schema, keyword, 0));
                case "minItems" -> addFewer(ways, place, "array", "maxItems", count(schema, keyword, 0));
                case "minProperties" -> addFewer(ways, place, "object", "maxProperties", count(schema, keyword, 0));
                case "maxLength" -> ways.add(made(place, more("string", "minLength", count(schema, keyword, 0))));
                case "maxItems" -> ways.add(made(place, more("array", "minItems", count(schema, keyword, 0))));
                case "maxProperties" ->
                    ways.add(made(place, more("object", "minProperties", count(schema, keyword, 0))));
                case "required" -> {
                    for (Object name : names(new Branch(List.of(schema))).required) {
                        ways.add(made(
                                place + '/' + escape(String.valueOf(name)),
                                Map.of("type", "object", "properties", Map.of(name, false))));
                    }
                }
                case "properties" ->
                    objectOf(schema, keyword).forEach((name, value) -> {
                        Schema child = schema(schema.pointer + "/properties/" + escape(name), value);
                        String way = place + '/' + escape(name);
                        schemas.put(way + "/properties/" + escape(name), not(child));
                        ways.add(made(
                                way,
                                Map.of("type", "object", "required", List.of(name), "properties", Map.of(name, true))));
                    });
                case "contains" -> {
                    if (schema.map().containsKey("minContains") || schema.map().containsKey("maxContains")) {
                        throw refuse(
                                schema.pointer,
                                keyword,
                                "beside minContains and maxContains is not supported inside of not and if");
                    }
                    schemas.put(place + "/items", not(child(schema, keyword)));
                    ways.add(made(place, Map.of("type", "array", "items", true)));
                }
                case "minContains", "maxContains" -> {
                    // without contains they have no effect
                }
                case "not" -> {
                    schemas.put(place + "/allOf/0", child(schema, "not"));
                    ways.add(made(place, Map.of("allOf", List.of(true))));
                }
                case "allOf" -> list(schema, keyword).forEach(part -> ways.add(not(part)));
                case "anyOf" -> {
                    List<Schema> parts = list(schema, keyword);
                    for (int i = 0; i < parts.size(); i++) {
                        schemas.put(place + "/allOf/" + i, not(parts.get(i)));
                    }
                    ways.add(made(place, Map.of("allOf", Collections.nCopies(parts.size(), true))));
                }
                default -> {
                    if (!WITHOUT_EFFECT.contains(keyword) && !keyword.startsWith("x-")) {
                        throw refuse(schema.pointer, keyword, "is not supported inside of not and if");
                    }
                }
            }
        }
        return ways;
    }

    /** The ways to be none of some values: numbers have many spellings, so those beside and between them are taken. */
    private List<Schema> others(String place, List<@Nullable Object> values) {
        List<BigDecimal> numbers = values.stream()
                .filter(Number.class::isInstance)
                .map(value -> decimal((Number) value))
                .sorted()
                .toList();
        if (numbers.isEmpty()) {
            return List.of(made(place, Map.of(EXCLUDED, values)));
        }
        List<Schema> ways = new ArrayList<>();
        List<String> types = TYPES.stream()
                .filter(type -> !type.equals("number") && !type.equals("integer"))
                .toList();
        List<@Nullable Object> rest =
                values.stream().filter(value -> !(value instanceof Number)).toList();
        ways.add(made(place, Map.of("type", types, EXCLUDED, rest)));
        for (int i = 0; i <= numbers.size(); i++) {
            Map<String, Object> between = new LinkedHashMap<>(Map.of("type", "number"));
            if (i > 0) {
                between.put("exclusiveMinimum", numbers.get(i - 1));
            }
            if (i < numbers.size()) {
                between.put("exclusiveMaximum", numbers.get(i));
            }
            ways.add(made(place + '/' + i, between));
        }
        return ways;
    }

    /** The values of enum or const: those whose every spelling can be excluded. */
    private List<@Nullable Object> excludable(Schema schema, String keyword) {
        List<@Nullable Object> values = new ArrayList<>();
        if (keyword.equals("const")) {
            values.add(schema.get(keyword));
        } else if (schema.get(keyword) instanceof List<?> list) {
            values.addAll(list);
        } else {
            throw malformed(schema, keyword, "a list of values");
        }
        if (values.stream().anyMatch(v -> v instanceof List<?> || v instanceof Map<?, ?>)) {
            throw refuse(schema.pointer, keyword, "inside of not and if is not supported for lists and objects");
        }
        return values;
    }

    private static Object require(Schema schema, String keyword) {
        Object value = schema.get(keyword);
        if (value == null) {
            throw malformed(schema, keyword, "another value than null");
        }
        return value;
    }

    private static Map<String, Object> bounded(String type, String bound, Schema schema, String keyword) {
        return Map.of("type", type, bound, require(schema, keyword));
    }

    private static Map<String, Object> more(String type, String bound, int count) {
        return Map.of("type", type, bound, count + 1L);
    }

    private void addFewer(List<Schema> ways, String place, String type, String bound, int count) {
        if (count > 0) {
            ways.add(made(place, Map.of("type", type, bound, count - 1)));
        }
    }

    /** Ends the compilation of a schema whose parts have too many combinations. */
    private void countWork(long units) {
        work += units;
        if (work > MAX_WORK) {
            throw new InvalidConstraintException("", "the schema has too many combinations of its parts");
        }
    }

    private List<Schema> list(Schema schema, String keyword) {
        Object value = schema.get(keyword);
        if (value == null && !schema.map().containsKey(keyword)) {
            return List.of();
        }
        if (!(value instanceof List<?> list) || list.isEmpty()) {
            throw malformed(schema, keyword, "a list of schemas, not empty");
        }
        List<Schema> parts = new ArrayList<>();
        for (int i = 0; i < list.size(); i++) {
            parts.add(schema(schema.pointer + '/' + keyword + '/' + i, list.get(i)));
        }
        return parts;
    }

    // References.

    private Schema resolve(Schema schema, Object reference) {
        if (!(reference instanceof String text)) {
            throw malformed(schema, "$ref", "a text");
        }
        String fragment = text;
        if (root instanceof Map<?, ?> map && map.get("$id") instanceof String id && text.startsWith(id + "#")) {
            fragment = text.substring(id.length());
        }
        if (!fragment.startsWith("#")) {
            throw refuse(schema.pointer, "$ref", "refers to another document, '" + text + "', which is not supported");
        }
        String pointer = decode(fragment.substring(1));
        boolean isPointer = pointer.isEmpty() || pointer.startsWith("/");
        Object value = isPointer ? at(pointer) : null;
        Schema found = isPointer ? (value == null ? null : schema(pointer, value)) : anchor(pointer);
        if (found == null) {
            throw refuse(schema.pointer, "$ref", "refers to '" + text + "', which does not exist");
        }
        return found;
    }

    private static String decode(String fragment) {
        byte[] bytes = fragment.getBytes(StandardCharsets.UTF_8);
        byte[] decoded = new byte[bytes.length];
        int size = 0;
        for (int i = 0; i < bytes.length; i++) {
            int high = bytes[i] == '%' && i + 2 < bytes.length ? Character.digit(bytes[i + 1], 16) : -1;
            int low = high >= 0 ? Character.digit(bytes[i + 2], 16) : -1;
            if (low >= 0) {
                decoded[size++] = (byte) (16 * high + low);
                i += 2;
            } else {
                decoded[size++] = bytes[i];
            }
        }
        return new String(decoded, 0, size, StandardCharsets.UTF_8);
    }

    /** The schema with an {@code $anchor}; null if there is none. */
    private @Nullable Schema anchor(String name) {
        Map<String, String> known = anchors;
        if (known == null) {
            known = new HashMap<>();
            findAnchors("", root, known);
            anchors = known;
        }
        String pointer = known.get(name);
        return pointer == null ? null : schema(pointer, at(pointer));
    }

    private static void findAnchors(String pointer, @Nullable Object value, Map<String, String> found) {
        if (value instanceof Map<?, ?> map) {
            if (map.get("$anchor") instanceof String name) {
                found.putIfAbsent(name, pointer);
            }
            map.forEach((key, child) -> findAnchors(pointer + '/' + escape(String.valueOf(key)), child, found));
        } else if (value instanceof List<?> list) {
            for (int i = 0; i < list.size(); i++) {
                findAnchors(pointer + '/' + i, list.get(i), found);
            }
        }
    }

    /** The part of the schema at a pointer; null if there is none. */
    private @Nullable Object at(String pointer) {
        Object value = root;
        if (!pointer.isEmpty()) {
            for (String token : pointer.substring(1).split("/", -1)) {
                String name = token.replace("~1", "/").replace("~0", "~");
                Object child = null;
                if (value instanceof Map<?, ?> map) {
                    child = map.get(name);
                } else if (value instanceof List<?> list && name.matches("0|[1-9][0-9]{0,8}")) {
                    int index = Integer.parseInt(name);
                    child = index < list.size() ? list.get(index) : null;
                }
                if (child == null) {
                    return null;
                }
                value = child;
            }
        }
        return value;
    }

    // One branch, by type.

    private int build(Branch branch) {
        List<@Nullable Object> literals = literals(branch);
        if (literals != null) {
            return expressions.alt(
                    literals.stream().mapToInt(value -> literal(value, branch)).toArray());
        }
        Set<String> types = types(branch);
        List<@Nullable Object> excluded = excluded(branch);
        List<Integer> parts = new ArrayList<>();
        if (types.contains("null") && excluded.stream().noneMatch(value -> value == null)) {
            parts.add(ascii("null"));
        }
        for (boolean value : new boolean[] {true, false}) {
            if (types.contains("boolean") && !excluded.contains(value)) {
                parts.add(ascii(String.valueOf(value)));
            }
        }
        if (types.contains("string")) {
            parts.add(quoted(stringBody(branch)));
        }
        if (types.contains("number") || types.contains("integer")) {
            parts.add(number(branch, !types.contains("number")));
        }
        if (types.contains("array")) {
            parts.add(array(branch));
        }
        if (types.contains("object")) {
            parts.add(object(branch));
        }
        return expressions.alt(parts.stream().mapToInt(Integer::intValue).toArray());
    }

    /** The values that a negated enum or const excludes. */
    private static List<@Nullable Object> excluded(Branch branch) {
        List<@Nullable Object> values = new ArrayList<>();
        for (Schema atom : branch.atoms) {
            if (atom.get(EXCLUDED) instanceof List<?> list) {
                values.addAll(list);
            }
        }
        return values;
    }

    private int quoted(int body) {
        return expressions.seq(ascii("\""), expressions.seq(body, ascii("\"")));
    }

    /** The types that all schemas allow. "number" includes "integer". */
    private Set<String> types(Branch branch) {
        Set<String> types = new HashSet<>(TYPES);
        for (Schema atom : branch.atoms) {
            Object type = atom.get("type");
            if (type == null) {
                continue;
            }
            Set<String> allowed = new HashSet<>();
            for (Object name : type instanceof List<?> list ? list : List.of(type)) {
                if (!(name instanceof String text) || !TYPES.contains(text)) {
                    throw malformed(atom, "type", "one or several of " + TYPES);
                }
                allowed.add(text);
            }
            if (allowed.contains("number")) {
                allowed.add("integer");
            }
            types.retainAll(allowed);
        }
        return types;
    }

    // Literals.

    /** The values that {@code enum} and {@code const} allow; null if there are no such keywords. */
    private @Nullable List<@Nullable Object> literals(Branch branch) {
        List<@Nullable Object> values = null;
        for (Schema atom : branch.atoms) {
            for (String keyword : List.of("enum", "const")) {
                if (!atom.map().containsKey(keyword)) {
                    continue;
                }
                List<@Nullable Object> allowed = new ArrayList<>();
                if (keyword.equals("const")) {
                    allowed.add(atom.get("const"));
                } else if (atom.get("enum") instanceof List<?> list) {
                    allowed.addAll(list);
                } else {
                    throw malformed(atom, "enum", "a list of values");
                }
                countWork(values == null ? 0 : (long) values.size() * allowed.size());
                List<@Nullable Object> both = new ArrayList<>();
                for (Object value : values == null ? allowed : values) {
                    if (values == null || allowed.stream().anyMatch(other -> isSame(value, other))) {
                        both.add(value);
                    }
                }
                values = both;
            }
        }
        if (values != null) {
            values.removeIf(value -> !admits(branch, value));
        }
        return values;
    }

    private static boolean isSame(@Nullable Object a, @Nullable Object b) {
        if (a instanceof Number x && b instanceof Number y) {
            return decimal(x).compareTo(decimal(y)) == 0;
        }
        if (a instanceof List<?> x && b instanceof List<?> y) {
            boolean same = x.size() == y.size();
            for (int i = 0; i < x.size() && same; i++) {
                same = isSame(x.get(i), y.get(i));
            }
            return same;
        }
        if (a instanceof Map<?, ?> x && b instanceof Map<?, ?> y) {
            return x.size() == y.size()
                    && x.entrySet().stream()
                            .allMatch(e -> y.containsKey(e.getKey()) && isSame(e.getValue(), y.get(e.getKey())));
        }
        return a == null ? b == null : a.equals(b);
    }

    /** Whether a value satisfies all keywords of a branch except {@code enum} and {@code const}. */
    private boolean admits(Branch branch, @Nullable Object value) {
        Set<String> types = types(branch);
        if (excluded(branch).stream().anyMatch(other -> isSame(other, value))) {
            return false;
        }
        return switch (value) {
            case null -> types.contains("null");
            case Boolean b -> types.contains("boolean");
            case String text -> types.contains("string") && admitsText(branch, text);
            case Number number -> {
                BigDecimal decimal = decimal(number);
                boolean whole =
                        decimal.signum() == 0 || decimal.stripTrailingZeros().scale() <= 0;
                yield types.contains(whole ? "integer" : "number") && admitsNumber(branch, decimal);
            }
            case List<?> list -> types.contains("array") && requireFree(branch, "arrays", ARRAY_KEYWORDS);
            case Map<?, ?> map -> types.contains("object") && requireFree(branch, "objects", OBJECT_KEYWORDS);
            default -> throw new InvalidConstraintException("", "a schema holds a " + kind(value));
        };
    }

    private static final List<String> ARRAY_KEYWORDS = List.of(
            "items",
            "prefixItems",
            "additionalItems",
            "minItems",
            "maxItems",
            "contains",
            "uniqueItems",
            "unevaluatedItems");

    private static final List<String> OBJECT_KEYWORDS = List.of(
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
            "unevaluatedProperties");

    private boolean requireFree(Branch branch, String what, List<String> keywords) {
        for (Schema atom : branch.atoms) {
            for (String keyword : keywords) {
                if (atom.map().containsKey(keyword)) {
                    throw refuse(atom.pointer, keyword, "beside an enum or const with " + what + " is not supported");
                }
            }
        }
        return true;
    }

    private boolean admitsText(Branch branch, String text) {
        Text limits = text(branch);
        int length = text.codePointCount(0, text.length());
        if (length < limits.least || length > limits.most) {
            return false;
        }
        return limits.patterns.stream().allMatch(pattern -> pattern.matches(text))
                && limits.without.stream().noneMatch(pattern -> pattern.matches(text));
    }

    private boolean admitsNumber(Branch branch, BigDecimal value) {
        Range range = range(branch);
        return (range.low == null || value.compareTo(range.low.value()) >= (range.low.strict() ? 1 : 0))
                && (range.high == null || value.compareTo(range.high.value()) <= (range.high.strict() ? -1 : 0))
                && range.divisors.stream().allMatch(d -> value.remainder(d).signum() == 0);
    }

    /** The texts of a value. */
    private int literal(@Nullable Object value, Branch branch) {
        return switch (value) {
            case null -> ascii("null");
            case Boolean b -> ascii(b.toString());
            case String text -> name(text, branch.atoms.getFirst().pointer);
            case Number number -> {
                BigDecimal decimal = decimal(number);
                if (Decimals.isTooLong(decimal)) {
                    throw new InvalidConstraintException(
                            branch.atoms.getFirst().pointer, "a number of an enum or const has too many digits");
                }
                yield ascii(
                        decimal.signum() == 0
                                ? "0"
                                : decimal.stripTrailingZeros().toPlainString());
            }
            case List<?> list -> {
                int result = ascii("]");
                for (int i = list.size() - 1; i >= 0; i--) {
                    result = expressions.cat(literal(list.get(i), branch), result);
                    result = i > 0 ? expressions.cat(comma, result) : result;
                }
                yield expressions.cat(ascii("["), result);
            }
            case Map<?, ?> map
            when order != PropertyOrder.SCHEMA -> {
                String pointer = branch.atoms.getFirst().pointer;
                List<Members.Pair> pairs = new ArrayList<>();
                map.forEach(
                        (key, member) -> pairs.add(pair(String.valueOf(key), pointer, literal(member, branch), true)));
                yield members(pairs, Expressions.NONE, 0, Expressions.UNLIMITED, pointer);
            }
            case Map<?, ?> map -> {
                int result = ascii("}");
                List<Map.Entry<?, ?>> entries = new ArrayList<>(map.entrySet());
                for (int i = entries.size() - 1; i >= 0; i--) {
                    String key = String.valueOf(entries.get(i).getKey());
                    int pair = expressions.cat(
                            expressions.seq(name(key, branch.atoms.getFirst().pointer), colon),
                            literal(entries.get(i).getValue(), branch));
                    result = expressions.cat(pair, result);
                    result = i > 0 ? expressions.cat(comma, result) : result;
                }
                yield expressions.cat(ascii("{"), result);
            }
            default -> throw new InvalidConstraintException("", "a schema holds a " + kind(value));
        };
    }

    /** A string with its quotes. */
    private int name(String text, String pointer) {
        checkSurrogates(text, pointer);
        byte[] inside = characters.bytes(text);
        return expressions.seq(ascii("\""), expressions.seq(expressions.literal(inside), ascii("\"")));
    }

    private static void checkSurrogates(String text, String pointer) {
        if (text.codePoints().anyMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE)) {
            throw new InvalidConstraintException(
                    pointer, place(pointer) + " holds half a surrogate pair, which no text can contain");
        }
    }

    // Strings.

    /** A pattern or format, and a matcher for single texts. */
    private static final class TextPattern {
        final String pointer;
        final String source;
        final boolean whole;
        private @Nullable Expressions matcher;
        private int start;

        TextPattern(String pointer, String source, boolean whole) {
            this.pointer = pointer;
            this.source = source;
            this.whole = whole;
        }

        int build(Expressions expressions, Characters characters) {
            try {
                return whole
                        ? RegularExpression.whole(source, expressions, characters)
                        : RegularExpression.search(source, expressions, characters);
            } catch (InvalidConstraintException e) {
                throw new InvalidConstraintException(pointer, place(pointer) + ": " + e.getMessage());
            }
        }

        boolean matches(String text) {
            Expressions own = matcher;
            if (own == null) {
                own = new Expressions(TRIAL_LIMIT);
                start = own.freeze(build(own, new Characters(own, false)));
                matcher = own;
            }
            return own.matches(start, text.getBytes(StandardCharsets.UTF_8));
        }
    }

    private static final int TRIAL_LIMIT = 100_000;

    /** @param without patterns that must not match */
    private record Text(int least, int most, List<TextPattern> patterns, List<TextPattern> without) {}

    private final Map<String, TextPattern> patterns = new HashMap<>();

    private Text text(Branch branch) {
        int least = 0;
        int most = Expressions.UNLIMITED;
        Map<String, TextPattern> all = new LinkedHashMap<>();
        List<TextPattern> without = new ArrayList<>();
        for (Schema atom : branch.atoms) {
            if (atom.get(NO_PATTERN) instanceof String source) {
                without.add(pattern(atom.pointer, source));
            }
            least = Math.max(least, count(atom, "minLength", 0));
            most = Math.min(most, count(atom, "maxLength", Expressions.UNLIMITED));
            if (atom.map().containsKey("pattern")) {
                if (!(atom.get("pattern") instanceof String source)) {
                    throw malformed(atom, "pattern", "a regular expression");
                }
                all.put(source, pattern(atom.pointer + "/pattern", source));
            }
            if (atom.map().containsKey("format")) {
                if (!(atom.get("format") instanceof String format)) {
                    throw malformed(atom, "format", "a text");
                }
                String source = Formats.REGULAR_EXPRESSIONS.get(format);
                if (source != null) {
                    all.put("format " + format, new TextPattern(atom.pointer + "/format", source, true));
                }
                if (format.equals("hostname")) {
                    most = Math.min(most, Formats.MAX_HOSTNAME);
                }
            }
        }
        return new Text(least, most, List.copyOf(all.values()), without);
    }

    private TextPattern pattern(String pointer, String source) {
        return patterns.computeIfAbsent(source, s -> new TextPattern(pointer, s, false));
    }

    /** The inside of a string. */
    private int stringBody(Branch branch) {
        Text text = text(branch);
        List<Integer> parts = new ArrayList<>();
        parts.add(expressions.rep(characters.any(), text.least, text.most));
        text.patterns.forEach(pattern -> parts.add(pattern.build(expressions, characters)));
        text.without.forEach(pattern -> parts.add(expressions.not(pattern.build(expressions, characters))));
        int[] excluded = excluded(branch).stream()
                .filter(String.class::isInstance)
                .mapToInt(value -> expressions.literal(characters.bytes((String) value)))
                .toArray();
        if (excluded.length > 0) {
            parts.add(expressions.not(expressions.alt(excluded)));
        }
        return expressions.and(parts.stream().mapToInt(Integer::intValue).toArray());
    }

    // Numbers.

    private record Range(@Nullable Bound low, @Nullable Bound high, List<BigDecimal> divisors) {}

    private Range range(Branch branch) {
        Bound low = null;
        Bound high = null;
        List<BigDecimal> divisors = new ArrayList<>();
        for (Schema atom : branch.atoms) {
            for (boolean strict : new boolean[] {false, true}) {
                BigDecimal least = bound(atom, strict ? "exclusiveMinimum" : "minimum");
                if (least != null && (low == null || least.compareTo(low.value()) >= (strict ? 0 : 1))) {
                    low = new Bound(least, strict);
                }
                BigDecimal most = bound(atom, strict ? "exclusiveMaximum" : "maximum");
                if (most != null && (high == null || most.compareTo(high.value()) <= (strict ? 0 : -1))) {
                    high = new Bound(most, strict);
                }
            }
            BigDecimal divisor = bound(atom, "multipleOf");
            if (divisor != null) {
                if (divisor.signum() <= 0) {
                    throw malformed(atom, "multipleOf", "a number above 0");
                }
                BigDecimal plain = divisor.stripTrailingZeros();
                if (plain.unscaledValue()
                                .multiply(BigInteger.TEN.pow(Math.max(0, -plain.scale())))
                                .compareTo(BigInteger.valueOf(MAX_DIVISOR))
                        > 0) {
                    throw refuse(atom.pointer, "multipleOf", "has too many digits");
                }
                divisors.add(plain);
            }
        }
        return new Range(low, high, divisors);
    }

    private @Nullable BigDecimal bound(Schema atom, String keyword) {
        Object value = atom.get(keyword);
        if (value == null && !atom.map().containsKey(keyword)) {
            return null;
        }
        if (!(value instanceof Number number)) {
            throw malformed(atom, keyword, "a number");
        }
        BigDecimal decimal = decimal(number);
        if (Decimals.isTooLong(decimal)) {
            throw refuse(atom.pointer, keyword, "has too many digits");
        }
        return decimal;
    }

    private static BigDecimal decimal(Number number) {
        return number instanceof BigDecimal decimal ? decimal : new BigDecimal(number.toString());
    }

    private int number(Branch branch, boolean integer) {
        Range range = range(branch);
        if (range.low == null && range.high == null && range.divisors.isEmpty()) {
            return integer ? decimals.integer() : decimals.number();
        }
        List<Integer> parts = new ArrayList<>();
        parts.add(decimals.between(range.low, range.high));
        if (integer) {
            parts.add(decimals.integer());
        }
        for (BigDecimal divisor : range.divisors) {
            int places = Math.max(0, divisor.scale());
            parts.add(expressions.multiple(divisor.movePointRight(places).intValueExact(), places));
        }
        return expressions.and(parts.stream().mapToInt(Integer::intValue).toArray());
    }

    // Arrays.

    /**
     * How many elements of an array must satisfy a schema.
     *
     * @param without what the others satisfy; null if it does not matter, because there may be any number
     */
    private record Contained(Schema with, @Nullable Schema without, int least, int most) {
        /** The highest number that is counted. */
        int cap() {
            return without == null ? least : most;
        }
    }

    /**
     * The schemas of one array: those of its first elements, those of all others, and how many there are.
     *
     * @param unique the schema that wants them to differ; null for none
     */
    private record Elements(
            List<List<Schema>> first,
            List<Schema> rest,
            int least,
            int most,
            List<Contained> contained,
            @Nullable Schema unique) {
        List<Schema> at(int index) {
            return index < first.size() ? first.get(index) : rest;
        }
    }

    private Elements elements(Branch branch) {
        int least = 0;
        int most = Expressions.UNLIMITED;
        List<List<Schema>> prefixes = new ArrayList<>();
        List<@Nullable Schema> rests = new ArrayList<>();
        for (Schema atom : branch.atoms) {
            least = Math.max(least, count(atom, "minItems", 0));
            most = Math.min(most, count(atom, "maxItems", Expressions.UNLIMITED));
            boolean asList = oldItems && atom.get("items") instanceof List<?>;
            String restKeyword = asList ? "additionalItems" : "items";
            prefixes.add(list(atom, asList ? "items" : "prefixItems"));
            rests.add(atom.map().containsKey(restKeyword) ? child(atom, restKeyword) : null);
            if (atom.map().containsKey("additionalItems") && !oldItems) {
                throw refuse(
                        atom.pointer, "additionalItems", "is not supported in this draft: use prefixItems and items");
            }
        }
        for (Schema atom : branch.atoms) {
            int evaluated = evaluatedItems(branch, atom);
            if (evaluated < Expressions.UNLIMITED) {
                prefixes.add(Collections.nCopies(evaluated, made("~true", true)));
                rests.add(child(atom, "unevaluatedItems"));
            }
        }
        int length = prefixes.stream().mapToInt(List::size).max().orElse(0);
        if (length > MAX_PREFIX) {
            throw new InvalidConstraintException(
                    branch.atoms.getFirst().pointer, "prefixItems has more than " + MAX_PREFIX + " schemas");
        }
        List<List<Schema>> first = new ArrayList<>();
        for (int i = 0; i <= length; i++) {
            List<Schema> set = new ArrayList<>();
            for (int a = 0; a < prefixes.size(); a++) {
                Schema rest = rests.get(a);
                if (i < prefixes.get(a).size()) {
                    set.add(prefixes.get(a).get(i));
                } else if (rest != null) {
                    set.add(rest);
                }
            }
            first.add(set);
        }
        List<Schema> rest = first.removeLast();
        List<Contained> contained = new ArrayList<>();
        Schema unique = null;
        for (Schema atom : branch.atoms) {
            Object isUnique = atom.get("uniqueItems");
            if (isUnique != null && !(isUnique instanceof Boolean)) {
                throw malformed(atom, "uniqueItems", "true or false");
            }
            unique = Boolean.TRUE.equals(isUnique) && most > 1 ? atom : unique;
            contained(atom).ifPresent(contained::add);
        }
        if (contained.size() > MAX_CONTAINS) {
            throw refuse(
                    branch.atoms.getFirst().pointer,
                    "contains",
                    "is supported at most " + MAX_CONTAINS + " times for one array");
        }
        return new Elements(first, rest, least, most, contained, unique);
    }

    /** How many elements are evaluated before {@code unevaluatedItems} of a schema counts; without it all of them. */
    private int evaluatedItems(Branch branch, Schema atom) {
        if (!atom.map().containsKey("unevaluatedItems")) {
            return Expressions.UNLIMITED;
        }
        if (oldItems) {
            throw refuse(atom.pointer, "unevaluatedItems", "is not supported in this draft");
        }
        int evaluated = 0;
        for (Schema part : branch.within(atom)) {
            if (part.map().containsKey("contains")) {
                throw refuse(part.pointer, "contains", "beside unevaluatedItems is not supported");
            }
            boolean all = part.map().containsKey("items")
                    || (!part.equals(atom) && part.map().containsKey("unevaluatedItems"));
            evaluated = Math.max(
                    evaluated,
                    all ? Expressions.UNLIMITED : list(part, "prefixItems").size());
        }
        return evaluated;
    }

    private Optional<Contained> contained(Schema atom) {
        for (String keyword : List.of("minContains", "maxContains")) {
            if (oldReferences && atom.map().containsKey(keyword)) {
                throw refuse(atom.pointer, keyword, "is not supported in this draft");
            }
        }
        int least = count(atom, "minContains", 1);
        int most = count(atom, "maxContains", Expressions.UNLIMITED);
        if (!atom.map().containsKey("contains") || (least == 0 && most == Expressions.UNLIMITED)) {
            return Optional.empty();
        }
        Schema with = child(atom, "contains");
        return Optional.of(new Contained(with, most == Expressions.UNLIMITED ? null : not(with), least, most));
    }

    private int array(Branch branch) {
        Elements elements = elements(branch);
        if (elements.unique != null) {
            return unique(branch, elements, elements.unique);
        }
        if (!elements.contained.isEmpty()) {
            return counted(branch, elements);
        }
        int length = elements.first.size();
        int end = ascii("]");
        // what may follow after this many elements
        int from = tail(elements, length, end);
        for (int i = length - 1; i >= 0; i--) {
            int stop = i >= elements.least && i <= elements.most ? end : Expressions.NONE;
            int more = Expressions.NONE;
            if (i < elements.most) {
                more = expressions.cat(value(elements.at(i)), from);
                more = i > 0 ? expressions.cat(comma, more) : more;
            }
            from = expressions.alt(stop, more);
        }
        return expressions.cat(ascii("["), from);
    }

    /**
     * An array that must contain some elements. Every element counts for some of the schemas, and for each of these numbers the
     * rest of the array is an expression of its own.
     *
     * <pre>
     *   contains C       0 of C ──element──▶ 0 of C ──element and C──▶ 1 of C ──element──▶ 1 of C ──▶ "]"
     * </pre>
     */
    private int counted(Branch branch, Elements elements) {
        List<Contained> contained = elements.contained;
        boolean endless = elements.most == Expressions.UNLIMITED;
        // From this index on the elements are alike; before it each has its own expressions.
        int last = endless ? Math.max(1, Math.max(elements.first.size(), elements.least)) : elements.most;
        long states = 1;
        for (Contained each : contained) {
            states *= each.cap() + 1L;
            if (states * (last + 1L) > MAX_COUNTED) {
                throw refuse(
                        branch.atoms.getFirst().pointer,
                        "contains",
                        "with these numbers of elements is not supported: they need too many states");
            }
        }
        int end = ascii("]");
        int[] next = new int[(int) states]; // what may follow, by the counted numbers
        for (int index = last; index >= 0; index--) {
            int[] from = new int[next.length];
            boolean loops = endless && index == last;
            for (int state = next.length - 1; state >= 0; state--) {
                List<Integer> options = new ArrayList<>();
                List<Integer> same = new ArrayList<>();
                if (index >= elements.least && isEnough(contained, state)) {
                    options.add(end);
                }
                for (int subset = 0; subset < 1 << contained.size() && (loops || index < last); subset++) {
                    int after = after(contained, state, subset);
                    List<Schema> set = new ArrayList<>(elements.at(index));
                    for (int i = 0; i < contained.size(); i++) {
                        Schema without = contained.get(i).without;
                        if ((subset >> i & 1) != 0) {
                            set.add(contained.get(i).with);
                        } else if (without != null) {
                            set.add(without);
                        }
                    }
                    if (after < 0 || isNever(set)) {
                        continue;
                    }
                    int element = index == 0 ? value(set) : expressions.cat(comma, value(set));
                    if (loops && after == state) {
                        same.add(element);
                    } else {
                        options.add(expressions.cat(element, loops ? from[after] : next[after]));
                    }
                }
                int rest = expressions.alt(
                        options.stream().mapToInt(Integer::intValue).toArray());
                int loop = expressions.alt(
                        same.stream().mapToInt(Integer::intValue).toArray());
                from[state] = loop == Expressions.NONE
                        ? rest
                        : expressions.cat(expressions.rep(loop, 0, Expressions.UNLIMITED), rest);
            }
            next = from;
        }
        return expressions.cat(ascii("["), next[0]);
    }

    /** The state after an element that counts for the schemas of a subset; −1 if it must not, or need not. */
    private static int after(List<Contained> contained, int state, int subset) {
        int after = 0;
        int rest = state;
        int unit = 1;
        for (int i = 0; i < contained.size(); i++) {
            Contained each = contained.get(i);
            int number = rest % (each.cap() + 1);
            rest /= each.cap() + 1;
            if ((subset >> i & 1) != 0) {
                if (number == each.cap()) {
                    return -1;
                }
                number++;
            }
            after += number * unit;
            unit *= each.cap() + 1;
        }
        return after;
    }

    private static boolean isEnough(List<Contained> contained, int state) {
        int rest = state;
        for (Contained each : contained) {
            if (rest % (each.cap() + 1) < each.least) {
                return false;
            }
            rest /= each.cap() + 1;
        }
        return true;
    }

    /** An array whose elements differ. */
    private int unique(Branch branch, Elements elements, Schema atom) {
        if (elements.first.isEmpty() && elements.contained.isEmpty() && finite(elements.rest) == null) {
            return expressions.cat(ascii("["), expressions.distinct(distinct(elements, atom)));
        }
        return finiteUnique(branch, elements, atom);
    }

    /** Elements that differ: strings, integers, booleans and null, each of which has one text. */
    private Distinct distinct(Elements elements, Schema atom) {
        int string = Expressions.NONE;
        List<Integer> others = new ArrayList<>();
        boolean isPlain = true;
        for (Branch each : branches(elements.rest)) {
            List<@Nullable Object> literals = literals(each);
            Set<String> types = types(each);
            if (literals == null
                    && !Set.of("string", "integer", "boolean", "null").containsAll(types)) {
                throw refuseUnique(atom);
            }
            if (literals == null && types.equals(Set.of("string"))) {
                Text text = text(each);
                isPlain &= text.most > 0
                        && text.patterns.isEmpty()
                        && text.without.isEmpty()
                        && excluded(each).isEmpty();
                string = expressions.alt(string, stringBody(each));
                continue;
            }
            isPlain = false;
            if (literals != null) {
                for (Object value : literals) {
                    if (value instanceof List<?> || value instanceof Map<?, ?>) {
                        throw refuseUnique(atom);
                    }
                    if (value instanceof String text) {
                        checkSurrogates(text, atom.pointer);
                        string = expressions.alt(string, expressions.literal(characters.bytes(text)));
                    } else {
                        others.add(literal(value, each));
                    }
                }
                continue;
            }
            List<@Nullable Object> excluded = excluded(each);
            if (types.contains("string")) {
                string = expressions.alt(string, stringBody(each));
            }
            if (types.contains("integer")) {
                others.add(number(each, true));
            }
            for (Object value : new @Nullable Object[] {null, true, false}) {
                if (types.contains(value == null ? "null" : "boolean")
                        && excluded.stream().noneMatch(other -> isSame(value, other))) {
                    others.add(literal(value, each));
                }
            }
        }
        if (!isPlain && elements.least > MAX_DISTINCT) {
            throw refuse(
                    atom.pointer,
                    "uniqueItems",
                    "true beside minItems above " + MAX_DISTINCT + " is supported for any strings only");
        }
        int other = expressions.alt(others.stream().mapToInt(Integer::intValue).toArray());
        return new Distinct(string, other, comma, ascii("]"), elements.least, elements.most, isPlain);
    }

    private static InvalidConstraintException refuseUnique(Schema atom) {
        return refuse(
                atom.pointer,
                "uniqueItems",
                "true is supported for elements that are strings, integers, booleans, null or one of some numbers only, and"
                        + " not beside contains");
    }

    /** An array whose elements differ: of finitely many texts, booleans, numbers and null. */
    private int finiteUnique(Branch branch, Elements elements, Schema atom) {
        List<@Nullable Object> all = new ArrayList<>();
        List<List<@Nullable Object>> first = new ArrayList<>();
        for (int i = 0; i <= elements.first.size(); i++) {
            List<@Nullable Object> here = finite(elements.at(i));
            if (here == null || !elements.contained.isEmpty()) {
                throw refuseUnique(atom);
            }
            here.stream()
                    .filter(value -> all.stream().noneMatch(other -> isSame(value, other)))
                    .forEach(all::add);
            first.add(here);
        }
        if (all.size() > MAX_UNIQUE) {
            throw refuse(atom.pointer, "uniqueItems", "true is supported for at most " + MAX_UNIQUE + " values");
        }
        int end = ascii("]");
        int most = Math.min(elements.most, all.size());
        int from = most >= elements.least ? end : Expressions.NONE;
        for (int i = most - 1; i >= 0; i--) {
            int element = literals(first.get(Math.min(i, first.size() - 1)), branch);
            int more = expressions.seq(element, from);
            from = expressions.alt(
                    i >= elements.least ? end : Expressions.NONE, i > 0 ? expressions.seq(comma, more) : more);
        }
        // Not twice the same: [ … value, … value followed by a comma or the end.
        int before = expressions.rep(expressions.seq(literals(all, branch), comma), 0, Expressions.UNLIMITED);
        int behind = expressions.alt(expressions.seq(ascii(","), Expressions.ANYTHING), end);
        int[] twice = all.stream()
                .mapToInt(value -> {
                    int text = literal(value, branch);
                    int second = expressions.seq(before, expressions.seq(text, behind));
                    return expressions.seq(before, expressions.seq(text, expressions.seq(comma, second)));
                })
                .toArray();
        return expressions.and(
                expressions.seq(ascii("["), from),
                expressions.not(expressions.seq(ascii("["), expressions.alt(twice))));
    }

    private int literals(List<@Nullable Object> values, Branch branch) {
        return expressions.alt(
                values.stream().mapToInt(value -> literal(value, branch)).toArray());
    }

    /** All values of a set of schemas; null if they are not finitely many, or lists or objects. */
    private @Nullable List<@Nullable Object> finite(List<Schema> set) {
        List<@Nullable Object> values = new ArrayList<>();
        for (Branch each : branches(set)) {
            List<@Nullable Object> literals = literals(each);
            if (literals == null) {
                Set<String> types = types(each);
                if (!Set.of("null", "boolean").containsAll(types)) {
                    return null;
                }
                List<@Nullable Object> excluded = excluded(each);
                literals = new ArrayList<>();
                for (Object value : new @Nullable Object[] {null, true, false}) {
                    if (types.contains(value == null ? "null" : "boolean")
                            && excluded.stream().noneMatch(other -> isSame(value, other))) {
                        literals.add(value);
                    }
                }
            }
            if (literals.stream().anyMatch(value -> value instanceof List<?> || value instanceof Map<?, ?>)) {
                return null;
            }
            values.addAll(literals);
        }
        return values;
    }

    /** The elements behind the first ones, and the end. */
    private int tail(Elements elements, int index, int end) {
        int least = Math.max(0, elements.least - index);
        int most = elements.most == Expressions.UNLIMITED ? Expressions.UNLIMITED : elements.most - index;
        if (most < least) {
            return Expressions.NONE;
        }
        if (isNever(elements.rest) || most == 0) {
            return least == 0 ? end : Expressions.NONE;
        }
        int element = value(elements.rest);
        int next = expressions.cat(comma, element);
        if (index > 0) {
            return expressions.cat(expressions.rep(next, least, most), end);
        }
        int others = expressions.rep(
                next, Math.max(0, least - 1), most == Expressions.UNLIMITED ? Expressions.UNLIMITED : most - 1);
        int some = expressions.cat(element, expressions.cat(others, end));
        return least == 0 ? expressions.alt(end, some) : some;
    }

    private static boolean isNever(List<Schema> set) {
        return set.stream().anyMatch(schema -> Boolean.FALSE.equals(schema.value));
    }

    // Objects.

    /** The names of one object, in order, and what its values must satisfy. */
    private static final class Names {
        final Map<String, List<Schema>> declared = new LinkedHashMap<>();
        final Set<String> required = new LinkedHashSet<>();
        final Map<String, TextPattern> patterns = new LinkedHashMap<>();
        final List<Schema> nameSchemas = new ArrayList<>();
        int least;
        int most = Expressions.UNLIMITED;
    }

    private Names names(Branch branch) {
        Names names = new Names();
        for (Schema atom : branch.atoms) {
            for (String name : objectOf(atom, "properties").keySet()) {
                names.declared.put(name, List.of());
            }
            for (String source : objectOf(atom, "patternProperties").keySet()) {
                String pointer = atom.pointer + "/patternProperties/" + escape(source);
                names.patterns.put(source, pattern(pointer, source));
            }
            if (atom.map().containsKey("propertyNames")) {
                names.nameSchemas.add(child(atom, "propertyNames"));
            }
            if (atom.map().containsKey("required")) {
                if (!(atom.get("required") instanceof List<?> list)) {
                    throw malformed(atom, "required", "a list of names");
                }
                for (Object name : list) {
                    if (!(name instanceof String text)) {
                        throw malformed(atom, "required", "a list of names");
                    }
                    names.required.add(text);
                }
            }
            names.least = Math.max(names.least, count(atom, "minProperties", 0));
            names.most = Math.min(names.most, count(atom, "maxProperties", Expressions.UNLIMITED));
        }
        names.required.forEach(name -> names.declared.putIfAbsent(name, List.of()));
        names.declared.replaceAll((name, none) -> valueOf(branch, names, name));
        return names;
    }

    /** The schemas of the value under a name. */
    private List<Schema> valueOf(Branch branch, Names names, String name) {
        List<String> matching = names.patterns.entrySet().stream()
                .filter(entry -> entry.getValue().matches(name))
                .map(Map.Entry::getKey)
                .toList();
        return valueOf(branch, name, matching);
    }

    /**
     * @param name null for any name that no schema declares
     * @param matching the patterns that match the name
     */
    private List<Schema> valueOf(Branch branch, @Nullable String name, List<String> matching) {
        List<Schema> set = new ArrayList<>();
        for (Schema atom : branch.atoms) {
            Map<String, @Nullable Object> properties = objectOf(atom, "properties");
            Map<String, @Nullable Object> byPattern = objectOf(atom, "patternProperties");
            boolean found = false;
            if (name != null && properties.containsKey(name)) {
                set.add(schema(atom.pointer + "/properties/" + escape(name), properties.get(name)));
                found = true;
            }
            for (String source : matching) {
                if (byPattern.containsKey(source)) {
                    set.add(schema(atom.pointer + "/patternProperties/" + escape(source), byPattern.get(source)));
                    found = true;
                }
            }
            if (!found && atom.map().containsKey("additionalProperties")) {
                set.add(child(atom, "additionalProperties"));
            }
            if (atom.map().containsKey("unevaluatedProperties") && !isEvaluated(branch, atom, name, matching)) {
                set.add(child(atom, "unevaluatedProperties"));
            }
        }
        return set;
    }

    /** Whether a schema or its parts evaluate a property before {@code unevaluatedProperties} of the schema counts. */
    private boolean isEvaluated(Branch branch, Schema atom, @Nullable String name, List<String> matching) {
        if (oldReferences) {
            throw refuse(atom.pointer, "unevaluatedProperties", "is not supported in this draft");
        }
        return branch.within(atom).stream()
                .anyMatch(part -> part.map().containsKey("additionalProperties")
                        || (!part.equals(atom) && part.map().containsKey("unevaluatedProperties"))
                        || (name != null && objectOf(part, "properties").containsKey(name))
                        || matching.stream().anyMatch(objectOf(part, "patternProperties")::containsKey));
    }

    private int object(Branch branch) {
        Names names = names(branch);
        List<Branch> nameBranches = branches(names.nameSchemas);
        List<String> possible = new ArrayList<>();
        for (Map.Entry<String, List<Schema>> entry : names.declared.entrySet()) {
            String name = entry.getKey();
            if (nameBranches.stream().anyMatch(b -> admitsName(b, name)) && !isNever(entry.getValue())) {
                possible.add(name);
            } else if (names.required.contains(name)) {
                return Expressions.NONE;
            }
        }
        int others = others(branch, names, nameBranches);
        if (others != Expressions.NONE && names.least > names.required.size() + 1) {
            throw refuse(
                    branch.atoms.stream()
                            .filter(atom -> count(atom, "minProperties", 0) == names.least)
                            .findFirst()
                            .orElseThrow()
                            .pointer,
                    "minProperties",
                    "is supported up to the number of required properties plus 1, or with additionalProperties false");
        }
        if (others == Expressions.NONE && names.least > possible.size()) {
            return Expressions.NONE;
        }
        if (order != PropertyOrder.SCHEMA) {
            String pointer = branch.atoms.isEmpty() ? "" : branch.atoms.getFirst().pointer;
            List<Members.Pair> pairs = possible.stream()
                    .map(name -> pair(
                            name,
                            pointer,
                            value(names.declared.getOrDefault(name, List.of())),
                            names.required.contains(name)))
                    .toList();
            return members(pairs, others, names.least, names.most, pointer);
        }
        int size = possible.size();
        int counts = Math.max(1, names.most == Expressions.UNLIMITED ? names.least : Math.min(names.most, size));
        if ((long) size * size * counts > MAX_OPTIONS) {
            throw new InvalidConstraintException(
                    branch.atoms.getFirst().pointer,
                    place(branch.atoms.getFirst().pointer) + " has too many properties: " + size);
        }
        int[] values = possible.stream()
                .mapToInt(name -> value(names.declared.getOrDefault(name, List.of())))
                .toArray();
        int[] keys = possible.stream()
                .mapToInt(name -> expressions.seq(name(name, branch.atoms.getFirst().pointer), colon))
                .toArray();
        // next[j][c]: what may follow when the names before j are decided and c properties are written
        int[][] next = new int[size + 1][counts + 1];
        for (int j = size; j >= 0; j--) {
            for (int c = Math.min(j, counts); c >= 0; c--) {
                List<Integer> options = new ArrayList<>();
                boolean mayEnd = true;
                for (int i = j; i < size && mayEnd; i++) {
                    if (c < names.most) {
                        int key = c == 0 ? keys[i] : expressions.seq(comma, keys[i]);
                        options.add(
                                expressions.cat(key, expressions.cat(values[i], next[i + 1][Math.min(c + 1, counts)])));
                    }
                    mayEnd = !names.required.contains(possible.get(i));
                }
                if (mayEnd) {
                    options.add(rest(others, c, names));
                }
                next[j][c] = expressions.alt(
                        options.stream().mapToInt(Integer::intValue).toArray());
            }
        }
        return expressions.cat(ascii("{"), next[0][0]);
    }

    private Members.Pair pair(String name, String pointer, int value, boolean isRequired) {
        checkSurrogates(name, pointer);
        String quoted = '"' + new String(characters.bytes(name), StandardCharsets.UTF_8) + '"';
        if (quoted.length() > Members.MAX_NAME / 3) {
            throw new InvalidConstraintException(
                    pointer,
                    place(pointer) + " names a property with more than " + Members.MAX_NAME / 3 + " characters");
        }
        return new Members.Pair(quoted, expressions.cat(colon, value), isRequired);
    }

    /** An object with these pairs in any order. */
    private int members(List<Members.Pair> pairs, int others, int least, int most, String pointer) {
        if (pairs.size() > Members.MAX) {
            throw new InvalidConstraintException(pointer, place(pointer) + " has too many properties: " + pairs.size());
        }
        Members members = new Members(pairs, others, comma, ascii("}"), least, most, order == PropertyOrder.GUIDED);
        return expressions.cat(ascii("{"), expressions.members(members));
    }

    private boolean admitsName(Branch branch, String name) {
        List<@Nullable Object> literals = literals(branch);
        return literals == null ? admits(branch, name) : literals.contains(name);
    }

    /** Any property that is not declared; {@link Expressions#NONE} if there may be none. */
    private int others(Branch branch, Names names, List<Branch> nameBranches) {
        int count = names.patterns.size();
        if (count > MAX_KEY_PATTERNS) {
            throw new InvalidConstraintException(
                    branch.atoms.getFirst().pointer,
                    "patternProperties has more than " + MAX_KEY_PATTERNS + " patterns for one object");
        }
        List<TextPattern> all = List.copyOf(names.patterns.values());
        List<Integer> pairs = new ArrayList<>();
        for (int subset = 0; subset < 1 << count; subset++) {
            List<String> matching = new ArrayList<>();
            for (int p = 0; p < count; p++) {
                if ((subset >> p & 1) != 0) {
                    matching.add(all.get(p).source);
                }
            }
            List<Schema> set = valueOf(branch, null, matching);
            if (isNever(set)) {
                continue;
            }
            List<Integer> parts = new ArrayList<>();
            parts.add(nameBody(nameBranches));
            if (!names.declared.isEmpty()) {
                parts.add(expressions.not(expressions.alt(names.declared.keySet().stream()
                        .mapToInt(name -> expressions.literal(characters.bytes(name)))
                        .toArray())));
            }
            for (int p = 0; p < count; p++) {
                int pattern = all.get(p).build(expressions, characters);
                parts.add((subset >> p & 1) != 0 ? pattern : expressions.not(pattern));
            }
            int body =
                    expressions.and(parts.stream().mapToInt(Integer::intValue).toArray());
            pairs.add(expressions.cat(expressions.seq(quoted(body), colon), value(set)));
        }
        return expressions.alt(pairs.stream().mapToInt(Integer::intValue).toArray());
    }

    private int nameBody(List<Branch> branches) {
        return expressions.alt(branches.stream()
                .mapToInt(branch -> {
                    List<@Nullable Object> literals = literals(branch);
                    if (literals != null) {
                        return expressions.alt(literals.stream()
                                .mapToInt(value -> value instanceof String text
                                        ? expressions.literal(characters.bytes(text))
                                        : Expressions.NONE)
                                .toArray());
                    }
                    return types(branch).contains("string") ? stringBody(branch) : Expressions.NONE;
                })
                .toArray());
    }

    /** The properties that are not declared, and the end. */
    private int rest(int pair, int written, Names names) {
        int end = ascii("}");
        int least = Math.max(0, names.least - written);
        int most = names.most == Expressions.UNLIMITED ? Expressions.UNLIMITED : names.most - written;
        if (most < least) {
            return Expressions.NONE;
        }
        if (pair == Expressions.NONE || most == 0) {
            return least == 0 ? end : Expressions.NONE;
        }
        int next = expressions.cat(comma, pair);
        if (written > 0) {
            return expressions.cat(expressions.rep(next, least, most), end);
        }
        int others = expressions.rep(
                next, Math.max(0, least - 1), most == Expressions.UNLIMITED ? Expressions.UNLIMITED : most - 1);
        int some = expressions.cat(pair, expressions.cat(others, end));
        return least == 0 ? expressions.alt(end, some) : some;
    }

    // oneOf.

    private final Map<String, List<Schema>> exclusiveParts = new HashMap<>();

    /** The parts of {@code oneOf} if no value can match two of them; otherwise each part without what the others match. */
    private List<Schema> exclusive(Schema schema, List<Schema> parts) {
        List<Schema> known = exclusiveParts.putIfAbsent(schema.pointer, parts);
        if (known != null) {
            return known; // checked before, or being checked
        }
        List<List<Schema>> overlapping = new ArrayList<>();
        parts.forEach(part -> overlapping.add(new ArrayList<>()));
        for (int i = 0; i < parts.size(); i++) {
            for (int j = 0; j < i; j++) {
                if (!isDisjoint(List.of(parts.get(i)), List.of(parts.get(j)), 0)) {
                    overlapping.get(i).add(parts.get(j));
                    overlapping.get(j).add(parts.get(i));
                    requireNegation(schema, parts.get(i), i, j);
                    requireNegation(schema, parts.get(j), i, j);
                }
            }
        }
        List<Schema> ways = new ArrayList<>();
        for (int i = 0; i < parts.size(); i++) {
            List<Schema> others = overlapping.get(i);
            String place = schema.pointer + "/oneOf~" + i;
            if (others.isEmpty()) {
                ways.add(parts.get(i));
                continue;
            }
            schemas.put(place + "/allOf/0", parts.get(i));
            for (int k = 0; k < others.size(); k++) {
                schemas.put(place + "/allOf/" + (k + 1), not(others.get(k)));
            }
            ways.add(made(place, Map.of("allOf", Collections.nCopies(others.size() + 1, true))));
        }
        exclusiveParts.put(schema.pointer, ways);
        return ways;
    }

    /** Checks that what does not match a part can be computed. */
    private void requireNegation(Schema schema, Schema part, int i, int j) {
        try {
            branches(List.of(not(part)));
        } catch (InvalidConstraintException e) {
            throw refuse(
                    schema.pointer,
                    "oneOf",
                    "is not supported here: a value may match both parts " + j + " and " + i + ", and " + e.getMessage()
                            + ". Use anyOf if an overlap is allowed");
        }
    }

    /** Whether it is certain that no value satisfies both sets. */
    private boolean isDisjoint(List<Schema> a, List<Schema> b, int depth) {
        if (depth > MAX_DISJOINT_DEPTH) {
            return false;
        }
        for (Branch x : branches(a)) {
            for (Branch y : branches(b)) {
                if (!isDisjoint(x, y, depth)) {
                    return false;
                }
            }
        }
        return true;
    }

    private boolean isDisjoint(Branch a, Branch b, int depth) {
        countWork(DISJOINT_WORK);
        List<@Nullable Object> inA = literals(a);
        List<@Nullable Object> inB = literals(b);
        if (inA != null || inB != null) {
            List<@Nullable Object> values = inA != null ? inA : inB;
            Branch other = inA != null ? b : a;
            List<@Nullable Object> others = inA != null ? inB : null;
            countWork((long) (values == null ? 0 : values.size()) * (others == null ? 1 : others.size()));
            for (Object value : values == null ? List.of() : values) {
                boolean in =
                        others == null ? admits(other, value) : others.stream().anyMatch(v -> isSame(v, value));
                if (in) {
                    return false;
                }
            }
            return true;
        }
        Set<String> common = types(a);
        common.retainAll(types(b));
        boolean integer = !common.contains("number");
        return common.stream().allMatch(type -> switch (type) {
            case "string" -> isDisjoint(stringBody(a), stringBody(b));
            case "number", "integer" -> isDisjoint(number(a, integer), number(b, integer));
            case "array" -> isDisjoint(elements(a), elements(b), depth);
            case "object" -> isDisjointObject(a, b, depth);
            default -> false;
        });
    }

    private boolean isDisjoint(int a, int b) {
        countWork(TRIAL_WORK);
        Expressions trial = new Expressions(expressions, expressions.size() + TRIAL_LIMIT);
        try {
            int first = trial.freeze(a);
            int second = trial.freeze(b);
            return trial.isEmpty(trial.and(first, second));
        } catch (ConstraintException e) {
            return false;
        }
    }

    private boolean isDisjoint(Elements a, Elements b, int depth) {
        if (a.most < b.least || b.most < a.least) {
            return true;
        }
        for (int i = 0; i < Math.min(Math.min(a.least, b.least), 100); i++) {
            if (isDisjoint(a.at(i), b.at(i), depth + 1)) {
                return true;
            }
        }
        return false;
    }

    /** Whether a property that one of them requires cannot satisfy both. */
    private boolean isDisjointObject(Branch a, Branch b, int depth) {
        Names inA = names(a);
        Names inB = names(b);
        Set<String> required = new LinkedHashSet<>(inA.required);
        required.addAll(inB.required);
        return required.stream().anyMatch(name -> {
            List<Schema> first = valueOf(a, inA, name);
            List<Schema> second = valueOf(b, inB, name);
            return isNever(first) || isNever(second) || isDisjoint(first, second, depth + 1);
        });
    }

    // Keywords.

    private Schema child(Schema schema, String keyword) {
        return schema(schema.pointer + '/' + keyword, schema.get(keyword));
    }

    /** A keyword's object, with its entries in order; empty if it is absent. */
    private Map<String, @Nullable Object> objectOf(Schema schema, String keyword) {
        if (!schema.map().containsKey(keyword)) {
            return Map.of();
        }
        if (!(schema.get(keyword) instanceof Map<?, ?> map)) {
            throw malformed(schema, keyword, "an object");
        }
        return objects.computeIfAbsent(schema.pointer + ' ' + keyword, place -> {
            Map<String, @Nullable Object> entries = new LinkedHashMap<>();
            map.forEach((name, child) -> entries.put(String.valueOf(name), child));
            return entries;
        });
    }

    private int count(Schema schema, String keyword, int absent) {
        BigDecimal value = bound(schema, keyword);
        if (value == null) {
            return absent;
        }
        if (value.signum() < 0
                || (value.signum() != 0 && value.stripTrailingZeros().scale() > 0)) {
            throw malformed(schema, keyword, "a whole number, 0 or more");
        }
        return value.min(BigDecimal.valueOf(Expressions.UNLIMITED - 1)).intValue();
    }

    private int ascii(String text) {
        return expressions.literal(text.getBytes(StandardCharsets.US_ASCII));
    }

    private static InvalidConstraintException refuse(String pointer, String keyword, String what) {
        String where = pointer + '/' + escape(keyword);
        return new InvalidConstraintException(where, place(where) + " " + what);
    }

    private static InvalidConstraintException malformed(Schema schema, String keyword, String wanted) {
        return refuse(schema.pointer, keyword, "must be " + wanted);
    }

    private static String place(String pointer) {
        return pointer.isEmpty() ? "the schema" : "'" + pointer + "'";
    }

    private static String escape(String name) {
        return name.replace("~", "~0").replace("/", "~1");
    }

    private static String kind(@Nullable Object value) {
        return switch (value) {
            case null -> "null";
            case Boolean b -> "a boolean";
            case String s -> "a text";
            case Number n -> "a number";
            case List<?> l -> "a list";
            case Map<?, ?> m -> "an object";
            default -> value.getClass().getName();
        };
    }
}
