package quire.bench.agents;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import quire.bench.client.HttpSocket;
import quire.bench.client.ServerAddress;
import quire.cli.output.Json;
import quire.engine.chat.Tool;
import quire.engine.chat.ToolCallFormat;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Constraints;
import quire.engine.constrain.InvalidConstraintException;

/**
 * Replays the two turns of captured requests, and measures the second one with and without what the first one left in the
 * prefix cache.
 *
 * <pre>
 *   words a    turn 2                                 nothing of it is cached
 *   words b    turn 1  turn 2  turn 2                 all whole pages of turn 1 are cached; then those of turn 2
 *   words c    turn 1  side requests  turn 2          the same, if they have evicted nothing of it
 * </pre>
 *
 * <p>An answer has one token, so its time is the time to the first token. Tokens are those that the answers count, so other
 * servers can be measured too.
 */
final class AgentsBench {
    private static final Duration TIMEOUT = Duration.ofMinutes(10);
    private static final double NANO = 1e-9;
    private static final double MICRO = 1e-3;

    /** How often tools are compiled; the median counts. */
    private static final int REPEATS = 21;

    /** How often tools are found again: so often that Java has compiled the code. */
    private static final int FINDS = 300;

    /** The first requests of a server. */
    private static final int FIRST = 10;

    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    private final ServerAddress server;
    private final String model;
    private final long seed;

    /**
     * Measures a server that has no other requests.
     *
     * @param model the name of its model
     * @param seed of the made-up words, none of which the server may have seen
     */
    AgentsBench(ServerAddress server, String model, long seed) {
        this.server = server;
        this.model = model;
        this.seed = seed;
    }

    /**
     * Measures one program.
     *
     * @param sides requests that it, or another program, sends between its turns
     * @return columns with units in their names
     * @throws IOException if the server refuses a request; the message has its answer
     */
    Map<String, Object> turns(Capture capture, List<Capture> sides) throws IOException {
        Answered cold = ask(capture, capture.turn(2, model, seed));
        ask(capture, capture.turn(1, model, seed + 1));
        Answered warm = ask(capture, capture.turn(2, model, seed + 1));
        Answered again = ask(capture, capture.turn(2, model, seed + 1));
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("program", capture.name());
        row.put("body_bytes", capture.bytes());
        row.put("prompt_tokens", warm.promptTokens);
        putCached(row, "cached_tokens", warm);
        row.put("first_token_seconds_cold", cold.seconds);
        row.put("first_token_seconds_cached", warm.seconds);
        row.put("speedup", cold.seconds / warm.seconds);
        putCached(row, "cached_tokens_retried", again);
        row.put("first_token_seconds_retried", again.seconds);
        if (!sides.isEmpty()) {
            ask(capture, capture.turn(1, model, seed + 2));
            for (Capture side : sides) {
                ask(side, side.turn(2, model, seed + 2));
            }
            Answered after = ask(capture, capture.turn(2, model, seed + 2));
            row.put("side_requests", sides.stream().map(Capture::name).toList());
            putCached(row, "cached_tokens_after_side", after);
            row.put("first_token_seconds_after_side", after.seconds);
        }
        return row;
    }

