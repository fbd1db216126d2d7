package quire.model.text.jinja;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Values.None;

/** The arguments of a call, and how they are bound to the parameters of built-in functions. */
record Args(List<Object> positional, Map<String, Object> named) {
    static final Args NONE = new Args(List.of(), Map.of());

    static Args of(Object... positional) {
        return new Args(List.of(positional), Map.of());
    }

    /** Charges the length of each text argument: the function may read all of it. */
    void charge(Limits limits) {
        for (Object argument : positional) {
            charge(argument, limits);
        }
        for (Object argument : named.values()) {
            charge(argument, limits);
        }
    }

    private static void charge(Object argument, Limits limits) {
        String text = Values.text(argument);
        if (text != null) {
            limits.chargeChars(text.length());
        }
    }

    /** The arguments after the first. */
    Args rest() {
        return new Args(positional.subList(1, positional.size()), named);
    }

    /**
     * The parameters of a function, written as names with spaces between. A {@code ?} after a name marks an optional
     * parameter. A {@code /} alone follows the parameters that cannot be named. A {@code *} alone accepts any
     * arguments; they are in {@link Bound#all}.
     */
    record Signature(List<String> names, int required, int positionalOnly, boolean anything) {
        static Signature of(String parameters) {
            List<String> names = new ArrayList<>();
            int required = 0;
            int positionalOnly = 0;
            for (String parameter : parameters.isEmpty() ? new String[0] : parameters.split(" ")) {
                if (parameter.equals("/")) {
                    positionalOnly = names.size();
                } else if (parameter.endsWith("?")) {
                    names.add(parameter.substring(0, parameter.length() - 1));
                } else if (!parameter.equals("*")) {
                    names.add(parameter);
                    required++;
                }
            }
            return new Signature(List.copyOf(names), required, positionalOnly, parameters.equals("*"));
        }

        Bound bind(String what, Args args) {
            Object[] values = new Object[names.size()];
            if (!anything) {
                if (args.positional.size() > names.size()) {
                    throw new JinjaError(
                            what + " takes at most " + names.size() + " arguments, not " + args.positional.size());
                }
                for (int i = 0; i < args.positional.size(); i++) {
                    values[i] = args.positional.get(i);
                }
                for (Map.Entry<String, Object> named : args.named.entrySet()) {
                    int i = names.indexOf(named.getKey());
                    if (i < positionalOnly || values[i] != null) {
                        throw new JinjaError(what + " does not take an argument '" + named.getKey() + "' here");
                    }
                    values[i] = named.getValue();
                }
                for (int i = 0; i < required; i++) {
                    if (values[i] == null) {
                        throw new JinjaError(what + " needs the argument '" + names.get(i) + "'");
                    }
                }
            }
            return new Bound(what, names, values, args);
        }
    }

    /** Arguments by the index of their parameter. */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    record Bound(String what, List<String> names, @Nullable Object[] values, Args all) {
        boolean has(int i) {
            return values[i] != null;
        }

        /** Whether the argument is given and is not None. */
        boolean some(int i) {
            return values[i] != null && values[i] != None.NONE;
        }

        Object get(int i) {
            return get(i, None.NONE);
        }

        Object get(int i, Object otherwise) {
            Object value = values[i];
            return value == null ? otherwise : value;
        }

        boolean truth(int i) {
            Object value = values[i];
            return value != null && Values.truth(value);
        }

        String text(int i) {
            String text = Values.text(get(i));
            if (text == null) {
                throw wrong(i, "a str");
            }
            return text;
        }

        @Nullable
        String textOrNull(int i) {
            return some(i) ? text(i) : null;
        }

        long integer(int i, long otherwise) {
            return switch (get(i, otherwise)) {
                case Long l -> l;
                case Boolean b -> b ? 1 : 0;
                default -> throw wrong(i, "an int");
            };
        }

        private JinjaError wrong(int i, String wanted) {
            Object value = get(i);
            return value instanceof Values.Undefined undefined
                    ? undefined.error()
                    : new JinjaError(
                            what + ": '" + names.get(i) + "' must be " + wanted + ", not " + Values.typeName(value));
        }
    }
}
