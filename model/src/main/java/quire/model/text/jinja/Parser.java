package quire.model.text.jinja;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Node.*;
import quire.model.text.jinja.Token.Kind;

/**
 * A recursive descent parser with one method for each level of Jinja's grammar. In order of precedence, lowest first:
 * {@code a if b else c}, or, and, not, comparisons, + -, ~, * / // %, **, unary signs, and what can follow a value
 * (attributes, items, calls, filters, tests).
 *
 * <p>An unknown filter or test, or a block that loads another template, is an error when the template is parsed. As in
 * Jinja, inside of an {@code if} or a conditional expression it is an error only when it is reached.
 */
final class Parser {
    private static final Set<String> UNSUPPORTED_BLOCKS = Set.of("autoescape", "block", "do", "trans", "debug");
    private static final Set<String> TEST_ARGUMENT_STOPS = Set.of("else", "or", "and", "is");

    private final List<Token> tokens;
    private int at;
    private int nesting;
    private int loops;
    /** Unknown names outside of any branch, each as the error that names its line. */
    private final List<JinjaError> unknown = new ArrayList<>();
    /** The special names that the enclosing macros have used so far, innermost macro first. */
    private final Deque<Set<String>> macros = new ArrayDeque<>();

    private Parser(List<Token> tokens) {
        this.tokens = tokens;
    }

    static List<Stmt> parse(String template) {
        if (template.length() > Limits.TEMPLATE_CHARS) {
            throw new JinjaError("the template has more than " + Limits.TEMPLATE_CHARS + " characters");
        }
        Parser parser = new Parser(Lexer.tokenize(template));
        try {
            List<Stmt> body = parser.body(Set.of());
            if (!parser.current().is(Kind.EOF)) {
                throw parser.unexpected("a statement");
            }
            if (!parser.unknown.isEmpty()) {
                throw parser.unknown.getFirst();
            }
            return body;
        } catch (JinjaError e) {
            throw parser.unknown.contains(e)
                    ? e
                    : new JinjaError("line " + parser.current().line() + ": " + e.getMessage());
        }
    }

    private void requireKnown(boolean exists, String what, String name) {
        if (!exists) {
            unknown.add(new JinjaError("line " + current().line() + ": " + what + " '" + name + "' is not supported"));
        }
    }

    /** Parses a branch, where an unknown name is an error only when it is reached. */
    private <T> T branch(Supplier<T> part) {
        int before = unknown.size();
        T result = part.get();
        unknown.subList(before, unknown.size()).clear();
        return result;
    }

    // ---- tokens

    private Token current() {
        return tokens.get(at);
    }

    private Token peek() {
        return tokens.get(Math.min(at + 1, tokens.size() - 1));
    }

    private Token next() {
        Token token = current();
        at = Math.min(at + 1, tokens.size() - 1);
        return token;
    }

    private boolean skipName(String name) {
        return current().isName(name) && next() != null;
    }

    private boolean skipOperator(String operator) {
        return current().isOperator(operator) && next() != null;
    }

    private void expectOperator(String operator) {
        if (!skipOperator(operator)) {
            throw unexpected("'" + operator + "'");
        }
    }

    private void expectName(String name) {
        if (!skipName(name)) {
            throw unexpected("'" + name + "'");
        }
    }

    private Token expect(Kind kind, String what) {
        if (!current().is(kind)) {
            throw unexpected(what);
        }
        return next();
    }

    private JinjaError unexpected(String wanted) {
        return new JinjaError("expected " + wanted + ", found " + current().describe());
    }

    private <T> T nested(Supplier<T> part) {
        if (++nesting > Limits.PARSE_NESTING) {
            throw new JinjaError("nested deeper than " + Limits.PARSE_NESTING);
        }
        T result = part.get();
        nesting--;
        return result;
    }

    private static int link(int length) {
        if (length >= Limits.CHAIN_LENGTH) {
            throw new JinjaError("an expression of more than " + Limits.CHAIN_LENGTH + " parts");
        }
        return length + 1;
    }