    /**
     * Measures the first requests of a server that has just become ready, one after the other: the first turn of a program,
     * each time with other words.
     *
     * @return columns with units in their names
     */
    Map<String, Object> firstRequests(Capture capture) throws IOException {
        double[] seconds = new double[FIRST];
        for (int i = 0; i < FIRST; i++) {
            seconds[i] = ask(capture, capture.turn(1, model, seed - 1 - i)).seconds;
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("program", capture.name());
        row.put("first_seconds", seconds[0]);
        row.put("second_seconds", seconds[1]);
        row.put("tenth_seconds", seconds[FIRST - 1]);
        return row;
    }

    /**
     * An answer of one token.
     *
     * @param cachedTokens null if the API does not tell them
     */
    record Answered(
            double seconds, long promptTokens, @Nullable Long cachedTokens) {
        /** Reads the counts as any of the APIs has them. */
        static Answered of(double seconds, Map<String, ?> answer) {
            Map<?, ?> usage = answer.get("usage") instanceof Map<?, ?> counts ? counts : answer;
            Long read = number(usage, "cache_read_input_tokens");
            Long cached = read;
            for (String details : List.of("prompt_tokens_details", "input_tokens_details")) {
                if (usage.get(details) instanceof Map<?, ?> counts) {
                    cached = number(counts, "cached_tokens");
                }
            }
            long prompt = read == null ? 0 : read; // Anthropic's API counts it beside the others
            for (String name : List.of("prompt_tokens", "input_tokens", "prompt_eval_count")) {
                Long tokens = number(usage, name);
                prompt += tokens == null ? 0 : tokens;
            }
            return new Answered(seconds, prompt, cached);
        }

        private static @Nullable Long number(Map<?, ?> counts, String name) {
            return counts.get(name) instanceof Number number ? number.longValue() : null;
        }
    }

    private static void putCached(Map<String, Object> row, String name, Answered answered) {
        if (answered.cachedTokens != null) {
            row.put(name, answered.cachedTokens);
        }
    }

    private Answered ask(Capture capture, String body) throws IOException {
        String request = server.post(capture.path(), body);
        long begin = System.nanoTime();
        HttpSocket.Answer answer = HttpSocket.exchange(server, request, TIMEOUT);
        double seconds = (System.nanoTime() - begin) * NANO;
        if (answer.status() != 200) {
            throw new IOException(capture.name() + ": status " + answer.status() + ": " + answer.body());
        }
        return Answered.of(seconds, Json.read(answer.body()));
    }

    /**
     * Measures how long the constraint of a program's tools takes: the first time for this program and its first mask, the median
     * of further times, and the median of finding it under equal tools that were read again, and of beginning an answer with
     * it. Times of compilation are also given as those of the processor, which do not depend on what else the machine does.
     *
     * @return columns with units in their names
     */
    static Map<String, Object> tools(Capture capture, ToolCallFormat format, Constraints constraints) {
        long[] compile = new long[REPEATS];
        long[] processor = new long[REPEATS];
        Constraint constraint = null;
        for (int i = 0; i < REPEATS; i++) {
            List<Tool> tools = capture.tools();
            long processorBefore = THREADS.getCurrentThreadCpuTime();
            long begin = System.nanoTime();
            Constraint compiled = compile(format, tools);
            compile[i] = System.nanoTime() - begin;
            processor[i] = THREADS.getCurrentThreadCpuTime() - processorBefore;
            constraint = constraint == null ? compiled : constraint;
        }
        Map<List<Tool>, Constraint> known = new HashMap<>();
        known.put(capture.tools(), Objects.requireNonNull(constraint));
        long[] find = new long[FINDS];
        long[] begun = new long[FINDS];
        for (int i = 0; i < FINDS; i++) {
            List<Tool> tools = capture.tools();
            long begin = System.nanoTime();
            Constraint found = known.get(tools);
            find[i] = System.nanoTime() - begin;
            if (found == null) {
                throw new IllegalStateException("the tools of " + capture.name() + " were not found again");
            }
            begin = System.nanoTime();
            constraints.begin(found).mask();
            begun[i] = System.nanoTime() - begin;
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("program", capture.name());
        row.put("tools", capture.tools().size());
        row.put("compile_first_micros", compile[0] * MICRO);
        row.put("compile_first_processor_micros", processor[0] * MICRO);
        row.put("compile_micros", median(compile) * MICRO);
        row.put("compile_processor_micros", median(processor) * MICRO);
        row.put("first_mask_micros", begun[0] * MICRO);
        row.put("find_first_micros", find[0] * MICRO);
        row.put("find_micros", median(find) * MICRO);
        row.put("begin_micros", median(begun) * MICRO);
        return row;
    }

    /** As the server does: a schema that cannot be enforced becomes any object. */
    private static Constraint compile(ToolCallFormat format, List<Tool> tools) {
        try {
            return format.constraint(tools, ToolCallFormat.Choice.AUTO, true, null);
        } catch (InvalidConstraintException e) {
            List<Tool> possible = tools.stream()
                    .map(tool -> isEnforced(format, tool) ? tool : new Tool(tool.name(), Map.of("type", "object")))
                    .toList();
            return format.constraint(possible, ToolCallFormat.Choice.AUTO, true, null);
        }
    }

    private static boolean isEnforced(ToolCallFormat format, Tool tool) {
        try {
            format.checked(tool);
            return true;
        } catch (InvalidConstraintException e) {
            return false;
        }
    }

    private static long median(long[] values) {
        long[] sorted = values.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }
}
