package quire.bench.attack;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import quire.bench.client.HttpSocket;
import quire.bench.client.ServerAddress;
import quire.bench.client.StreamedAnswer;
import quire.cli.output.Json;

/**
 * Clients whose answers are known. Each one asks the same request again and again and compares the answer with the one
 * that it got when it was alone: every byte must be equal, log probabilities included. Only identifiers and times are left
 * out of the comparison.
 */
final class HonestClients {
    private static final Duration TIMEOUT = Duration.ofSeconds(60);
    private static final int SHOWN_CHARS = 200;

    private final ServerAddress server;
    private final List<Known> requests;

    /** A request, its answer, and whether it is small, so that the time to its first token counts. */
    record Known(String name, String request, String answer, boolean small) {}

    /**
     * What honest clients got in a time.
     *
     * @param answers answers that came, right or wrong
     * @param faults a line for each answer that was missing, refused or different
     * @param silenceSeconds the longest time between two events of one answer
     * @param firstSeconds times to the first token of small requests
     */
    record Observed(int answers, List<String> faults, double silenceSeconds, List<Double> firstSeconds) {}

    private HonestClients(ServerAddress server, List<Known> requests) {
        this.server = server;
        this.requests = requests;
    }

    /**
     * Asks each request twice, alone.
     *
     * @param context the most tokens of a sequence
     * @throws IOException if the server refuses one, or gives two different answers
     */
    static HonestClients learn(ServerAddress server, int context) throws IOException {
        List<Known> known = new ArrayList<>();
        for (Map.Entry<String, Map<String, Object>> each : bodies(context).entrySet()) {
            boolean chat = each.getValue().containsKey("messages");
            String path = chat ? "/v1/chat/completions" : "/v1/completions";
            String request = server.post(path, Json.write(each.getValue()));
            StreamedAnswer first = ask(server, request);
            StreamedAnswer second = ask(server, request);
            if (chat && first.head().status() == 400) {
                continue; // a model without a chat template
            }
            if (!first.succeeded() || !second.succeeded()) {
                throw new IOException("the server refuses the honest request '" + each.getKey() + "', alone: "
                        + (first.succeeded() ? second : first).content().strip());
            }
            if (!first.content().equals(second.content())) {
                throw new IOException("the server gives two answers to the honest request '" + each.getKey()
                        + "', alone: " + difference(first.content(), second.content()));
            }
            known.add(new Known(
                    each.getKey(), request, first.content(), each.getKey().equals("small")));
        }
        return new HonestClients(server, known);
    }

    /** Sampled and greedy, streamed and whole, short and long. */
    private static Map<String, Map<String, Object>> bodies(int context) {
        Map<String, Map<String, Object>> bodies = new TreeMap<>();
        bodies.put(
                "small",
                Map.of("prompt", "Once upon a time", "max_tokens", 8, "temperature", 0, "stream", true, "seed", 1));
        bodies.put(
                "story",
                Map.of(
                        "prompt",
                        "Once upon a time there was a",
                        "max_tokens",
                        Math.min(128, context / 4),
                        "temperature",
                        1,
                        "seed",
                        2,
                        "logprobs",
                        2,
                        "stream",
                        true,
                        "ignore_eos",
                        true));
        bodies.put(
                "long",
                Map.of(
                        "prompt",
                        "The fox and the bear went to the river. ".repeat(Math.max(1, Math.min(context, 1024) / 40)),
                        "max_tokens",
                        Math.min(32, context / 8),
                        "temperature",
                        0.8,
                        "seed",
                        3,
                        "repetition_penalty",
                        1.1,
                        "stream",
                        true,
                        "ignore_eos",
                        true));
        bodies.put(
                "whole",
                Map.of("prompt", "The capital of", "max_tokens", 24, "temperature", 1, "seed", 4, "logprobs", 1));
        bodies.put(
                "chat",
                Map.of(
                        "messages",
                        List.of(Map.of("role", "user", "content", "What is the capital of Italy?")),
                        "max_tokens",
                        32,
                        "temperature",
                        0.7,
                        "top_p",
                        0.9,
                        "seed",
                        5,
                        "stream",
                        true,
                        "logprobs",
                        true));
        return bodies;
    }

    private static StreamedAnswer ask(ServerAddress server, String request) throws IOException {
        try (HttpSocket socket = HttpSocket.open(server, TIMEOUT)) {
            return StreamedAnswer.of(socket, request);
        }
    }

    /** The small request. */
    Known small() {
        return requests.stream().filter(Known::small).findFirst().orElseThrow();
    }

    /** Asks all requests until the time is over, each on a thread of its own; the last answers are read to their end. */
    Observed observe(Duration time) throws InterruptedException {
        Observations all = new Observations();
        long end = System.nanoTime() + time.toNanos();
        CountDownLatch left = new CountDownLatch(requests.size());
        for (Known known : requests) {
            Thread.ofPlatform().daemon().name("honest-" + known.name()).start(() -> {
                while (System.nanoTime() < end) {
                    all.add(known, server);
                }
                left.countDown();
            });
        }
        left.await();
        return all.observed();
    }

    /** Where two texts differ first. */
    static String difference(String expected, String actual) {
        int at = 0;
        while (at < Math.min(expected.length(), actual.length()) && expected.charAt(at) == actual.charAt(at)) {
            at++;
        }
        return "from character " + at + " on: '" + part(actual, at) + "' instead of '" + part(expected, at) + "'";
    }

    private static String part(String text, int at) {
        return text.substring(at, Math.min(text.length(), at + SHOWN_CHARS)).replace("\n", "\\n");
    }

    /** Collects what all threads see. */
    private static final class Observations {
        private final List<String> faults = new ArrayList<>();
        private final List<Double> first = new ArrayList<>();
        private int answers;
        private double silence;

        void add(Known known, ServerAddress server) {
            StreamedAnswer answer;
            try {
                answer = ask(server, known.request());
            } catch (IOException e) {
                add(known, null, "no answer: " + e);
                return;
            }
            String fault = "";
            if (!answer.succeeded()) {
                fault = "status " + answer.head().status() + (answer.complete() ? ": " : ", cut short: ")
                        + part(answer.content(), 0).strip();
            } else if (!answer.content().equals(known.answer())) {
                fault = "another answer " + difference(known.answer(), answer.content());
            }
            add(known, answer, fault);
        }

        private synchronized void add(Known known, @Nullable StreamedAnswer answer, String fault) {
            if (!fault.isEmpty()) {
                faults.add("honest request '" + known.name() + "': " + fault);
            }
            if (answer != null) {
                answers++;
                silence = Math.max(silence, answer.gapSeconds());
                if (known.small() && answer.succeeded()) {
                    first.add(answer.firstSeconds());
                }
            }
        }

        synchronized Observed observed() {
            return new Observed(answers, List.copyOf(faults), silence, List.copyOf(first));
        }
    }
}