    // ---- statements

    /**
     * Statements up to a block that begins with one of {@code ends}. The name of that block is then the current token.
     */
    private List<Stmt> body(Set<String> ends) {
        List<Stmt> body = new ArrayList<>();
        while (true) {
            Token token = current();
            switch (token.kind()) {
                case EOF -> {
                    if (!ends.isEmpty()) {
                        throw new JinjaError("the template ends where one of "
                                + ends.stream().sorted().toList() + " is missing");
                    }
                    return List.copyOf(body);
                }
                case DATA -> body.add(new Data(next().text()));
                case OUTPUT_BEGIN -> {
                    next();
                    body.add(new Output(tuple(true, ""), token.line()));
                    expect(Kind.OUTPUT_END, "'}}'");
                }
                default -> {
                    next();
                    if (current().is(Kind.NAME) && ends.contains(current().text())) {
                        return List.copyOf(body);
                    }
                    body.add(nested(this::statement));
                    expect(Kind.BLOCK_END, "'%}'");
                }
            }
        }
    }

    /** The rest of the opening tag of a block, then its body up to one of {@code ends}. */
    private List<Stmt> block(String... ends) {
        skipOperator(":");
        expect(Kind.BLOCK_END, "'%}'");
        return body(Set.of(ends));
    }

    private List<Stmt> blockThrough(String end) {
        List<Stmt> body = block(end);
        next();
        return body;
    }

    private Stmt statement() {
        Token tag = expect(Kind.NAME, "the name of a block");
        int line = tag.line();
        return switch (tag.text()) {
            case "if" -> branch(() -> ifStatement(line));
            case "for" -> forStatement(line);
            case "set" -> setStatement(line);
            case "macro" -> macro(line);
            case "call" -> callBlock(line);
            case "filter" -> {
                List<FilterCall> filters = new ArrayList<>();
                do {
                    filters.add(filterCall());
                } while (skipOperator("|"));
                yield new FilterBlock(List.copyOf(filters), blockThrough("endfilter"), line);
            }
            case "with" -> with(line);
            case "generation" -> new Generation(inMacro(() -> blockThrough("endgeneration"), new HashSet<>()));
            case "break", "continue" -> {
                if (loops == 0) {
                    throw new JinjaError("'" + tag.text() + "' outside of a loop");
                }
                yield tag.text().equals("break") ? new Break() : new Continue();
            }
            case "extends", "from", "import", "include" -> {
                String message = "block '" + tag.text() + "' is not supported in chat templates";
                unknown.add(new JinjaError("line " + line + ": " + message));
                while (!current().is(Kind.BLOCK_END) && !current().is(Kind.EOF)) {
                    next();
                }
                yield new Unsupported(message, line);
            }
            default ->
                throw new JinjaError("block '" + tag.text() + "' is "
                        + (UNSUPPORTED_BLOCKS.contains(tag.text())
                                ? "not supported in chat templates"
                                : "unknown here"));
        };
    }

    private If ifStatement(int line) {
        List<Branch> branches = new ArrayList<>();
        List<Stmt> otherwise = List.of();
        while (true) {
            Expr test = tuple(false, "");
            branches.add(new Branch(test, block("elif", "else", "endif")));
            String end = next().text();
            if (end.equals("elif")) {
                continue;
            }
            if (end.equals("else")) {
                otherwise = blockThrough("endif");
            }
            return new If(List.copyOf(branches), otherwise, line);
        }
    }

    private For forStatement(int line) {
        Target target = target("in");
        if (names(target).contains("loop")) {
            throw new JinjaError("'loop' cannot be the variable of a for loop");
        }
        expectName("in");
        Expr iterable = tuple(false, "recursive");
        Expr condition = skipName("if") ? expression() : null;
        boolean recursive = skipName("recursive");
        loops++;
        List<Stmt> body = block("endfor", "else");
        loops--;
        List<Stmt> otherwise = next().text().equals("else") ? blockThrough("endfor") : List.of();
        return new For(target, iterable, condition, recursive, body, otherwise, line);
    }

