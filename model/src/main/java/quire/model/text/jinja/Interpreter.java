package quire.model.text.jinja;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Node.*;
import quire.model.text.jinja.Values.*;

/** Renders a template once: walks its tree and writes text. Not thread-safe; create one for each rendering. */
final class Interpreter {
    private enum Flow {
        ON,
        BREAK,
        CONTINUE
    }

    /**
     * Names and values. {@code set} writes to the innermost scope; reading searches from the innermost scope outwards.
     */
    private static final class Scope {
        private final Map<String, Object> names = new HashMap<>();
        private final @Nullable Scope outer;

        Scope(@Nullable Scope outer) {
            this.outer = outer;
        }

        @Nullable
        Object get(String name) {
            for (Scope scope = this; scope != null; scope = scope.outer) {
                Object value = scope.names.get(name);
                if (value != null) {
                    return value;
                }
            }
            return null;
        }

        void set(String name, Object value) {
            names.put(name, value);
        }
    }

    final Limits limits;
    private StringBuilder out = new StringBuilder();
    private int line = 1;

    Interpreter(Limits limits) {
        this.limits = limits;
    }

    /** The line of the template that is being evaluated. */
    int line() {
        return line;
    }

    String render(List<Stmt> template, Map<String, Object> variables) {
        Scope globals = new Scope(null);
        variables.forEach(globals::set);
        run(template, new Scope(globals));
        return out.toString();
    }

    // ---- statements

    private Flow run(List<Stmt> body, Scope scope) {
        for (Stmt statement : body) {
            limits.enter();
            Flow flow = run(statement, scope);
            limits.leave();
            if (flow != Flow.ON) {
                return flow;
            }
        }
        return Flow.ON;
    }

    private Flow run(Stmt statement, Scope scope) {
        switch (statement) {
            case Data data -> write(data.text());
            case Output output -> {
                line = output.line();
                write(Text.str(eval(output.value(), scope), limits));
            }
            case If branching -> {
                line = branching.line();
                for (Branch branch : branching.branches()) {
                    if (Values.truth(eval(branch.test(), scope))) {
                        return run(branch.body(), scope);
                    }
                }
                return run(branching.otherwise(), scope);
            }
            case For loop -> {
                line = loop.line();
                return loop(loop, eval(loop.iterable(), scope), scope, 1);
            }
            case Assign assign -> {
                line = assign.line();
                assign(assign.target(), eval(assign.value(), scope), scope);
            }
            case AssignBlock block -> {
                Object text = capture(block.body(), new Scope(scope));
                line = block.line();
                assign(block.target(), filtered(text, block.filters(), scope), scope);
            }
            case With with -> {
                line = with.line();
                Scope inner = new Scope(scope);
                for (int i = 0; i < with.targets().size(); i++) {
                    assign(with.targets().get(i), eval(with.values().get(i), scope), inner);
                }
                return run(with.body(), inner);
            }
            case MacroDefinition definition ->
                scope.set(definition.macro().name(), new Macro(definition.macro(), scope));
            case CallBlock block -> {
                line = block.line();
                Call call = block.call();
                Object callee = eval(call.callee(), scope);
                Args args = arguments(call.arguments(), scope);
                Map<String, Object> named = new LinkedHashMap<>(args.named());
                named.put("caller", new Macro(block.caller(), scope));
                write(Text.str(call(callee, new Args(args.positional(), named)), limits));
            }
            case FilterBlock block -> {
                Object text = capture(block.body(), new Scope(scope));
                line = block.line();
                write(Text.str(filtered(text, block.filters(), scope), limits));
            }
            case Generation generation -> run(generation.body(), new Scope(scope));
            case Unsupported unsupported -> {
                line = unsupported.line();
                throw new JinjaError(unsupported.message());
            }
            case Break b -> {
                return Flow.BREAK;
            }
            case Continue c -> {
                return Flow.CONTINUE;
            }
        }
        return Flow.ON;
    }

    private void write(String text) {
        Text.append(out, text, limits);
    }

