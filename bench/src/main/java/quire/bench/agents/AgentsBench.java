package quire.bench.agents;

import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.bench.client.HttpSocket;
import quire.bench.client.Metrics;
import quire.bench.client.ServerAddress;
import quire.engine.chat.Tool;
import quire.engine.chat.ToolCallFormat;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;

/**
 * Replays the two turns of captured requests, and measures the second one with and without what the first one left in the
 * prefix cache.
 *
 * <pre>
 *   words a    turn 2                 nothing of it is cached
 *   words b    turn 1  turn 2         all whole pages of turn 1 are cached
 * </pre>
 *
 * <p>An answer has one token, so its time is the time to the first token.
 */
final class AgentsBench {
    private static final Duration TIMEOUT = Duration.ofMinutes(10);
    private static final double NANO = 1e-9;
    private static final double MICRO = 1e-3;

    /** How often tools are compiled; the median counts. */
    private static final int REPEATS = 21;

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
     * @return columns with units in their names
     * @throws IOException if the server refuses a request; the message has its answer
     */
    Map<String, Object> turns(Capture capture) throws IOException {
        double cold = seconds(capture, 2, seed);
        seconds(capture, 1, seed + 1);
        Metrics before = Metrics.of(server);
        double warm = seconds(capture, 2, seed + 1);
        Metrics after = Metrics.of(server);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("program", capture.name());
        row.put("body_bytes", capture.bytes());
        row.put("prompt_tokens", difference(before, after, "quire_prefix_cache_queries_total"));
        row.put("cached_tokens", difference(before, after, "quire_prefix_cache_hits_total"));
        row.put("first_token_seconds_cold", cold);
        row.put("first_token_seconds_cached", warm);
        row.put("speedup", cold / warm);
        return row;
    }

    private static long difference(Metrics before, Metrics after, String name) {
        return Math.round(after.value(name) - before.value(name));
    }

    private double seconds(Capture capture, int turn, long words) throws IOException {
        String request = server.post(capture.path(), capture.turn(turn, model, words));
        long begin = System.nanoTime();
        HttpSocket.Answer answer = HttpSocket.exchange(server, request, TIMEOUT);
        double seconds = (System.nanoTime() - begin) * NANO;
        if (answer.status() != 200) {
            throw new IOException(
                    capture.name() + ", turn " + turn + ": status " + answer.status() + ": " + answer.body());
        }
        return seconds;
    }

    /**
     * Measures how long the constraint of a program's tools takes: the first time for this program, the median of further
     * times, and the median of finding it under equal tools that were read again.
     *
     * @return columns with units in their names
     */
    static Map<String, Object> tools(Capture capture, ToolCallFormat format) {
        long[] compile = new long[REPEATS];
        long[] find = new long[REPEATS];
        Map<List<Tool>, Constraint> known = new HashMap<>();
        for (int i = 0; i < REPEATS; i++) {
            List<Tool> tools = capture.tools();
            long begin = System.nanoTime();
            Constraint constraint = compile(format, tools);
            compile[i] = System.nanoTime() - begin;
            known.put(tools, constraint);
            List<Tool> again = capture.tools();
            begin = System.nanoTime();
            Constraint found = known.get(again);
            find[i] = System.nanoTime() - begin;
            if (found == null) {
                throw new IllegalStateException("the tools of " + capture.name() + " were not found again");
            }
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("program", capture.name());
        row.put("tools", capture.tools().size());
        row.put("compile_first_micros", compile[0] * MICRO);
        row.put("compile_micros", median(compile) * MICRO);
        row.put("find_micros", median(find) * MICRO);
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