    private Stmt setStatement(int line) {
        Target target = target("");
        if (skipOperator("=")) {
            return new Assign(target, tuple(true, ""), line);
        }
        List<FilterCall> filters = new ArrayList<>();
        while (skipOperator("|")) {
            filters.add(filterCall());
        }
        return new AssignBlock(target, List.copyOf(filters), blockThrough("endset"), line);
    }

    private With with(int line) {
        List<Target> targets = new ArrayList<>();
        List<Expr> values = new ArrayList<>();
        while (!current().is(Kind.BLOCK_END) && !current().isOperator(":")) {
            if (!targets.isEmpty()) {
                expectOperator(",");
            }
            targets.add(new NameTarget(expect(Kind.NAME, "a name").text()));
            expectOperator("=");
            values.add(expression());
        }
        return new With(List.copyOf(targets), List.copyOf(values), blockThrough("endwith"), line);
    }

    private MacroDefinition macro(int line) {
        String name = expect(Kind.NAME, "the name of the macro").text();
        return new MacroDefinition(macroBody(name, parameters(), "endmacro"), line);
    }

    private CallBlock callBlock(int line) {
        List<Parameter> parameters = current().isOperator("(") ? parameters() : List.of();
        if (!(expression() instanceof Call call)) {
            throw new JinjaError("'call' needs a call such as name(…)");
        }
        return new CallBlock(call, macroBody("caller", parameters, "endcall"), line);
    }

    private List<Parameter> parameters() {
        List<Parameter> parameters = new ArrayList<>();
        expectOperator("(");
        while (!skipOperator(")")) {
            if (!parameters.isEmpty()) {
                expectOperator(",");
            }
            String name = expect(Kind.NAME, "the name of a parameter").text();
            if (skipOperator("=")) {
                parameters.add(new Parameter(name, expression()));
            } else if (!parameters.isEmpty() && parameters.getLast().defaultValue() != null) {
                throw new JinjaError("parameter '" + name + "' needs a default, for the one before it has one");
            } else {
                parameters.add(new Parameter(name, null));
            }
        }
        return List.copyOf(parameters);
    }

    private MacroBody macroBody(String name, List<Parameter> parameters, String end) {
        Set<String> used = new HashSet<>();
        List<Stmt> body = inMacro(() -> blockThrough(end), used);
        return new MacroBody(
                name, parameters, body, used.contains("caller"), used.contains("kwargs"), used.contains("varargs"));
    }

    private List<Stmt> inMacro(Supplier<List<Stmt>> body, Set<String> used) {
        int outerLoops = loops;
        loops = 0;
        macros.push(used);
        List<Stmt> result = body.get();
        macros.pop();
        loops = outerLoops;
        return result;
    }

    /**
     * The target of an assignment, up to the name {@code end}: a name, namespace.attribute, or several with commas
     * between.
     */
    private Target target(String end) {
        List<Target> items = new ArrayList<>();
        boolean tuple = false;
        while (!current().isName(end)
                && !current().isOperator("=")
                && !current().isOperator(")")) {
            items.add(simpleTarget());
            if (!skipOperator(",")) {
                break;
            }
            tuple = true;
        }
        if (items.isEmpty()) {
            throw unexpected("a name");
        }
        return tuple ? new TupleTarget(List.copyOf(items)) : items.getFirst();
    }

    private Target simpleTarget() {
        if (skipOperator("(")) {
            Target inner = nested(() -> target(""));
            expectOperator(")");
            return inner;
        }
        Token name = expect(Kind.NAME, "a name");
        if (Set.of("true", "false", "none", "True", "False", "None").contains(name.text())) {
            throw new JinjaError("cannot assign to '" + name.text() + "'");
        }
        return skipOperator(".")
                ? new NamespaceTarget(name.text(), expect(Kind.NAME, "a name").text())
                : new NameTarget(name.text());
    }