    private String capture(List<Stmt> body, Scope scope) {
        StringBuilder outer = out;
        out = new StringBuilder();
        run(body, scope);
        String text = out.toString();
        out = outer;
        return text;
    }

    private Object filtered(Object text, List<FilterCall> filters, Scope scope) {
        Object value = text;
        for (FilterCall filter : filters) {
            line = filter.line();
            value = filter(filter.name(), value, arguments(filter.arguments(), scope));
        }
        return value;
    }

    private void assign(Target target, Object value, Scope scope) {
        switch (target) {
            case NameTarget name -> scope.set(name.name(), value);
            case NamespaceTarget attribute -> {
                if (!(scope.get(attribute.namespace()) instanceof Namespace namespace)) {
                    throw new JinjaError("cannot set '" + attribute.attribute() + "' of '" + attribute.namespace()
                            + "', which is no namespace");
                }
                namespace.attributes().put(attribute.attribute(), value);
            }
            case TupleTarget tuple -> {
                if (value instanceof Undefined undefined) {
                    throw undefined.error();
                }
                List<Object> items = Values.toList(value, limits);
                if (items.size() != tuple.items().size()) {
                    throw new JinjaError("cannot unpack " + items.size() + " values into "
                            + tuple.items().size() + " names");
                }
                for (int i = 0; i < items.size(); i++) {
                    assign(tuple.items().get(i), items.get(i), scope);
                }
            }
        }
    }

    private Flow loop(For node, Object iterable, Scope scope, int depth) {
        Iterator<Object> items = Values.iterate(iterable);
        Expr condition = node.condition();
        if (condition != null) {
            items = new Filtering(items, item -> {
                Scope inner = new Scope(scope);
                assign(node.target(), item, inner);
                return Values.truth(eval(condition, inner));
            });
        }
        Loop loop = new Loop(items, node, scope, depth);
        // As in Jinja: else runs unless one iteration reached the end of the body without break or continue.
        boolean completed = false;
        while (loop.advance()) {
            limits.charge(1);
            Scope inner = new Scope(scope);
            inner.set("loop", loop);
            assign(node.target(), loop.current, inner);
            Flow flow = run(node.body(), inner);
            completed |= flow == Flow.ON;
            if (flow == Flow.BREAK) {
                break;
            }
        }
        if (!completed) {
            return run(node.otherwise(), new Scope(scope));
        }
        return Flow.ON;
    }

    /** Items that pass a test. As in Python, an item is tested only when it is requested. */
    static final class Filtering implements Iterator<Object> {
        private final Iterator<Object> items;
        private final Predicate<Object> test;
        private @Nullable Object found;

        Filtering(Iterator<Object> items, Predicate<Object> test) {
            this.items = items;
            this.test = test;
        }

        @Override
        public boolean hasNext() {
            while (found == null && items.hasNext()) {
                Object item = items.next();
                if (test.test(item)) {
                    found = item;
                }
            }
            return found != null;
        }

        @Override
        public Object next() {
            Object item = hasNext() ? found : null;
            if (item == null) {
                throw new NoSuchElementException();
            }
            found = null;
            return item;
        }
    }

    /** The variable {@code loop}. Reads ahead only if the template asks for later items. */
    private final class Loop implements Callable {
        private final Iterator<Object> items;
        /** Items that were read ahead, the next one last. */
        private final List<Object> ahead = new ArrayList<>();

        private final For node;
        private final Scope scope;
        private final int depth;
        private long index0 = -1;
        private @Nullable Object previous;
        private Object current = None.NONE;
        private @Nullable Args lastChanged;

        Loop(Iterator<Object> items, For node, Scope scope, int depth) {
            this.items = items;
            this.node = node;
            this.scope = scope;
            this.depth = depth;
        }

        private boolean peek() {
            if (ahead.isEmpty() && items.hasNext()) {
                ahead.add(items.next());
            }
            return !ahead.isEmpty();
        }

        private boolean advance() {
            return peek() && take(ahead.removeLast());
        }

        private boolean take(Object item) {
            previous = index0 < 0 ? null : current;
            current = item;
            index0++;
            return true;
        }

