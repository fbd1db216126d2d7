package quire.model.text.jinja;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** The syntax tree of a template. Expressions have a value; statements write text. Immutable. */
sealed interface Node {
    sealed interface Expr extends Node {}

    record Const(Object value) implements Expr {}

    record Name(String name, int line) implements Expr {}

    record ListLiteral(List<Expr> items) implements Expr {}

    record TupleLiteral(List<Expr> items) implements Expr {}

    record DictLiteral(List<Expr> keys, List<Expr> values, int line) implements Expr {}

    /** {@code then if test else otherwise}; without else the value is undefined. */
    record Conditional(Expr test, Expr then, @Nullable Expr otherwise) implements Expr {}

    record And(Expr left, Expr right) implements Expr {}

    record Or(Expr left, Expr right) implements Expr {}

    record Not(Expr operand) implements Expr {}

    /** {@code first op[0] operand[0] op[1] operand[1] …}: as in Python, each term is compared with the next one. */
    record Compare(Expr first, List<String> operators, List<Expr> operands, int line) implements Expr {}

    record Unary(char operator, Expr operand, int line) implements Expr {}

    record Binary(String operator, Expr left, Expr right, int line) implements Expr {}

    /** {@code a ~ b ~ c} */
    record Concat(List<Expr> parts) implements Expr {}

    record Attribute(Expr object, String name, int line) implements Expr {}

    record Item(Expr object, Expr key, int line) implements Expr {}

    record Slice(
            Expr object,
            @Nullable Expr start,
            @Nullable Expr stop,
            @Nullable Expr step,
            int line) implements Expr {}

    record Call(Expr callee, Arguments arguments, int line) implements Expr {}

    record Filtered(Expr input, FilterCall filter) implements Expr {}

    record Tested(Expr input, String test, Arguments arguments, int line) implements Expr {}

    record FilterCall(String name, Arguments arguments, int line) {}

    record Keyword(String name, Expr value) {}

    /** {@code (positional…, named=…, *star, **doubleStar)} */
    record Arguments(
            List<Expr> positional,
            List<Keyword> named,
            @Nullable Expr star,
            @Nullable Expr doubleStar) {
        static final Arguments NONE = new Arguments(List.of(), List.of(), null, null);

        boolean isEmpty() {
            return positional.isEmpty() && named.isEmpty() && star == null && doubleStar == null;
        }
    }

    /** The target of an assignment. */
    sealed interface Target {}

    record NameTarget(String name) implements Target {}

    record NamespaceTarget(String namespace, String attribute) implements Target {}

    record TupleTarget(List<Target> items) implements Target {}

    sealed interface Stmt extends Node {}

    record Data(String text) implements Stmt {}

    record Output(Expr value, int line) implements Stmt {}

    record Branch(Expr test, List<Stmt> body) {}

    record If(List<Branch> branches, List<Stmt> otherwise, int line) implements Stmt {}

    record For(
            Target target,
            Expr iterable,
            @Nullable Expr condition,
            boolean recursive,
            List<Stmt> body,
            List<Stmt> otherwise,
            int line)
            implements Stmt {}

    record Assign(Target target, Expr value, int line) implements Stmt {}

    record AssignBlock(Target target, List<FilterCall> filters, List<Stmt> body, int line) implements Stmt {}

    record With(List<Target> targets, List<Expr> values, List<Stmt> body, int line) implements Stmt {}

    record Parameter(String name, @Nullable Expr defaultValue) {}

    /**
     * {@code usesCaller} and the others: whether the body contains these names. Jinja decides by them what a macro
     * accepts.
     */
    record MacroBody(
            String name,
            List<Parameter> parameters,
            List<Stmt> body,
            boolean usesCaller,
            boolean usesKwargs,
            boolean usesVarargs) {}

    record MacroDefinition(MacroBody macro, int line) implements Stmt {}

    record CallBlock(Call call, MacroBody caller, int line) implements Stmt {}

    record FilterBlock(List<FilterCall> filters, List<Stmt> body, int line) implements Stmt {}

    /** {@code {% generation %}}: marks text of the assistant for training. The body has its own scope. */
    record Generation(List<Stmt> body) implements Stmt {}

    /** A block that is not supported. It is an error only if it is reached. */
    record Unsupported(String message, int line) implements Stmt {}

    record Break() implements Stmt {}

    record Continue() implements Stmt {}
}