    private static List<String> names(Target target) {
        return switch (target) {
            case NameTarget name -> List.of(name.name());
            case NamespaceTarget namespace -> List.of();
            case TupleTarget tuple ->
                tuple.items().stream().flatMap(item -> names(item).stream()).toList();
        };
    }

    // ---- expressions

    /** One expression, or a tuple of several expressions with commas between. */
    private Expr tuple(boolean conditional, String endName) {
        List<Expr> items = new ArrayList<>();
        boolean comma = false;
        while (!tupleEnd(endName)) {
            items.add(conditional ? expression() : nested(this::or));
            if (!skipOperator(",")) {
                break;
            }
            comma = true;
        }
        if (items.isEmpty()) {
            throw unexpected("an expression");
        }
        return comma ? new TupleLiteral(List.copyOf(items)) : items.getFirst();
    }

    private boolean tupleEnd(String endName) {
        Token token = current();
        return token.is(Kind.OUTPUT_END) || token.is(Kind.BLOCK_END) || token.isOperator(")") || token.isName(endName);
    }

    private Expr expression() {
        return nested(this::conditional);
    }

    private Expr conditional() {
        int before = unknown.size();
        Expr value = or();
        int length = 0;
        while (skipName("if")) {
            length = link(length);
            Expr test = or();
            value = new Conditional(test, value, skipName("else") ? nested(this::conditional) : null);
            unknown.subList(before, unknown.size()).clear();
        }
        return value;
    }

    private Expr or() {
        Expr left = and();
        for (int length = 0; skipName("or"); length = link(length)) {
            left = new Or(left, and());
        }
        return left;
    }

    private Expr and() {
        Expr left = not();
        for (int length = 0; skipName("and"); length = link(length)) {
            left = new And(left, not());
        }
        return left;
    }

    private Expr not() {
        return skipName("not") ? new Not(nested(this::not)) : compare();
    }

    private Expr compare() {
        int line = current().line();
        Expr first = sum();
        List<String> operators = new ArrayList<>();
        List<Expr> operands = new ArrayList<>();
        for (String operator = comparison(); operator != null; operator = comparison()) {
            operators.add(operator);
            operands.add(sum());
        }
        return operators.isEmpty() ? first : new Compare(first, List.copyOf(operators), List.copyOf(operands), line);
    }

    private @Nullable String comparison() {
        Token token = current();
        if (token.is(Kind.OPERATOR) && Set.of("==", "!=", "<", "<=", ">", ">=").contains(token.text())) {
            return next().text();
        }
        if (skipName("in")) {
            return "in";
        }
        if (token.isName("not") && peek().isName("in")) {
            next();
            next();
            return "not in";
        }
        return null;
    }

    private Expr binary(Supplier<Expr> operand, Set<String> operators) {
        Expr left = operand.get();
        for (int length = 0;
                current().is(Kind.OPERATOR) && operators.contains(current().text());
                length = link(length)) {
            Token operator = next();
            left = new Binary(operator.text(), left, operand.get(), operator.line());
        }
        return left;
    }

    private Expr sum() {
        return binary(this::concat, Set.of("+", "-"));
    }

    private Expr concat() {
        Expr first = product();
        if (!current().isOperator("~")) {
            return first;
        }
        List<Expr> parts = new ArrayList<>(List.of(first));
        while (skipOperator("~")) {
            parts.add(product());
        }
        return new Concat(List.copyOf(parts));
    }

    private Expr product() {
        return binary(this::power, Set.of("*", "/", "//", "%"));
    }

    private Expr power() {
        return binary(() -> unary(true), Set.of("**"));
    }

    private Expr unary(boolean withFilters) {
        Token token = current();
        Expr value;
        if (token.isOperator("-") || token.isOperator("+")) {
            next();
            value = new Unary(token.text().charAt(0), nested(() -> unary(false)), token.line());
        } else {
            value = primary();
        }
        value = postfix(value);
        return withFilters ? filtersAndTests(value) : value;
    }