        private long length() {
            if (items.hasNext()) {
                while (items.hasNext()) {
                    limits.charge(1);
                    ahead.add(items.next());
                }
                java.util.Collections.reverse(ahead);
            }
            return index0 + 1 + ahead.size();
        }

        private Object next() {
            return peek() ? ahead.getLast() : new Undefined("there is no next item");
        }

        @Nullable
        Object attribute(String name) {
            return switch (name) {
                case "index" -> index0 + 1;
                case "index0" -> index0;
                case "first" -> index0 == 0;
                case "last" -> !peek();
                case "length" -> length();
                case "revindex" -> length() - index0;
                case "revindex0" -> length() - index0 - 1;
                case "previtem" -> previous == null ? new Undefined("there is no previous item") : previous;
                case "nextitem" -> next();
                case "depth" -> (long) depth;
                case "depth0" -> depth - 1L;
                case "cycle" ->
                    (Callable) args -> {
                        if (args.positional().isEmpty()) {
                            throw new JinjaError("loop.cycle needs something to cycle through");
                        }
                        return args.positional()
                                .get((int) (index0 % args.positional().size()));
                    };
                case "changed" ->
                    (Callable) args -> {
                        Args last = lastChanged;
                        lastChanged = args;
                        return last == null || !Values.equal(last.positional(), args.positional(), limits);
                    };
                default -> null;
            };
        }

        @Override
        public Object call(Args args) {
            if (!node.recursive()) {
                throw new JinjaError("'loop(…)' needs 'recursive' behind the for");
            }
            Object iterable = Args.Signature.of("iterable").bind("loop", args).get(0);
            StringBuilder outer = out;
            out = new StringBuilder();
            Interpreter.this.loop(node, iterable, scope, depth + 1);
            String text = out.toString();
            out = outer;
            return text;
        }
    }

    /** A macro, or the body of a call block. It sees the names of the scope where it was defined. */
    private final class Macro implements Callable {
        private final MacroBody body;
        private final Scope scope;

        Macro(MacroBody body, Scope scope) {
            this.body = body;
            this.scope = scope;
        }

        @Override
        public Object call(Args args) {
            int calledAt = line;
            Scope inner = new Scope(scope);
            Map<String, Object> named = new LinkedHashMap<>(args.named());
            List<Parameter> parameters = body.parameters();
            int given = Math.min(args.positional().size(), parameters.size());
            for (int i = 0; i < parameters.size(); i++) {
                String name = parameters.get(i).name();
                Object value = i < given ? args.positional().get(i) : named.remove(name);
                if (value != null) {
                    inner.set(name, value);
                }
            }
            for (Parameter parameter : parameters) {
                if (!inner.names.containsKey(parameter.name())) {
                    Expr value = parameter.defaultValue();
                    inner.set(
                            parameter.name(),
                            value != null
                                    ? eval(value, inner)
                                    : new Undefined("parameter '" + parameter.name() + "' was not provided"));
                }
            }
            bindSpecial(args, given, named, inner);
            String text = capture(body.body(), inner);
            line = calledAt;
            return text;
        }

        private void bindSpecial(Args args, int given, Map<String, Object> named, Scope inner) {
            if (body.usesCaller() && !inner.names.containsKey("caller")) {
                Object caller = named.remove("caller");
                inner.set("caller", caller == null ? new Undefined("no caller defined") : caller);
            }
            if (body.usesKwargs()) {
                inner.set("kwargs", new LinkedHashMap<Object, Object>(named));
            } else if (!named.isEmpty()) {
                throw new JinjaError("macro '" + body.name() + "' takes no argument '"
                        + named.keySet().iterator().next() + "'");
            }
            List<Object> more =
                    args.positional().subList(given, args.positional().size());
            if (body.usesVarargs()) {
                inner.set("varargs", new Tuple(List.copyOf(more)));
            } else if (!more.isEmpty()) {
                throw new JinjaError("macro '" + body.name() + "' takes at most "
                        + body.parameters().size() + " arguments");
            }
        }

