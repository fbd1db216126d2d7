package quire.model.text.jinja;

import java.time.Clock;
import java.time.LocalDateTime;
import java.util.ConcurrentModificationException;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.jinja.Args.Bound;
import quire.model.text.jinja.Args.Signature;
import quire.model.text.jinja.Node.Stmt;
import quire.model.text.jinja.Values.*;

/**
 * A parsed template. It has the variables and functions that transformers defines: {@code messages}, {@code tools},
 * {@code documents} (None if there are none), {@code add_generation_prompt}, {@code bos_token}, {@code eos_token};
 * {@code raise_exception}, {@code strftime_now}; and Jinja's {@code range}, {@code dict}, {@code namespace}, {@code
 * joiner}, {@code cycler}. Jinja's lipsum is missing: its text is random.
 */
public final class JinjaTemplate implements ChatTemplate {
    private final List<Stmt> body;
    private final @Nullable String bosToken;
    private final @Nullable String eosToken;
    private final Clock clock;

    /** See {@link quire.model.text.ChatTemplates#parse}. */
    public JinjaTemplate(String template, @Nullable String bosToken, @Nullable String eosToken, Clock clock) {
        try {
            this.body = Parser.parse(template);
        } catch (JinjaError e) {
            throw new ChatTemplateException("chat template, " + message(e));
        }
        this.bosToken = bosToken;
        this.eosToken = eosToken;
        this.clock = clock;
    }

    @Override
    public String render(
            List<? extends Map<String, ?>> messages,
            List<? extends Map<String, ?>> tools,
            boolean addGenerationPrompt) {
        return render(messages, tools, addGenerationPrompt, Map.of());
    }

    @Override
    public String render(
            List<? extends Map<String, ?>> messages,
            List<? extends Map<String, ?>> tools,
            boolean addGenerationPrompt,
            Map<String, ?> variables) {
        Map<String, @Nullable Object> given = new HashMap<>();
        given.put("messages", messages);
        given.put("tools", tools.isEmpty() ? null : tools);
        given.put("documents", null);
        given.put("add_generation_prompt", addGenerationPrompt);
        for (Map.Entry<String, ?> variable : variables.entrySet()) {
            String name = variable.getKey();
            if (given.containsKey(name) && !name.equals("documents")) {
                throw new ChatTemplateException("chat template: the variable '" + name + "' cannot be given twice");
            }
            given.put(name, variable.getValue());
        }
        if (bosToken != null) {
            given.putIfAbsent("bos_token", bosToken);
        }
        if (eosToken != null) {
            given.putIfAbsent("eos_token", eosToken);
        }
        return render(given);
    }

    /** Renders with only these variables. */
    String render(Map<String, ? extends @Nullable Object> variables) {
        Limits limits = new Limits();
        Interpreter interpreter = new Interpreter(limits);
        Map<String, Object> globals = new HashMap<>(functions(limits));
        try {
            variables.forEach((name, value) -> globals.put(name, Values.fromJava(value, limits, 0)));
            return interpreter.render(body, globals);
        } catch (JinjaError e) {
            throw new ChatTemplateException("chat template, line " + interpreter.line() + ": " + message(e));
        } catch (ConcurrentModificationException e) {
            throw new ChatTemplateException(
                    "chat template, line " + interpreter.line() + ": it changes a list while it reads it");
        } catch (StackOverflowError e) {
            // The depth is limited, but the caller may have left little stack.
            throw new ChatTemplateException("chat template, line " + interpreter.line() + ": nested too deep");
        }
    }

    private static String message(JinjaError error) {
        String message = String.valueOf(error.getMessage());
        return message.length() <= Limits.ERROR_CHARS ? message : message.substring(0, Limits.ERROR_CHARS) + "…";
    }

    private Map<String, Callable> functions(Limits limits) {
        return Map.of(
                "raise_exception",
                        args -> {
                            Bound bound = Signature.of("message").bind("raise_exception", args);
                            throw new JinjaError("the template refuses: " + Text.str(bound.get(0), limits));
                        },
                "strftime_now",
                        args -> Strftime.format(
                                LocalDateTime.now(clock),
                                Signature.of("format")
                                        .bind("strftime_now", args)
                                        .text(0)),
                "range", args -> range(Signature.of("start stop? step? /").bind("range", args)),
                "dict", args -> dict(args, limits),
                "namespace",
                        args -> {
                            Map<String, Object> attributes = new LinkedHashMap<>();
                            dict(args, limits).forEach((key, value) -> attributes.put(Text.str(key, limits), value));
                            return new Namespace(attributes);
                        },
                "cycler",
                        args -> {
                            if (args.positional().isEmpty() || !args.named().isEmpty()) {
                                throw new JinjaError("cycler takes at least one item, and no names");
                            }
                            return new Cycler(List.copyOf(args.positional()));
                        },
                "joiner",
                        args -> {
                            Object separator =
                                    Signature.of("sep?").bind("joiner", args).get(0, ", ");
                            boolean[] used = {false};
                            return (Callable) none -> {
                                Object text = used[0] ? separator : "";
                                used[0] = true;
                                return text;
                            };
                        });
    }

    private static Range range(Bound args) {
        long start = args.has(1) ? args.integer(0, 0) : 0;
        long stop = args.has(1) ? args.integer(1, 0) : args.integer(0, 0);
        long step = args.integer(2, 1);
        if (step == 0) {
            throw new JinjaError("range with a step of 0");
        }
        boolean tooLong = Math.abs((double) stop - start) / Math.abs((double) step) > Limits.RANGE_LENGTH;
        boolean tooFar = Math.max(Math.max(Math.abs(start), Math.abs(stop)), Math.abs(step)) > Long.MAX_VALUE / 4
                || start == Long.MIN_VALUE
                || stop == Long.MIN_VALUE
                || step == Long.MIN_VALUE;
        if (tooFar || (tooLong && stop > start == step > 0)) {
            throw new JinjaError("a range of more than " + Limits.RANGE_LENGTH + " or beyond 62 bits");
        }
        return new Range(start, stop, step);
    }

    private static Map<Object, Object> dict(Args args, Limits limits) {
        Map<Object, Object> dict = new LinkedHashMap<>();
        Bound bound = Signature.of("mapping? /").bind("dict", new Args(args.positional(), Map.of()));
        if (bound.get(0) instanceof Map<?, ?> map) {
            limits.charge(map.size());
            dict.putAll(map);
        } else if (bound.has(0)) {
            for (Object pair : Values.toList(bound.get(0), limits)) {
                List<Object> items = Values.toList(pair, limits);
                if (items.size() != 2) {
                    throw new JinjaError("dict takes a dict or a list of pairs");
                }
                dict.put(Values.storedKey(items.get(0), limits), items.get(1));
            }
        }
        dict.putAll(args.named());
        return dict;
    }
}