    private Expr primary() {
        Token token = next();
        return switch (token.kind()) {
            case NAME ->
                switch (token.text()) {
                    case "true", "True" -> new Const(true);
                    case "false", "False" -> new Const(false);
                    case "none", "None" -> new Const(Values.None.NONE);
                    default -> {
                        if (Set.of("caller", "kwargs", "varargs").contains(token.text())) {
                            macros.forEach(used -> used.add(token.text()));
                        }
                        yield new Name(token.text(), token.line());
                    }
                };
            case STRING -> {
                StringBuilder text = new StringBuilder((String) token.value());
                while (current().is(Kind.STRING)) {
                    text.append((String) next().value());
                }
                yield new Const(text.toString());
            }
            case INTEGER, FLOAT -> new Const(token.value());
            case OPERATOR ->
                switch (token.text()) {
                    case "(" -> {
                        Expr inner = skipOperator(")") ? new TupleLiteral(List.of()) : parenthesized();
                        yield inner;
                    }
                    case "[" -> new ListLiteral(items("]"));
                    case "{" -> dict(token.line());
                    default -> throw unexpectedToken(token);
                };
            default -> throw unexpectedToken(token);
        };
    }

    private JinjaError unexpectedToken(Token token) {
        at--;
        return new JinjaError("expected an expression, found " + token.describe());
    }

    private Expr parenthesized() {
        Expr inner = tuple(true, "");
        expectOperator(")");
        return inner;
    }

    private List<Expr> items(String close) {
        List<Expr> items = new ArrayList<>();
        while (!skipOperator(close)) {
            if (!items.isEmpty()) {
                expectOperator(",");
                if (skipOperator(close)) {
                    break;
                }
            }
            items.add(expression());
        }
        return List.copyOf(items);
    }

    private DictLiteral dict(int line) {
        List<Expr> keys = new ArrayList<>();
        List<Expr> values = new ArrayList<>();
        while (!skipOperator("}")) {
            if (!keys.isEmpty()) {
                expectOperator(",");
                if (skipOperator("}")) {
                    break;
                }
            }
            keys.add(expression());
            expectOperator(":");
            values.add(expression());
        }
        return new DictLiteral(List.copyOf(keys), List.copyOf(values), line);
    }

    private Expr postfix(Expr value) {
        Expr result = value;
        for (int length = 0; ; length = link(length)) {
            Token token = current();
            if (token.isOperator(".")) {
                next();
                result = attribute(result, token.line());
            } else if (token.isOperator("[")) {
                next();
                result = subscript(result, token.line());
            } else if (token.isOperator("(")) {
                result = call(result);
            } else {
                return result;
            }
        }
    }

    private Expr attribute(Expr object, int line) {
        if (current().is(Kind.INTEGER)) {
            return new Item(object, new Const(next().value()), line);
        }
        return new Attribute(
                object, expect(Kind.NAME, "a name or a number behind '.'").text(), line);
    }

    private Expr subscript(Expr object, int line) {
        Expr start = current().isOperator(":") ? null : expression();
        if (start != null && !current().isOperator(":")) {
            Expr key = start;
            if (current().isOperator(",")) {
                List<Expr> keys = new ArrayList<>(List.of(start));
                while (skipOperator(",") && !current().isOperator("]")) {
                    keys.add(expression());
                }
                key = new TupleLiteral(List.copyOf(keys));
            }
            expectOperator("]");
            return new Item(object, key, line);
        }
        expectOperator(":");
        Expr stop = current().isOperator(":") || current().isOperator("]") ? null : expression();
        Expr step = skipOperator(":") && !current().isOperator("]") ? expression() : null;
        expectOperator("]");
        return new Slice(object, start, stop, step, line);
    }