        @Nullable
        Object attribute(String name) {
            return switch (name) {
                case "name" -> body.name();
                case "arguments" ->
                    new Tuple(body.parameters().stream()
                            .map(parameter -> (Object) parameter.name())
                            .toList());
                case "caller" -> body.usesCaller();
                case "catch_kwargs" -> body.usesKwargs();
                case "catch_varargs" -> body.usesVarargs();
                default -> null;
            };
        }
    }

    // ---- expressions

    private Object eval(Expr expression, Scope scope) {
        limits.enter();
        Object value = value(expression, scope);
        limits.leave();
        return value;
    }

    private Object value(Expr expression, Scope scope) {
        return switch (expression) {
            case Const constant -> constant.value();
            case Name name -> {
                Object value = scope.get(name.name());
                yield value == null ? new Undefined("'" + name.name() + "' is undefined") : value;
            }
            case ListLiteral list -> new WrittenList(evalAll(list.items(), scope));
            case TupleLiteral tuple -> new Tuple(evalAll(tuple.items(), scope));
            case DictLiteral dict -> {
                Map<Object, Object> map = new LinkedHashMap<>();
                for (int i = 0; i < dict.keys().size(); i++) {
                    Object key = Values.storedKey(eval(dict.keys().get(i), scope), limits);
                    map.put(key, eval(dict.values().get(i), scope));
                }
                yield map;
            }
            case Conditional conditional -> {
                if (Values.truth(eval(conditional.test(), scope))) {
                    yield eval(conditional.then(), scope);
                }
                Expr otherwise = conditional.otherwise();
                yield otherwise != null ? eval(otherwise, scope) : new Undefined("an 'if' without 'else' has no value");
            }
            case And and -> {
                Object left = eval(and.left(), scope);
                yield Values.truth(left) ? eval(and.right(), scope) : left;
            }
            case Or or -> {
                Object left = eval(or.left(), scope);
                yield Values.truth(left) ? left : eval(or.right(), scope);
            }
            case Not not -> !Values.truth(eval(not.operand(), scope));
            case Compare compare -> compare(compare, scope);
            case Unary unary -> Values.unary(unary.operator(), eval(unary.operand(), scope));
            case Binary binary -> {
                Object left = eval(binary.left(), scope);
                Object right = eval(binary.right(), scope);
                line = binary.line();
                yield Values.binary(binary.operator(), left, right, limits);
            }
            case Concat concat -> {
                StringBuilder text = new StringBuilder();
                for (Expr part : concat.parts()) {
                    Text.append(text, Text.str(eval(part, scope), limits), limits);
                }
                yield text.toString();
            }
            case Attribute attribute -> {
                Object object = eval(attribute.object(), scope);
                line = attribute.line();
                yield attribute(object, attribute.name());
            }
            case Item item -> {
                Object object = eval(item.object(), scope);
                Object key = eval(item.key(), scope);
                line = item.line();
                yield item(object, key);
            }
            case Slice slice -> {
                Object object = eval(slice.object(), scope);
                Object start = evalOrNone(slice.start(), scope);
                Object stop = evalOrNone(slice.stop(), scope);
                Object step = evalOrNone(slice.step(), scope);
                line = slice.line();
                yield Values.slice(object, start, stop, step, limits);
            }
            case Call call -> {
                Object callee = eval(call.callee(), scope);
                Args args = arguments(call.arguments(), scope);
                line = call.line();
                yield call(callee, args);
            }
            case Filtered filtered -> {
                Object input = eval(filtered.input(), scope);
                yield filtered(input, List.of(filtered.filter()), scope);
            }
            case Tested tested -> {
                Object input = eval(tested.input(), scope);
                Args args = arguments(tested.arguments(), scope);
                line = tested.line();
                yield test(tested.test(), input, args);
            }
        };
    }

    private List<Object> evalAll(List<Expr> expressions, Scope scope) {
        List<Object> values = new ArrayList<>(expressions.size());
        for (Expr expression : expressions) {
            values.add(eval(expression, scope));
        }
        return values;
    }

    private Object evalOrNone(@Nullable Expr expression, Scope scope) {
        return expression == null ? None.NONE : eval(expression, scope);
    }