    private Expr call(Expr callee) {
        int line = current().line();
        if (callee instanceof Attribute attribute) {
            requireKnown(!Methods.UNSUPPORTED.contains(attribute.name()), "method", attribute.name());
        }
        return new Call(callee, arguments(), line);
    }

    private Arguments arguments() {
        List<Expr> positional = new ArrayList<>();
        List<Keyword> named = new ArrayList<>();
        Expr star = null;
        Expr doubleStar = null;
        expectOperator("(");
        boolean first = true;
        while (!skipOperator(")")) {
            if (!first) {
                expectOperator(",");
                if (skipOperator(")")) {
                    break;
                }
            }
            first = false;
            if (skipOperator("**") && doubleStar == null) {
                doubleStar = expression();
            } else if (doubleStar == null && star == null && skipOperator("*")) {
                star = expression();
            } else if (doubleStar == null && current().is(Kind.NAME) && peek().isOperator("=")) {
                String name = next().text();
                next();
                named.add(new Keyword(name, expression()));
            } else if (doubleStar == null && star == null && named.isEmpty()) {
                positional.add(expression());
            } else {
                throw new JinjaError("positional arguments come before named ones, '*' and '**'");
            }
        }
        return new Arguments(List.copyOf(positional), List.copyOf(named), star, doubleStar);
    }

    private Expr filtersAndTests(Expr value) {
        Expr result = value;
        for (int length = 0; ; length = link(length)) {
            if (skipOperator("|")) {
                result = new Filtered(result, filterCall());
            } else if (current().isName("is")) {
                next();
                result = test(result);
            } else if (current().isOperator("(")) {
                result = call(result);
            } else {
                return result;
            }
        }
    }

    private FilterCall filterCall() {
        Token token = expect(Kind.NAME, "the name of a filter");
        String name = dotted(token);
        requireKnown(Filters.exists(name), "filter", name);
        Arguments arguments = current().isOperator("(") ? arguments() : Arguments.NONE;
        switch (name) {
            case "map" -> requireKnown(arguments, 0, "filter", Filters::exists);
            case "select", "reject" -> requireKnown(arguments, 0, "test", Tests::exists);
            case "selectattr", "rejectattr" -> requireKnown(arguments, 1, "test", Tests::exists);
            default -> {}
        }
        return new FilterCall(name, arguments, token.line());
    }

    /** Checks names of filters and tests in strings: {@code |map('trim')}, {@code |select('defined')}. */
    private void requireKnown(Arguments arguments, int index, String what, Predicate<String> exists) {
        if (arguments.positional().size() > index && arguments.positional().get(index) instanceof Const(String name)) {
            requireKnown(exists.test(name), what, name);
        }
    }

    private String dotted(Token first) {
        StringBuilder name = new StringBuilder(first.text());
        while (skipOperator(".")) {
            name.append('.').append(expect(Kind.NAME, "a name").text());
        }
        return name.toString();
    }

    private Expr test(Expr value) {
        boolean negated = skipName("not");
        Token token = expect(Kind.NAME, "the name of a test");
        String name = dotted(token);
        requireKnown(Tests.exists(name), "test", name);
        Arguments arguments = Arguments.NONE;
        if (current().isOperator("(")) {
            arguments = arguments();
        } else if (beginsTestArgument(current())) {
            arguments = new Arguments(List.of(postfix(nested(this::primary))), List.of(), null, null);
        }
        Expr tested = new Tested(value, name, arguments, token.line());
        return negated ? new Not(tested) : tested;
    }

    private static boolean beginsTestArgument(Token token) {
        return switch (token.kind()) {
            case STRING, INTEGER, FLOAT -> true;
            case OPERATOR -> token.text().equals("[") || token.text().equals("{");
            case NAME -> {
                if (token.text().equals("is")) {
                    throw new JinjaError("tests cannot be chained with 'is'");
                }
                yield !TEST_ARGUMENT_STOPS.contains(token.text());
            }
            default -> false;
        };
    }
}