    private boolean compare(Compare compare, Scope scope) {
        Object left = eval(compare.first(), scope);
        for (int i = 0; i < compare.operands().size(); i++) {
            Object right = eval(compare.operands().get(i), scope);
            line = compare.line();
            boolean holds =
                    switch (compare.operators().get(i)) {
                        case "==" -> Values.equal(left, right, limits);
                        case "!=" -> !Values.equal(left, right, limits);
                        case "in" -> Values.contains(right, left, limits);
                        case "not in" -> !Values.contains(right, left, limits);
                        default -> Values.ordered(compare.operators().get(i), left, right, limits);
                    };
            if (!holds) {
                return false;
            }
            left = right;
        }
        return true;
    }

    private Args arguments(Arguments arguments, Scope scope) {
        if (arguments.isEmpty()) {
            return Args.NONE;
        }
        List<Object> positional = evalAll(arguments.positional(), scope);
        Map<String, Object> named = new LinkedHashMap<>();
        for (Keyword keyword : arguments.named()) {
            if (named.put(keyword.name(), eval(keyword.value(), scope)) != null) {
                throw new JinjaError("argument '" + keyword.name() + "' is given twice");
            }
        }
        Expr star = arguments.star();
        if (star != null) {
            positional.addAll(Values.toList(eval(star, scope), limits));
        }
        Expr doubleStar = arguments.doubleStar();
        if (doubleStar != null) {
            Object value = eval(doubleStar, scope);
            if (!(value instanceof Map<?, ?> map)) {
                throw new JinjaError("'**' needs a dict, not " + Values.typeName(value));
            }
            limits.charge(map.size());
            map.forEach((key, item) -> {
                if (!(key instanceof String name) || named.put(name, item) != null) {
                    throw new JinjaError("'**' with the key " + Text.repr(key, limits));
                }
            });
        }
        return new Args(positional, named);
    }

    // ---- what filters, tests and methods use too

    Object call(Object callee, Args args) {
        return switch (callee) {
            case Callable callable -> {
                limits.enter();
                Object result = callable.call(args);
                limits.leave();
                yield result;
            }
            case Undefined undefined -> throw undefined.error();
            default -> throw new JinjaError("a value of type " + Values.typeName(callee) + " cannot be called");
        };
    }

    Object filter(String name, Object value, Args args) {
        return Filters.apply(name, this, value, args);
    }

    boolean test(String name, Object value, Args args) {
        return Tests.apply(name, value, args, limits);
    }

    /** {@code object.name}: the method or attribute of this name; if there is none, the item. */
    Object attribute(Object object, String name) {
        Object attribute = ownAttribute(object, name);
        if (attribute == null && object instanceof Map<?, ?> map) {
            attribute = map.get(name);
        }
        return attribute == null ? Values.attributeOf(object, name) : attribute;
    }

    /** {@code object[key]}: the item; if there is none, the attribute of this name. */
    Object item(Object object, Object key) {
        if (object instanceof Undefined undefined) {
            throw undefined.error();
        }
        Object item = Values.item(object, key, limits);
        if (item == null && key instanceof String name) {
            item = ownAttribute(object, name);
        }
        return item == null
                ? new Undefined("'" + Values.typeName(object) + " object' has no item " + Text.repr(key, limits))
                : item;
    }

    /** {@code object|attr("name")}: an attribute, never an item. */
    Object attributeOnly(Object object, String name) {
        Object attribute = ownAttribute(object, name);
        return attribute == null ? Values.attributeOf(object, name) : attribute;
    }

    private @Nullable Object ownAttribute(Object object, String name) {
        return switch (object) {
            case Undefined undefined -> throw undefined.error();
            case Namespace namespace -> namespace.attributes().get(name);
            case Loop loop -> loop.attribute(name);
            case Macro macro -> macro.attribute(name);
            case Cycler cycler -> cycler.attribute(name);
            case Tuple tuple when !tuple.names().isEmpty() -> tuple.named(name);
            default -> Methods.find(object, name, limits);
        };
    }
}
