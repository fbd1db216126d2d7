package quire.engine;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.chat.Tool;
import quire.engine.chat.ToolCallFormat;
import quire.engine.chat.UnknownFormatException;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.PropertyOrder;
import quire.engine.schedule.TimedEngine;
import quire.engine.speculate.DraftPolicy;
import quire.engine.speculate.FakeDrafters;
import quire.model.BuiltInModel;
import quire.model.ModelConfig;
import quire.model.Pooling;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.ElementType;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.memory.FileMemory;

/**
 * The promise: a request's output never depends on the requests beside it. Every answer and its log probabilities must
 * be equal, to the last bit, to those of the same request alone, on one thread, with its prompt in one chunk.
 */
@Tag("workers")
class PromiseTest {
    private static final Path STORIES =
            Path.of(System.getProperty("quire.shared", "../shared"), "models/stories260K.gguf");
    private static final Path TINY = BuiltInModel.QUIRE_TINY.path();
    private static final Path TINY_DRAFT = BuiltInModel.QUIRE_TINY_DRAFT.path();
    private static final int REQUESTS = 64;
    private static final int[] CHUNKS = {1, 7, 16, 512};
    private static final List<KvType> KV_TYPES = List.of(KvType.F16, KvType.F32, KvType.Q8_0);
    /** Tokens of a step when pages are too few. */
    private static final int SCARCE_CHUNK = 64;
    /** Fewer pages than two of the longest sequences need. */
    private static final int SCARCE_PAGES = 9;
    /** Whether all combinations of conditions are met; in other runs, each condition and most pairs of them. */
    private static final boolean NIGHTLY = Boolean.getBoolean("quire.nightly");

    @TempDir
    private Path folder;

    /** All that a client sees of an answer. Log probabilities are bits, so equality is exact. */
    private record Answer(
            List<Integer> tokens,
            List<Integer> logprobBits,
            String text,
            List<Integer> vectorBits,
            TokenStream.Finish finish) {}

    /** All answers of an engine, and its statistics after the last one. */
    private record Outcome(List<Answer> answers, EngineStats stats) {}

    /** The drafters. */
    private enum Drafting {
        LOOKUP,
        MODEL,
        BOTH;

        Speculation with(Length length, Path draft) {
            return new Speculation(length.draftTokens, this != MODEL, this == LOOKUP ? null : draft, null);
        }
    }

    /** How many draft tokens a sequence gets in a step. */
    private enum Length {
        ONE(1),
        FOUR(4),
        EIGHT(8),
        /** Chosen by the governor. */
        GOVERNED(Speculation.AUTO),
        /** A random number from a random drafter. */
        RANDOM(Speculation.AUTO);

        private final int draftTokens;

        Length(int draftTokens) {
            this.draftTokens = draftTokens;
        }

        DraftPolicy.Maker policies(long seed) {
            SplittableRandom random = new SplittableRandom(seed);
            return this == RANDOM ? (drafters, cost, config) -> FakeDrafters.random(random, drafters) : DraftPolicy::of;
        }
    }

    /**
     * The conditions of one engine that runs many requests at once.
     *
     * @param chunk maximum number of tokens of a step
     * @param scarce whether there are too few pages for all sequences
     */
    private record Conditions(int chunk, boolean scarce, int threads, KvType kvType) {
        static Conditions roomy(int turn) {
            int threads = 1 + (turn + turn / CHUNKS.length) % 2;
            return new Conditions(CHUNKS[turn % CHUNKS.length], false, threads, kvType(turn));
        }

        /** With other threads and another type than {@link #roomy}. */
        static Conditions scarce(int turn) {
            return new Conditions(SCARCE_CHUNK, true, 3 - roomy(turn).threads, kvType(turn + 1));
        }

        private static KvType kvType(int turn) {
            return KV_TYPES.get(turn % KV_TYPES.size());
        }

        /** With speculation there is one sequence for three tokens, so that tokens are left for drafts. */
        EngineConfig config(Path file, Speculation speculation) {
            int sequences = Math.clamp(speculation.isOn() ? chunk / 3 : chunk, 1, REQUESTS);
            EngineConfig roomy =
                    PromiseTest.config(sequences, chunk, 0, threads, kvType).withSpeculation(speculation);
            return scarce
                    ? PromiseTest.config(sequences, chunk, SCARCE_PAGES * pageBytes(file, roomy), threads, kvType)
                            .withSpeculation(speculation)
                    : roomy;
        }
    }

    @Test
    void output_realModelBesideOthers_isBitIdentical() throws Exception {
        assumeTrue(Files.exists(STORIES));
        assertPromise(STORIES);
    }

    @Test
    void output_quantizedModelBesideOthers_isBitIdentical() throws Exception {
        assertPromise(quantized(2));
    }

    /**
     * One model of each kind of block: windows, caps, head norms, norms after, side by side, plain with layer norm, experts
     * with a shared one, with groups, and with biases and sinks, attention with a latent, recurrent layers, several residual
     * streams, and norms of heads behind the rotation.
     */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "gemma2",
                "gemma3",
                "cohere2",
                "olmo2",
                "starcoder2",
                "glm4",
                "granite",
                "smollm3",
                "qwen2moe",
                "qwen3moe-groups",
                "gpt-oss",
                "deepseek2",
                "lfm2",
                "granitehybrid",
                "qwen35",
                "mistral3",
                "nemotron_h_moe",
                "gemma4",
                "gemma4-moe",
                "llama4-chunks",
                "falcon-h1",
                "deci",
                "gemma3n",
                "jamba",
                "hunyuan-moe",
                "phi3",
                "qwen3next",
                "gptneox",
                "stablelm-parallel",
                "phimoe",
                "gpt2"
            })
    void output_otherBlocksBesideOthers_isBitIdentical(String architecture) throws Exception {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        List<Request> requests = requests(file);
        List<Answer> alone = alone(file, requests, KvType.F16);
        for (Conditions now : List.of(
                new Conditions(7, false, 2, KvType.F16),
                new Conditions(512, false, 1, KvType.F16),
                new Conditions(SCARCE_CHUNK, true, 2, KvType.F16))) {
            assertAnswers(file, requests, alone, now, Speculation.off(), DraftPolicy::of);
        }
    }

    /** Its pages have no bytes, so memory for them is never scarce and nothing is preempted. */
    @ParameterizedTest
    @ValueSource(strings = {"mamba", "mamba2"})
    void output_modelWithoutAttentionBesideOthers_isBitIdentical(String architecture) throws Exception {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        List<Request> requests = requests(file);
        List<Answer> alone = alone(file, requests, KvType.F16);
        for (Conditions now :
                List.of(new Conditions(7, false, 2, KvType.F16), new Conditions(512, false, 1, KvType.F16))) {
            assertAnswers(file, requests, alone, now, Speculation.off(), DraftPolicy::of);
        }
    }

    /** Vectors of prompts and answers in tokens in the same steps; cold, warm, in chunks, preempted and with drafts. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3", "granite", "lfm2", "qwen3moe-groups"})
    void output_vectorsBesideAnswers_isBitIdentical(String architecture) throws Exception {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        List<Request> requests = withVectors(requests(file));
        List<Answer> alone = alone(file, requests, KvType.F16);
        assertThat(alone.stream()
                        .map(Answer::vectorBits)
                        .filter(bits -> !bits.isEmpty())
                        .distinct()
                        .count())
                .as("different vectors")
                .isGreaterThan(REQUESTS / 3);
        assertOnAnyThreads(file, requests, alone, KvType.F16, 0);
        Conditions drafting = new Conditions(SCARCE_CHUNK, true, 2, KvType.F16);
        assertAnswers(file, requests, alone, drafting, Drafting.LOOKUP.with(Length.FOUR, file), DraftPolicy::of);
        EngineConfig config = config(8, 32, 0, 2, KvType.F16);
        try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
            for (String round : List.of("cold", "warm")) {
                List<TokenStream> streams =
                        requests.stream().map(engine::submit).toList();
                for (int i = 0; i < streams.size(); i++) {
                    assertThat(read(streams.get(i)))
                            .as("request %d, %s", i, round)
                            .isEqualTo(alone.get(i));
                }
            }
            int[] prompt = requests.getFirst().prompt();
            int[] longer =
                    IntStream.range(0, 100).map(i -> prompt[i % prompt.length]).toArray();
            assertThat(cachedTokens(engine, longer, Pooling.LAST)).isZero();
            assertThat(cachedTokens(engine, longer, Pooling.LAST)).isGreaterThan(80);
            assertThat(cachedTokens(engine, longer, Pooling.MEAN)).isZero();
        }
    }

    /** Beam searches and other requests in the same steps; in chunks, preempted and with drafts for the others. */
    @ParameterizedTest
    @ValueSource(strings = {"quire-tiny", "gemma3", "deepseek2"})
    void output_beamSearchesBesideOthers_isBitIdentical(String architecture) throws Exception {
        Path file = architecture.equals("quire-tiny")
                ? TINY
                : FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        List<Request> requests = requests(file);
        List<List<Answer>> alone = answersWithBeams(
                file,
                requests,
                config(8, 512, 0, 1, KvType.F16).toBuilder().prefixCache(false).build(),
                1);
        assertThat(alone.stream()
                        .flatMap(List::stream)
                        .map(Answer::tokens)
                        .distinct()
                        .count())
                .isGreaterThan(2L * REQUESTS);
        EngineConfig roomy = config(12, 17, 0, 2, KvType.F16);
        EngineConfig scarce = config(40, SCARCE_CHUNK, SCARCE_PAGES * pageBytes(file, roomy), 1, KvType.F16);
        for (EngineConfig now : List.of(roomy, scarce, scarce.withSpeculation(new Speculation(4, true, null, null)))) {
            assertThat(answersWithBeams(file, requests, now, REQUESTS))
                    .as("%s", now)
                    .isEqualTo(alone);
        }
    }

    /** The answers when every second request is a beam search, of which the width, the penalty and the end vary. */
    private static List<List<Answer>> answersWithBeams(
            Path file, List<Request> requests, EngineConfig config, int together) throws Exception {
        List<List<Answer>> answers = new ArrayList<>();
        try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
            for (int first = 0; first < requests.size(); first += together) {
                List<List<TokenStream>> streams = new ArrayList<>();
                for (int i = first; i < first + together; i++) {
                    Request request = requests.get(i);
                    if (i % 2 == 0) {
                        streams.add(List.of(engine.submit(request)));
                        continue;
                    }
                    SamplingParams params = SamplingParams.builder()
                            .temperature(0)
                            .maxTokens(request.params().maxTokens())
                            .logprobs(i % 3 - 1)
                            .build();
                    BeamSearch search = new BeamSearch(
                            1 + i % 7,
                            i % 3,
                            List.of(BeamSearch.EarlyStopping.values()).get(i / 2 % 3));
                    streams.add(engine.submit(new Request(request.prompt(), params), search));
                }
                for (List<TokenStream> all : streams) {
                    List<Answer> read = new ArrayList<>();
                    for (TokenStream stream : all) {
                        read.add(read(stream));
                    }
                    answers.add(read);
                }
            }
            assertThat(engine.stats().usedPages()).isZero();
            if (config.kvCacheBytes() > 0) {
                assertThat(engine.stats().preemptions()).isPositive();
            }
        }
        return answers;
    }

    private static int cachedTokens(Engine engine, int[] prompt, Pooling pooling) throws Exception {
        try (TokenStream stream = engine.submit(Request.forVector(prompt, pooling, null, Scheduling.DEFAULT))) {
            assertThat(read(stream).vectorBits).isNotEmpty();
            return stream.cachedTokens();
        }
    }

    /** Wants the vector of two prompts of three, in place of tokens. */
    private static List<Request> withVectors(List<Request> requests) {
        Pooling[] kinds = {Pooling.LAST, Pooling.MEAN, Pooling.LAST, Pooling.FIRST};
        List<Request> mixed = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            Request request = requests.get(i);
            mixed.add(
                    i % 3 == 0
                            ? request
                            : Request.forVector(request.prompt(), kinds[i % 4], null, request.scheduling()));
        }
        return mixed;
    }

    @Test
    void output_builtInModelBesideOthers_isBitIdentical() throws Exception {
        assertPromise(TINY);
    }

    @Test
    void output_realModelWithAnyDrafter_isBitIdentical() throws Exception {
        assumeTrue(Files.exists(STORIES));
        assertPromiseWithAnyDrafter(STORIES, STORIES, 0); // no other model has its vocabulary
    }

    @Test
    void output_quantizedModelWithAnyDrafter_isBitIdentical() throws Exception {
        assertPromiseWithAnyDrafter(quantized(2), quantized(1), 1);
    }

    @Test
    void output_builtInModelWithAnyDrafter_isBitIdentical() throws Exception {
        assertPromiseWithAnyDrafter(TINY, TINY_DRAFT, 2);
    }

    /**
     * A model that shares weights with those of other depth, so each is sometimes right as a draft model of another.
     */
    private Path quantized(int layers) {
        return RandomModels.write(folder, RandomModels.Shape.tiny().withLayers(layers), ElementType.Q4_0, 5);
    }

    @Test
    void output_replayedDrafts_isBitIdentical() throws Exception {
        assertPromiseWithReplay(TINY);
    }

    /** States are taken back where draft tokens are rejected. */
    @ParameterizedTest
    @ValueSource(strings = {"lfm2", "granitehybrid-dense", "qwen35moe", "nemotron_h", "falcon-h1"})
    void output_recurrentModelWithReplayedDrafts_isBitIdentical(String architecture) throws Exception {
        assertPromiseWithReplay(FamilyModels.write(folder, architecture, ElementType.Q4_0, 5));
    }

    private static void assertPromiseWithReplay(Path file) throws Exception {
        int promptTokens = 6;
        List<Request> requests = new ArrayList<>();
        for (Request request : requests(file)) {
            if (request.prompt().length > promptTokens && request.params().maxTokens() > 1) {
                requests.add(new Request(Arrays.copyOf(request.prompt(), promptTokens), request.params()));
            }
        }
        List<Answer> alone = alone(file, requests, KvType.F16);
        List<int[]> texts = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            texts.add(IntStream.concat(
                            Arrays.stream(requests.get(i).prompt()),
                            alone.get(i).tokens().stream().mapToInt(Integer::intValue))
                    .toArray());
        }
        texts.removeIf(text -> text.length == promptTokens);
        int turn = 0;
        for (double acceptance : new double[] {0, 0.7, 1}) {
            Replay replay = new Replay(texts, promptTokens, acceptance, 1, 2048);
            for (int drafts : new int[] {1, 8, Speculation.AUTO}) {
                if (turn++ % 2 == 0 && !NIGHTLY) {
                    continue;
                }
                Speculation replayed = new Speculation(drafts, false, null, replay);
                EngineConfig config = config(20, 100, 0, 2, KvType.F16).withSpeculation(replayed);
                Outcome outcome = answer(file, requests, config, 20, DraftPolicy::of);
                assertThat(outcome.answers)
                        .as("acceptance %s, %d draft tokens", acceptance, drafts)
                        .isEqualTo(alone);
                assertThat(outcome.stats.speculation().counts().acceptedTokens() > 0)
                        .as("accepted, with acceptance %s, %d draft tokens", acceptance, drafts)
                        .isEqualTo(acceptance > 0);
            }
        }
    }

    /** Measured costs decide how many prompt tokens a step has; with 1 ns it is the least. */
    @Test
    void output_stepsBoundedInTime_isBitIdentical() throws Exception {
        List<Request> requests = requests(TINY);
        List<Answer> alone = alone(TINY, requests, KvType.F16);
        for (Duration target : List.of(Duration.ofNanos(1), Duration.ofMillis(2))) {
            for (Path draft : new Path[] {null, TINY_DRAFT}) {
                EngineConfig config = EngineConfig.builder()
                        .maxSequences(20)
                        .maxBatchedTokens(128)
                        .maxContext(112)
                        .kvType(KvType.F16)
                        .threads(2)
                        .targetTokenGap(target)
                        .speculation(draft == null ? Speculation.off() : new Speculation(4, true, draft, null))
                        .build();
                assertThat(answer(TINY, requests, config, REQUESTS, DraftPolicy::of).answers)
                        .as("target %s, draft %s", target, draft)
                        .isEqualTo(alone);
            }
        }
    }

    /** Every eighth request is another tenant's. Where it is a short one, steps leave out answers of the other tenant. */
    @Test
    void output_answersThatTakeTurns_isBitIdentical() throws Exception {
        List<Request> requests = requests(TINY);
        List<Answer> alone = alone(TINY, requests, KvType.F16);
        List<Request> scheduled = new ArrayList<>();
        for (int i = 0; i < REQUESTS; i++) {
            Scheduling scheduling = Scheduling.DEFAULT.withTenant(i % 8 == 7 ? "few" : "many", 1);
            scheduled.add(requests.get(i).withScheduling(scheduling));
        }
        for (int drafts : new int[] {0, 4}) {
            EngineConfig config = EngineConfig.builder()
                    .maxSequences(20)
                    .maxBatchedTokens(128)
                    .maxContext(112)
                    .kvType(KvType.F16)
                    .targetTokenGap(Duration.ofMillis(200))
                    .speculation(drafts == 0 ? Speculation.off() : new Speculation(drafts, true, null, null))
                    .build();
            try (TimedEngine engine = new TimedEngine(TINY, config)) {
                List<TokenStream> streams = new ArrayList<>();
                for (Request request : scheduled) {
                    boolean isFew = request.scheduling().tenant().equals("few");
                    for (int steps = isFew ? 3 : 0; steps > 0; steps--) {
                        engine.step();
                    }
                    streams.add(engine.submit(request));
                }
                while (engine.step() > 0) {}
                List<Answer> answers = new ArrayList<>();
                for (TokenStream stream : streams) {
                    answers.add(read(stream));
                }
                assertThat(answers).as("%d draft tokens", drafts).isEqualTo(alone);
                assertThat(engine.leftOut())
                        .as("decoding sequences left out of steps")
                        .isGreaterThan(REQUESTS);
            }
        }
    }

    /** Text with "a" in it is a call. */
    private static Constraint calls(ToolCallFormat.Choice choice) throws UnknownFormatException {
        String source = "{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
                + "{{ '\\n' if not loop.first }}<a>{{ c.function.name }}:{{ c.function.arguments | tojson }}</a>{% endfor %}"
                + "{% endfor %}";
        ChatTemplate template = ChatTemplates.adapted(ChatTemplates.parse(source, null, null, Clock.systemUTC()));
        try (Gguf file = Gguf.open(TINY)) {
            Map<String, ?> text = Map.of("text", Map.of("type", "string", "maxLength", 20));
            return ToolCallFormat.of(template, Tokenizers.of(file))
                    .constraint(
                            List.of(new Tool("say", Map.of("type", "object", "properties", text))), choice, true, null);
        }
    }

    /** With constraints, and with the draft tokens that they force. */
    @Test
    void output_constrained_isBitIdentical() throws Exception {
        List<Constraint> constraints = List.of(
                Constraint.json(),
                Constraint.jsonSchema(Map.of(
                        "type",
                        "object",
                        "properties",
                        Map.of("story", Map.of("type", "string", "maxLength", 40)),
                        "required",
                        List.of("story"),
                        "additionalProperties",
                        false)),
                Constraint.jsonSchema(Map.of(
                        "type",
                        "array",
                        "items",
                        Map.of("type", "string", "maxLength", 3),
                        "uniqueItems",
                        true,
                        "minItems",
                        2,
                        "maxItems",
                        4)),
                Constraint.jsonSchema(
                        Map.of(
                                "type",
                                "object",
                                "properties",
                                Map.of("a", Map.of("type", "boolean"), "b", Map.of("type", "integer")),
                                "required",
                                List.of("a", "b"),
                                "additionalProperties",
                                false),
                        PropertyOrder.ANY),
                Constraint.regex("(The |a |[b-d]+,? ){2,}end\\."),
                Constraint.grammar("root ::= \"(\" (root | [a-z]+) \")\" root? | \"[\" root \"]\""),
                Constraint.choice(List.of("yes, of course", "yes", "no")),
                calls(ToolCallFormat.Choice.REQUIRED),
                calls(ToolCallFormat.Choice.AUTO));
        List<Request> requests = new ArrayList<>();
        for (Request request : requests(TINY)) {
            SamplingParams params = request.params();
            requests.add(new Request(
                    request.prompt(),
                    SamplingParams.builder()
                            .maxTokens(params.maxTokens())
                            .temperature(params.temperature())
                            .topK(params.topK())
                            .topP(params.topP())
                            .minP(params.minP())
                            .repetitionPenalty(params.repetitionPenalty())
                            .presencePenalty(params.presencePenalty())
                            .logitBias(params.logitBias())
                            .seed(params.seed())
                            .logprobs(params.logprobs())
                            .constraint(constraints.get(requests.size() % constraints.size()))
                            .build()));
        }
        List<Answer> alone = alone(TINY, requests, KvType.F16);
        assertThat(alone).anyMatch(answer -> answer.finish.reason() == FinishReason.STOP);
        assertThat(alone)
                .allMatch(answer ->
                        answer.finish.reason() == FinishReason.STOP || answer.finish.reason() == FinishReason.LENGTH);
        Map<String, Long> drafterToAccepted = new TreeMap<>();
        long preemptions = 0;
        int turn = 0;
        for (int chunk : CHUNKS) {
            for (boolean scarce : new boolean[] {false, true}) {
                Conditions now = new Conditions(scarce ? SCARCE_CHUNK : chunk, scarce, 1 + turn % 2, KvType.F16);
                if (NIGHTLY || turn % 2 == turn / 4) { // on one thread with enough pages, on two with too few
                    preemptions += assertEqual(TINY, requests, alone, now, Speculation.off(), DraftPolicy::of)
                            .preemptions();
                }
                Length length = Length.values()[turn++ % Length.values().length];
                Speculation drafts = Drafting.BOTH.with(length, TINY_DRAFT);
                EngineStats stats = assertEqual(TINY, requests, alone, now, drafts, length.policies(turn));
                preemptions += stats.preemptions();
                stats.speculation()
                        .counts()
                        .drafters()
                        .forEach(d -> drafterToAccepted.merge(d.name(), d.acceptedTokens(), Long::sum));
            }
        }
        // Each request is compiled before it comes, so on a slow machine few of them are there at once.
        assertThat(preemptions).isPositive();
        assertThat(drafterToAccepted)
                .allSatisfy((name, accepted) -> assertThat(accepted).as(name).isPositive());
        assertThat(drafterToAccepted).containsOnlyKeys("forced", "lookup", "model");
    }

    /**
     * Several answers to each prompt, as {@code n} asks for: they share its pages, half of the last one too. With constraints,
     * with calls of tools, with predictions and with none of them, from a cold and from a warm cache; with the draft tokens that
     * constraints, predictions and a draft model give, and without. Beams, which are several answers as well, take nothing else.
     */
    @Test
    void output_severalAnswersToAPrompt_isBitIdentical() throws Exception {
        int n = 4;
        List<Constraint> constraints = List.of(
                Constraint.jsonSchema(Map.of(
                        "type",
                        "object",
                        "properties",
                        Map.of("story", Map.of("type", "string", "maxLength", 40)),
                        "required",
                        List.of("story"))),
                calls(ToolCallFormat.Choice.REQUIRED),
                calls(ToolCallFormat.Choice.AUTO));
        List<Request> requests = new ArrayList<>();
        for (Request first : requests(TINY)) {
            SamplingParams params = first.params();
            if (params.maxTokens() < 8 || first.prompt().length < 20 || requests.size() == REQUESTS) {
                continue;
            }
            int kind = requests.size() / n % (constraints.size() + 1);
            for (int i = 0; i < n; i++) {
                SamplingParams.Builder child = SamplingParams.builder()
                        .maxTokens(params.maxTokens())
                        .temperature(1)
                        .logprobs(params.logprobs())
                        .seed(params.seed() + i);
                if (kind > 0) {
                    child.constraint(constraints.get(kind - 1));
                }
                requests.add(new Request(first.prompt(), child.build()));
            }
        }
        List<Answer> alone = alone(TINY, requests, KvType.F16);
        assertThat(alone.stream().map(Answer::tokens).distinct().count()).isGreaterThan(requests.size() * 2L / 3);
        List<Request> predicted = withPredictions(requests, alone);
        Set<String> drafters = new HashSet<>();
        for (boolean drafts : new boolean[] {false, true}) {
            Speculation speculation = drafts ? new Speculation(4, true, TINY_DRAFT, null) : Speculation.off();
            EngineConfig roomy = config(n * 5, 97, 0, 2, KvType.F16).withSpeculation(speculation);
            EngineConfig scarce = config(n * 5, SCARCE_CHUNK, SCARCE_PAGES * pageBytes(TINY, roomy), 1, KvType.F16)
                    .withSpeculation(speculation);
            for (EngineConfig config : List.of(roomy, scarce)) {
                try (Engine engine = Engine.open(TINY, config, EngineListener.NONE)) {
                    for (String round : List.of("cold", "warm")) {
                        List<TokenStream> streams =
                                predicted.stream().map(engine::submit).toList();
                        for (int i = 0; i < streams.size(); i++) {
                            assertThat(read(streams.get(i)))
                                    .as("request %d, %s, %s", i, round, config)
                                    .isEqualTo(alone.get(i));
                        }
                    }
                    assertAllPagesAreGivenBack(engine);
                    EngineStats stats = engine.stats();
                    assertThat(stats.prefixCache().hitTokens()).isPositive();
                    stats.speculation().counts().drafters().stream()
                            .filter(drafter -> drafter.acceptedTokens() > 0)
                            .forEach(drafter -> drafters.add(drafter.name()));
                }
            }
        }
        assertThat(drafters).containsExactlyInAnyOrder("forced", "lookup", "model");
    }

    /** Small requests pass a large one that does not fit, and it takes the pages back. */
    @Test
    void output_requestsThatPassTheHead_isBitIdentical() throws Exception {
        List<Request> requests = new ArrayList<>();
        for (int[] size : new int[][] {{100, 60}, {220, 20}, {5, 90}, {6, 90}, {7, 90}, {8, 90}, {230, 10}, {9, 90}}) {
            int[] prompt =
                    IntStream.range(0, size[0]).map(i -> 300 + i * 7 % 1000).toArray();
            requests.add(new Request(
                    prompt,
                    SamplingParams.builder()
                            .maxTokens(size[1])
                            .seed(size[0])
                            .logprobs(2)
                            .ignoreEndOfText(true)
                            .build()));
        }
        EngineConfig.Builder builder = EngineConfig.builder()
                .maxSequences(8)
                .maxBatchedTokens(64)
                .maxContext(256)
                .kvType(KvType.F16)
                .threads(2)
                .speculation(Speculation.off());
        EngineConfig scarce =
                builder.kvCacheBytes(20 * pageBytes(TINY, builder.build())).build();
        List<Answer> alone = answer(TINY, requests, scarce, 1, DraftPolicy::of).answers;

        for (int round = 0; round < 3; round++) {
            assertThat(answer(TINY, requests, scarce, requests.size(), DraftPolicy::of).answers)
                    .isEqualTo(alone);
        }
    }

    /** Priorities, tenants and timeouts at random: who takes whose rows and pages changes, and no answer does. */
    @Test
    void output_anyScheduling_isBitIdentical() throws Exception {
        List<Request> requests = requests(TINY);
        List<Answer> alone = alone(TINY, requests, KvType.F16);
        EngineConfig roomy = config(12, SCARCE_CHUNK, 0, 2, KvType.F16);
        EngineConfig scarce = config(12, SCARCE_CHUNK, SCARCE_PAGES * pageBytes(TINY, roomy), 2, KvType.F16);
        for (int round = 0; round < 4; round++) {
            Random random = new Random(round);
            List<Request> scheduled = new ArrayList<>();
            for (Request request : requests) {
                int tenant = random.nextInt(4);
                scheduled.add(request.withScheduling(Scheduling.DEFAULT
                        .withTenant("tenant " + tenant, 1 + 2 * tenant)
                        .withPriority(random.nextInt(4) == 0 ? Scheduling.BACKGROUND : random.nextInt(3) - 1)
                        .withTimeout(Duration.ofMillis(random.nextInt(3) == 0 ? 1 + random.nextInt(40) : 0))));
            }
            List<Answer> answers =
                    answer(TINY, scheduled, round % 2 == 0 ? roomy : scarce, REQUESTS, DraftPolicy::of).answers;
            for (int i = 0; i < REQUESTS; i++) {
                Answer answer = answers.get(i);
                Answer expected = alone.get(i);
                if (answer.finish.reason() == FinishReason.TIMEOUT) {
                    int tokens = answer.tokens.size();
                    int bits = answer.logprobBits.size();
                    assertThat(answer.tokens).as("request %d", i).isEqualTo(expected.tokens.subList(0, tokens));
                    assertThat(answer.logprobBits).as("request %d", i).isEqualTo(expected.logprobBits.subList(0, bits));
                } else {
                    assertThat(answer).as("request %d", i).isEqualTo(expected);
                }
            }
        }
    }

    @Test
    void output_builtInModelFromThePrefixCache_isBitIdentical() throws Exception {
        assertPromiseFromPrefixCache(TINY, TINY_DRAFT);
    }

    @Test
    void output_quantizedModelFromThePrefixCache_isBitIdentical() throws Exception {
        assertPromiseFromPrefixCache(quantized(2), quantized(1));
    }

    /** With a state beside each page, and with states that are saved behind some pages. */
    @ParameterizedTest
    @ValueSource(strings = {"lfm2", "granitehybrid-dense", "qwen35moe", "mamba", "falcon-h1"})
    void output_recurrentModelFromThePrefixCache_isBitIdentical(String architecture) throws Exception {
        assertPromiseFromPrefixCache(FamilyModels.write(folder, architecture, ElementType.Q4_0, 5), null);
    }

    /**
     * Chats of three turns. Each engine answers all turns: first cold, the later turns half warm; then warm; then at
     * random, beside requests that are cancelled. With few pages, sequences are preempted and cached pages give their
     * memory to others.
     */
    private static void assertPromiseFromPrefixCache(Path file, @Nullable Path draft) throws Exception {
        for (KvType kvType : List.of(KvType.F16, KvType.Q8_0)) {
            Chats chats = Chats.of(file, kvType);
            int turn = kvType == KvType.F16 ? 0 : 1;
            for (Speculation speculation :
                    List.of(Speculation.off(), new Speculation(4, true, draft, null), Speculation.auto(draft))) {
                turn++;
                for (boolean scarce : new boolean[] {false, true}) {
                    if (scarce == (turn % 2 == 0) && !NIGHTLY) {
                        continue;
                    }
                    EngineConfig roomy =
                            Chats.config(12, kvType).speculation(speculation).build();
                    EngineConfig config = scarce
                            ? roomy.toBuilder()
                                    .kvCacheBytes(Chats.SCARCE_PAGES * pageBytes(file, roomy))
                                    .savedStates(10)
                                    .build()
                            : roomy;
                    try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
                        chats.play(engine, kvType + ", " + speculation + (scarce ? ", few pages" : ""));
                        assertAllPagesAreGivenBack(engine);
                        EngineStats stats = engine.stats();
                        assertThat(stats.prefixCache().hitTokens())
                                .isBetween(
                                        stats.prefixCache().queriedTokens() / (scarce ? 10 : 2),
                                        stats.prefixCache().queriedTokens());
                        if (scarce && pageBytes(file, roomy) > 0) { // without attention there are always enough
                            assertThat(stats.preemptions()).isPositive();
                            assertThat(stats.prefixCache().evictedPages()).isGreaterThan(Chats.SCARCE_PAGES);
                        }
                    }
                }
            }
        }
    }

    /**
     * Layers with a window whose pages are apart: cold and warm, with drafts, beside cancelled requests, with so few pages that
     * sequences are preempted, and from a KV file. The answers alone come from an engine whose pages hold all layers.
     */
    @ParameterizedTest
    @ValueSource(strings = {"gemma3", "gemma4", "gpt-oss", "llama4-chunks", "llama"})
    void output_windowPagesApart_isBitIdentical(String architecture) throws Exception {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        Chats chats = Chats.of(file, KvType.F16);
        EngineConfig.Builder roomy = Chats.config(6, KvType.F16).maxBatchedTokens(32);
        long bytes = 30 * pageBytes(file, roomy.speculation(Speculation.off()).build());
        EngineConfig plain = roomy.kvCacheBytes(bytes).build();
        try (Gguf gguf = Gguf.open(file)) {
            assertThat(Engine.plan(gguf, ModelConfig.from(gguf), plain).windowPageCount())
                    .as("window pages")
                    .isPositive();
        }
        EngineConfig onDisk = plain.toBuilder()
                .kvDisk(folder.resolve("windows.kv"))
                .kvDiskBytes(16 << 20)
                .build();
        long preemptions = 0;
        long readBytes = 0;
        EngineConfig drafting = plain.withSpeculation(new Speculation(4, true, null, null));
        boolean inAllWays = architecture.equals("gpt-oss");
        for (EngineConfig config : inAllWays ? List.of(plain, drafting, onDisk, onDisk) : List.of(drafting)) {
            try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
                chats.play(engine, architecture + ", " + config);
                assertAllPagesAreGivenBack(engine);
                EngineStats stats = engine.stats();
                assertThat(stats.usedWindowPages()).isZero();
                assertThat(stats.prefixCache().hitTokens()).isPositive();
                preemptions += stats.preemptions();
                readBytes += stats.diskTier().readBytes();
            }
        }
        if (inAllWays) {
            assertThat(readBytes).as("bytes from the KV file").isPositive();
            assertThat(preemptions).isPositive();
        }
    }

    /**
     * Chats that are longer than the pool, with pages on disk behind those in memory: cold, warm, beside others and beside
     * cancelled requests, with drafts, and with a state beside each page. The answers alone come from an engine with room for all.
     */
    @ParameterizedTest
    @ValueSource(strings = {"quire-tiny", "gemma3", "gpt-oss", "lfm2"})
    void output_longerThanThePool_isBitIdentical(String architecture) throws Exception {
        assumeTrue(FileMemory.isSupported(), "there are no overflow pages on this system");
        boolean builtIn = architecture.equals("quire-tiny");
        Path file = builtIn ? TINY : FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        for (KvType kvType : List.of(KvType.F16, KvType.Q8_0)) {
            Chats chats = Chats.of(file, kvType);
            for (Speculation speculation :
                    List.of(Speculation.off(), new Speculation(4, true, builtIn ? TINY_DRAFT : null, null))) {
                EngineConfig roomy = Chats.config(6, kvType)
                        .speculation(speculation)
                        .kvDisk(folder.resolve("long.kv"))
                        .kvDiskBytes(16 << 20)
                        .build();
                EngineConfig config = roomy.toBuilder()
                        .kvCacheBytes(Chats.SHORT_PAGES * pageBytes(file, roomy))
                        .build();
                String conditions = architecture + ", " + kvType + ", " + speculation;
                try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
                    int overflow = engine.stats().totalOverflowPages();
                    assertThat(overflow).as("overflow pages").isPositive();
                    assertThat(Chats.CONTEXT / 16 - overflow)
                            .as("pages of the longest sequence that are in memory")
                            .isLessThan(chats.mostPages());
                    chats.play(engine, conditions);
                    assertAllPagesAreGivenBack(engine);
                    assertThat(engine.stats().usedOverflowPages()).isZero();
                    assertThat(engine.stats().prefixCache().hitTokens()).isPositive();
                }
            }
        }
    }

    /**
     * All of it at once, drawn at random: turns of chats from a cold and from a warm cache, with and without a salt; several
     * answers to a prompt; beams; drafts and predictions; priorities, tenants and cancelled requests; so few pages that sequences are
     * preempted; and a KV file, of which the second engine finds the pages, and packed weights, which it maps. With the fewest pages, the longest texts have pages on
     * disk. The second model has window pages.
     */
    @ParameterizedTest
    @CsvSource({"quire-tiny, 30", "quire-tiny, " + Chats.SHORT_PAGES, "gpt-oss, 30"})
    void output_allWaysAtRandom_isBitIdentical(String architecture, int pages) throws Exception {
        assumeTrue(pages > Chats.SHORT_PAGES || FileMemory.isSupported(), "there are no overflow pages on this system");
        boolean builtIn = architecture.equals("quire-tiny");
        Path file = builtIn ? TINY : FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        EngineConfig.Builder roomy = Chats.config(6, KvType.F16);
        List<Job> jobs = jobs(Chats.of(file, KvType.F16).requests);
        List<List<Answer>> alone = new ArrayList<>();
        EngineConfig cold =
                roomy.prefixCache(false).speculation(Speculation.off()).build();
        try (Engine engine = Engine.open(file, cold, EngineListener.NONE)) {
            for (Job job : jobs) {
                List<Answer> answers = new ArrayList<>();
                if (job.search == null) { // one after another
                    for (Request request : job.requests) {
                        answers.add(read(engine.submit(request)));
                    }
                } else {
                    answers.addAll(job.read(job.submit(engine, Scheduling.DEFAULT)));
                }
                alone.add(answers);
            }
        }
        List<Job> predicted = IntStream.range(0, jobs.size())
                .mapToObj(i -> jobs.get(i).search == null ? jobs.get(i).withPredictions(alone.get(i)) : jobs.get(i))
                .toList();
        EngineConfig scarce = roomy.prefixCache(true)
                .maxBatchedTokens(32)
                .speculation(new Speculation(4, true, builtIn ? TINY_DRAFT : null, null))
                .kvDisk(folder.resolve("all.kv"))
                .kvDiskBytes(16 << 20)
                .packedCache(folder.resolve("packed"))
                .build();
        scarce =
                scarce.toBuilder().kvCacheBytes(pages * pageBytes(file, scarce)).build();
        long preemptions = 0;
        long hitTokens = 0;
        long readBytes = 0;
        long acceptedTokens = 0;
        Random random = new Random(6);
        for (int run = 0; run < 2; run++) {
            try (Engine engine = Engine.open(file, scarce, EngineListener.NONE)) {
                assertThat(engine.stats().totalWindowPages() > 0)
                        .as("window pages of " + architecture)
                        .isNotEqualTo(builtIn);
                for (int round = 0; round < (NIGHTLY ? 20 : 3); round++) {
                    List<Integer> chosen = new ArrayList<>();
                    List<List<TokenStream>> streams = new ArrayList<>();
                    List<TokenStream> cancelled = new ArrayList<>();
                    for (int i = 0; i < 12; i++) {
                        chosen.add(random.nextInt(jobs.size()));
                        streams.add(predicted.get(chosen.get(i)).submit(engine, scheduling(random)));
                        if (i % 3 == 0) {
                            Job other = jobs.get(random.nextInt(jobs.size()));
                            cancelled.addAll(other.submit(engine, scheduling(random)));
                        }
                    }
                    for (TokenStream stream : cancelled) {
                        if (random.nextBoolean()) {
                            stream.next();
                        }
                        stream.close();
                    }
                    for (int i = 0; i < chosen.size(); i++) {
                        assertThat(jobs.get(chosen.get(i)).read(streams.get(i)))
                                .as("job %d, round %d, %s", chosen.get(i), round, scarce)
                                .isEqualTo(alone.get(chosen.get(i)));
                    }
                }
                assertAllPagesAreGivenBack(engine);
                EngineStats stats = engine.stats();
                preemptions += stats.preemptions();
                hitTokens += stats.prefixCache().hitTokens();
                readBytes += stats.diskTier().readBytes();
                acceptedTokens += stats.speculation().counts().acceptedTokens();
            }
        }
        assertThat(preemptions).as("preemptions").isPositive();
        assertThat(hitTokens).as("tokens from the cache").isPositive();
        assertThat(readBytes).as("bytes from the KV file").isPositive();
        assertThat(acceptedTokens).as("accepted draft tokens").isPositive();
    }

    private static Scheduling scheduling(Random random) {
        int tenant = random.nextInt(3);
        return Scheduling.DEFAULT
                .withTenant("tenant " + tenant, 1 + tenant)
                .withPriority(random.nextInt(5) == 0 ? Scheduling.BACKGROUND : random.nextInt(3) - 1);
    }

    /** One answer, several answers to one prompt, or a beam search. */
    private record Job(List<Request> requests, @Nullable BeamSearch search) {
        /** The same, with drafts that are right for the most part. */
        Job withPredictions(List<Answer> answers) {
            return new Job(PromiseTest.withPredictions(requests, answers), search);
        }

        List<TokenStream> submit(Engine engine, Scheduling scheduling) {
            List<Request> all = requests.stream()
                    .map(each -> each.withScheduling(scheduling))
                    .toList();
            return search == null ? all.stream().map(engine::submit).toList() : engine.submit(all.getFirst(), search);
        }

        List<Answer> read(List<TokenStream> streams) throws InterruptedException {
            List<Answer> answers = new ArrayList<>();
            for (TokenStream stream : streams) {
                answers.add(PromiseTest.read(stream));
            }
            return answers;
        }
    }

    /** A job of each kind by turns. */
    private static List<Job> jobs(List<Request> requests) {
        List<Job> jobs = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            Request request = requests.get(i);
            List<Request> seeds = new ArrayList<>();
            for (int seed = 0; seed < (i % 3 == 1 ? 3 : 1); seed++) {
                SamplingParams.Builder params = i % 3 == 2
                        ? SamplingParams.builder()
                                .temperature(0)
                                .maxTokens(request.params().maxTokens())
                                .logprobs(1)
                        : request.params().toBuilder().seed(i + 100 * seed);
                seeds.add(new Request(request.prompt(), params.build(), request.cacheSalt()));
            }
            jobs.add(new Job(seeds, i % 3 == 2 ? BeamSearch.ofWidth(2 + i % 4) : null));
        }
        return jobs;
    }

    @Test
    void output_builtInModelFromTheKvFile_isBitIdentical() throws Exception {
        assertPromiseFromKvFile(TINY, TINY_DRAFT);
    }

    @Test
    void output_quantizedModelFromTheKvFile_isBitIdentical() throws Exception {
        assertPromiseFromKvFile(quantized(2), quantized(1));
    }

    @Test
    void output_recurrentModelFromTheKvFile_isBitIdentical() throws Exception {
        assertPromiseFromKvFile(FamilyModels.write(folder, "lfm2", ElementType.Q4_0, 5), null);
    }

    @Test
    void open_stateTooLargeForPages_refusesTheKvFile() throws Exception {
        Path file = FamilyModels.write(folder, "granitehybrid-dense", ElementType.Q4_0, 5);
        EngineConfig config = Chats.config(12, KvType.F16)
                .kvDisk(folder.resolve("refused.kv"))
                .kvDiskBytes(16 << 20)
                .build();
        assertThatThrownBy(() -> Engine.open(file, config, EngineListener.NONE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContainingAll("kvDisk", "granitehybrid", "leave it out");
    }

    /**
     * The same chats with a KV file. One engine answers them cold, the next one from what the first has left in the file,
     * and a third one after bits of the file have changed. With few pages, preempted sequences get their pages from it.
     */
    private void assertPromiseFromKvFile(Path file, @Nullable Path draft) throws Exception {
        for (KvType kvType : List.of(KvType.F16, KvType.Q8_0)) {
            Chats chats = Chats.of(file, kvType);
            int turn = kvType == KvType.F16 ? 0 : 1;
            for (Speculation speculation : List.of(Speculation.off(), new Speculation(4, true, draft, null))) {
                turn++;
                for (boolean scarce : new boolean[] {false, true}) {
                    if (scarce == (turn % 2 == 0) && !NIGHTLY) {
                        continue;
                    }
                    String conditions = kvType + ", " + speculation + (scarce ? ", few pages" : "");
                    Path pages = folder.resolve(Integer.toHexString(conditions.hashCode()) + ".kv");
                    EngineConfig roomy = Chats.config(12, kvType)
                            .speculation(speculation)
                            .kvDisk(pages)
                            .kvDiskBytes(16 << 20)
                            .build();
                    EngineConfig config = scarce
                            ? roomy.toBuilder()
                                    .kvCacheBytes(Chats.SCARCE_PAGES * pageBytes(file, roomy))
                                    .build()
                            : roomy;
                    try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
                        chats.play(engine, conditions + ", with a KV file");
                        DiskTierStats stats = engine.stats().diskTier();
                        assertThat(stats.pages()).isPositive();
                        assertThat(stats.readBytes() > 0)
                                .as("reads: " + conditions)
                                .isEqualTo(scarce);
                    }
                    int[] all = IntStream.range(0, chats.requests.size()).toArray();
                    try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
                        assertThat(engine.stats().diskTier().pages()).isPositive();
                        chats.check(engine, all, conditions + ", from the KV file");
                        assertThat(engine.stats().diskTier().hitTokens()).isPositive();
                        chats.play(engine, conditions + ", from the KV file and memory");
                        assertThat(engine.stats().diskTier().damagedPages()).isZero();
                        assertAllPagesAreGivenBack(engine);
                    }
                    byte[] bytes = Files.readAllBytes(pages);
                    for (int at = 8_192; at < bytes.length; at += 3_000) {
                        bytes[at] ^= 4;
                    }
                    Files.write(pages, bytes);
                    try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
                        chats.check(engine, all, conditions + ", from a damaged KV file");
                    }
                }
            }
        }
    }

    /**
     * The engine hears of closed streams before its next step, which may be after the last answer that the test waits for.
     * So this waits for the end of all requests. The engine takes no further ones.
     */
    private static void assertAllPagesAreGivenBack(Engine engine) throws InterruptedException {
        engine.drain(Duration.ofDays(1));
        assertThat(engine.stats().usedPages()).isZero();
    }

    /** Chats with two instructions at their beginnings, and what they are answered cold and alone. */
    private record Chats(List<Request> requests, List<Answer> alone) {
        static final int CONTEXT = 256;
        static final int SCARCE_PAGES = 34;
        /** Fewer than the longest chats have. */
        static final int SHORT_PAGES = 12;

        private static final int CHATS = 10;
        private static final int TURNS = 3;

        static EngineConfig.Builder config(int sequences, KvType kvType) {
            return EngineConfig.builder()
                    .maxSequences(sequences)
                    .maxBatchedTokens(96)
                    .maxContext(CONTEXT)
                    .kvType(kvType)
                    .threads(2);
        }

        static Chats of(Path file, KvType kvType) throws Exception {
            EngineConfig cold = config(1, kvType)
                    .speculation(Speculation.off())
                    .prefixCache(false)
                    .build();
            List<int[]> texts = new ArrayList<>();
            for (int chat = 0; chat < CHATS; chat++) {
                texts.add(words(chat % 2, 50));
            }
            Chats all = new Chats(new ArrayList<>(), new ArrayList<>());
            for (int turn = 0; turn < TURNS; turn++) {
                List<Request> requests = new ArrayList<>();
                for (int chat = 0; chat < CHATS; chat++) {
                    int[] prompt = join(texts.get(chat), words(10 + chat, 7 + chat));
                    SamplingParams params = SamplingParams.builder()
                            .maxTokens(20 + 3 * chat)
                            .temperature(chat % 3 == 0 ? 0 : 0.9)
                            .seed(chat)
                            .logprobs(3)
                            .ignoreEndOfText(true)
                            .build();
                    requests.add(new Request(prompt, params, chat % 5 == 4 ? "tenant" : null));
                }
                List<Answer> answers = answer(file, requests, cold, 1, DraftPolicy::of).answers;
                for (int chat = 0; chat < CHATS; chat++) {
                    int[] answer = answers.get(chat).tokens.stream()
                            .mapToInt(Integer::intValue)
                            .toArray();
                    texts.set(chat, join(requests.get(chat).prompt(), answer));
                }
                all.requests.addAll(requests);
                all.alone.addAll(answers);
            }
            return all;
        }

        int mostPages() {
            return IntStream.range(0, requests.size())
                    .map(i -> (requests.get(i).prompt().length
                                    + alone.get(i).tokens.size())
                            / 16)
                    .max()
                    .orElse(0);
        }

        private static int[] words(int seed, int count) {
            return new Random(seed).ints(count, 100, 300).toArray();
        }

        private static int[] join(int[] a, int[] b) {
            return IntStream.concat(Arrays.stream(a), Arrays.stream(b)).toArray();
        }

        void play(Engine engine, String conditions) throws Exception {
            for (int turn = 0; turn < TURNS; turn++) {
                check(engine, IntStream.range(turn * CHATS, (turn + 1) * CHATS).toArray(), conditions + ", cold");
            }
            check(engine, IntStream.range(0, requests.size()).toArray(), conditions + ", warm");
            Random random = new Random(4);
            for (int round = 0; round < 4; round++) {
                List<TokenStream> others = new ArrayList<>();
                for (int i = 0; i < 5; i++) {
                    others.add(engine.submit(requests.get(random.nextInt(requests.size()))));
                }
                int[] some = random.ints(12, 0, requests.size()).toArray();
                List<TokenStream> streams = submit(engine, some);
                for (TokenStream other : others) {
                    for (int tokens = random.nextInt(8); tokens > 0; tokens--) {
                        other.next();
                    }
                    other.close();
                }
                check(some, streams, conditions + ", at random");
            }
        }

        private void check(Engine engine, int[] chosen, String conditions) throws Exception {
            check(chosen, submit(engine, chosen), conditions);
        }

        private List<TokenStream> submit(Engine engine, int[] chosen) {
            return Arrays.stream(chosen)
                    .mapToObj(i -> engine.submit(requests.get(i)))
                    .toList();
        }

        private void check(int[] chosen, List<TokenStream> streams, String conditions) throws Exception {
            for (int i = 0; i < chosen.length; i++) {
                assertThat(read(streams.get(i)))
                        .as("request %d: %s", chosen[i], conditions)
                        .isEqualTo(alone.get(chosen[i]));
            }
        }
    }

    private static void assertPromise(Path file) throws Exception {
        List<Request> requests = requests(file);
        List<List<Answer>> seen = new ArrayList<>();
        for (KvType kvType : List.of(KvType.F16, KvType.Q8_0)) {
            List<Answer> alone = alone(file, requests, kvType);
            assertThat(alone.stream().map(Answer::tokens).distinct().count())
                    .as("different answers")
                    .isGreaterThan(REQUESTS / 2);
            assertOnAnyThreads(file, requests, alone, kvType, seen.size());
            seen.add(alone);
        }
        assertThat(seen).as("answers that differ by page type").doesNotHaveDuplicates();
    }

    /**
     * All chunks, and too few pages; on one thread and on two, of which each has every other chunk unless the run is nightly.
     *
     * @param turn with the next number, each chunk has the other number of threads
     */
    private static void assertOnAnyThreads(
            Path file, List<Request> requests, List<Answer> alone, KvType kvType, int turn) throws Exception {
        for (int threads = 1; threads <= 2; threads++) {
            for (int i = 0; i < CHUNKS.length; i++) {
                if (NIGHTLY || (i + threads + turn) % 2 == 0) {
                    Conditions roomy = new Conditions(CHUNKS[i], false, threads, kvType);
                    assertAnswers(file, requests, alone, roomy, Speculation.off(), DraftPolicy::of);
                }
            }
            if (NIGHTLY || (threads + turn) % 2 == 0) {
                Conditions scarce = new Conditions(SCARCE_CHUNK, true, threads, kvType);
                assertAnswers(file, requests, alone, scarce, Speculation.off(), DraftPolicy::of);
            }
        }
    }

    /**
     * Runs every drafter with every length, once with enough pages and once with too few, on one thread and on two. Unless
     * the run is nightly, a model leaves out one choice of drafters, and every other length with too few pages.
     *
     * @param firstTurn where to begin in the list of conditions, so that each model runs under other combinations
     */
    private static void assertPromiseWithAnyDrafter(Path file, Path draft, int firstTurn) throws Exception {
        List<Request> requests = requests(file);
        Map<KvType, List<Answer>> alone = new EnumMap<>(KvType.class);
        for (KvType kvType : KV_TYPES) {
            alone.put(kvType, alone(file, requests, kvType));
        }
        Map<String, Long> drafterToAccepted = new TreeMap<>();
        long rejected = 0;
        int turn = firstTurn;
        requests = withPredictions(requests, requireNonNull(alone.get(KvType.F16)));
        for (Drafting drafting : Drafting.values()) {
            if (drafting == Drafting.values()[firstTurn] && !NIGHTLY) {
                continue;
            }
            Set<Conditions> met = new HashSet<>();
            for (Length length : Length.values()) {
                List<Conditions> all = List.of(Conditions.roomy(turn), Conditions.scarce(turn));
                for (Conditions now : NIGHTLY || turn % 2 == 0 ? all : all.subList(0, 1)) {
                    met.add(now);
                    List<Answer> expected = requireNonNull(alone.get(now.kvType));
                    Speculation speculation = drafting.with(length, draft);
                    SpeculationCounts stats =
                            assertAnswers(file, requests, expected, now, speculation, length.policies(turn));
                    if (now.chunk > 1 && length != Length.GOVERNED) {
                        assertThat(stats.draftTokens())
                                .as("%s, %s", now, speculation)
                                .isPositive();
                    }
                    stats.drafters().forEach(d -> drafterToAccepted.merge(d.name(), d.acceptedTokens(), Long::sum));
                    rejected += stats.draftTokens() - stats.acceptedTokens();
                }
                turn++;
            }
            assertThat(met).extracting(Conditions::chunk).contains(1, 7, 16, 512);
            assertThat(met).extracting(Conditions::kvType).containsAll(KV_TYPES);
        }
        assertThat(drafterToAccepted)
                .as("accepted draft tokens")
                .hasEntrySatisfying("lookup", accepted -> assertThat(accepted).isGreaterThan(10))
                .hasEntrySatisfying("model", accepted -> assertThat(accepted).isGreaterThan(200));
        assertThat(rejected).as("rejected draft tokens").isGreaterThan(200);

        List<Answer> expected = requireNonNull(alone.get(KvType.F16));
        EngineConfig itself = config(1, 512, 0, 2, KvType.F16).withSpeculation(Drafting.BOTH.with(Length.FOUR, file));
        assertThat(answer(file, requests, itself, 1, DraftPolicy::of).answers)
                .as("alone, with itself as the draft model")
                .isEqualTo(expected);
    }

    /** Adds a prediction to every other request: its own answer with some other tokens, or another one's answer. */
    private static List<Request> withPredictions(List<Request> requests, List<Answer> answers) {
        Random random = new Random(5);
        List<Request> predicted = new ArrayList<>();
        for (int i = 0; i < requests.size(); i++) {
            Request request = requests.get(i);
            int[] text = answers.get(random.nextInt(4) == 0 ? random.nextInt(answers.size()) : i).tokens.stream()
                    .mapToInt(token -> random.nextInt(8) == 0 ? token + 1 : token)
                    .toArray();
            predicted.add(
                    i % 2 == 0
                            ? request
                            : new Request(
                                    request.prompt(),
                                    request.params(),
                                    request.cacheSalt(),
                                    request.scheduling(),
                                    text));
        }
        return predicted;
    }

    /**
     * Contexts of more than one segment of attention. Workers share the segments of a sequence when there are few units for them,
     * so the same request is computed whole and in pieces. A single row of the wide model is work enough for all workers, so its
     * decode steps are cut too; those of the others run on one worker.
     */
    @ParameterizedTest
    @ValueSource(strings = {"quire-tiny", "wide", "gemma3", "deepseek2"})
    void output_longContextsInPieces_isBitIdentical(String architecture) throws Exception {
        Path file =
                switch (architecture) {
                    case "quire-tiny" -> TINY;
                    case "wide" ->
                        RandomModels.write(
                                folder,
                                new RandomModels.Shape(1024, 256, 1280, 2, 4, 2, 64, 64, false, false, false),
                                ElementType.Q4_0,
                                5);
                    default -> FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
                };
        int most = 640;
        int[] words;
        try (Gguf gguf = Gguf.open(file)) {
            words = Tokenizers.of(gguf).encode("Once upon a time, there was a little girl", false, false);
        }
        Random random = new Random(6);
        List<Request> requests = IntStream.of(most - 12, KvLayout.SEGMENT - 3, 30)
                .mapToObj(length -> new Request(
                        IntStream.range(0, length)
                                .map(i -> words[random.nextInt(words.length)])
                                .toArray(),
                        SamplingParams.builder()
                                .maxTokens(6)
                                .temperature(0)
                                .logprobs(1)
                                .ignoreEndOfText(true)
                                .build()))
                .toList();
        for (KvType kvType : List.of(KvType.F16, KvType.Q8_0)) {
            EngineConfig whole = config(1, 512, 0, 1, kvType).toBuilder()
                    .maxContext(most)
                    .prefixCache(false)
                    .build();
            List<Answer> alone = answer(file, requests, whole, 1, DraftPolicy::of).answers;
            for (int threads : kvType == KvType.F16 ? new int[] {2, 16} : new int[] {3}) {
                int together = threads == 2 ? requests.size() : 1;
                EngineConfig now = config(3, threads == 3 ? 300 : 512, 0, threads, kvType).toBuilder()
                        .maxContext(most)
                        .build();
                assertThat(answer(file, requests, now, together, DraftPolicy::of).answers)
                        .as("%d threads, %d together, %s", threads, together, kvType)
                        .isEqualTo(alone);
            }
        }
    }

    /** Runs the requests together and compares their answers; returns the counts of draft tokens. */
    private static SpeculationCounts assertAnswers(
            Path file,
            List<Request> requests,
            List<Answer> alone,
            Conditions conditions,
            Speculation speculation,
            DraftPolicy.Maker policies)
            throws Exception {
        EngineStats stats = assertEqual(file, requests, alone, conditions, speculation, policies);
        if (conditions.scarce) {
            assertThat(stats.preemptions())
                    .as("preemptions: %s, %s", conditions, speculation)
                    .isPositive();
        }
        return stats.speculation().counts();
    }

    /** The same where some requests may come so late that pages suffice; returns the statistics. */
    private static EngineStats assertEqual(
            Path file,
            List<Request> requests,
            List<Answer> alone,
            Conditions conditions,
            Speculation speculation,
            DraftPolicy.Maker policies)
            throws Exception {
        Outcome outcome = answer(file, requests, conditions.config(file, speculation), REQUESTS, policies);
        assertThat(outcome.answers)
                .as("%d together, %s, %s", REQUESTS, conditions, speculation)
                .isEqualTo(alone);
        return outcome.stats;
    }

    /** Requests with prompts of 1 to 60 tokens and various sampling parameters. */
    private static List<Request> requests(Path file) {
        Random random = new Random(3);
        Random mixed = new Random(4);
        List<Request> requests = new ArrayList<>();
        try (Gguf gguf = Gguf.open(file)) {
            Tokenizer tokenizer = Tokenizers.of(gguf);
            int[] words = tokenizer.encode("Once upon a time, there was a little girl", false, false);
            int control = IntStream.range(0, tokenizer.vocabularySize())
                    .filter(token -> tokenizer.isControl(token) && !tokenizer.isEndOfGeneration(token))
                    .findFirst()
                    .orElseThrow();
            for (int i = 0; i < REQUESTS; i++) {
                int[] prompt = random.ints(1 + random.nextInt(60), 0, words.length)
                        .map(at -> words[at])
                        .toArray();
                SamplingParams.Builder params = SamplingParams.builder()
                        .maxTokens(1 + random.nextInt(50))
                        .seed(i)
                        .logprobs(i % 4)
                        .ignoreEndOfText(i % 4 != 0);
                switch (i % 5) {
                    case 0 -> params.temperature(0);
                    case 1 -> params.temperature(1);
                    case 2 -> params.temperature(0.8).topP(0.9).topK(20);
                    case 3 ->
                        params.temperature(1.2)
                                .minP(0.05)
                                .repetitionPenalty(1.3)
                                .logitBias(Map.of(control, 4f))
                                .stop(List.of(tokenizer.spelling(control)));
                    default ->
                        params.temperature(0)
                                .presencePenalty(0.7)
                                .frequencyPenalty(0.4)
                                .logitBias(Map.of(words[0], 1.5f))
                                .stop(List.of("the", "a b"));
                }
                if (i % 3 == 1) {
                    mix(params, mixed, words);
                }
                requests.add(new Request(prompt, params.build()));
            }
        }
        // Short answers first: the engine then expects short ones, and pages run out.
        requests.sort(Comparator.comparingInt(request -> request.params().maxTokens()));
        return requests;
    }

    /** Adds some of the rarer parameters. */
    private static void mix(SamplingParams.Builder params, Random random, int[] words) {
        if (random.nextBoolean()) {
            params.topNSigma(0.5 + random.nextDouble() * 2);
        }
        if (random.nextBoolean()) {
            params.typicalP(0.3 + 0.6 * random.nextDouble());
        }
        if (random.nextBoolean()) {
            params.xtc(random.nextDouble(), 0.05 + 0.3 * random.nextDouble());
        }
        if (random.nextBoolean()) {
            params.dry(new Dry(0.8, 1.75, 1 + random.nextInt(2), 4 + random.nextInt(60), Set.of(words[1]), List.of()));
        }
        if (random.nextBoolean()) {
            params.badWords(List.of(List.of(words[2]), List.of(words[0], words[3])));
        }
        if (random.nextBoolean()) {
            params.promptLogprobs(random.nextInt(3));
        }
        if (random.nextInt(4) == 0) {
            params.allowedTokens(IntStream.range(3, 260).boxed().toList());
        }
        if (random.nextBoolean()) {
            params.maxTokens(30).minTokens(random.nextInt(30)).includeStop(true);
        }
    }

    /** @param kvCacheBytes 0 for enough */
    private static EngineConfig config(
            int sequences, int batchedTokens, long kvCacheBytes, int threads, KvType kvType) {
        return EngineConfig.builder()
                .maxSequences(sequences)
                .maxBatchedTokens(batchedTokens)
                .maxContext(112)
                .kvCacheBytes(kvCacheBytes)
                .kvType(kvType)
                .threads(threads)
                .speculation(Speculation.off())
                .build();
    }

    /** Bytes of a page, with the draft model's. */
    private static long pageBytes(Path file, EngineConfig config) {
        try (Gguf gguf = Gguf.open(file)) {
            return Engine.plan(gguf, ModelConfig.from(gguf), config).pageBytes();
        }
    }

    /** Runs each request alone, on one thread, with its prompt in one chunk. */
    private static List<Answer> alone(Path file, List<Request> requests, KvType kvType) throws Exception {
        EngineConfig config =
                config(1, 512, 0, 1, kvType).toBuilder().prefixCache(false).build();
        return answer(file, requests, config, 1, DraftPolicy::of).answers;
    }

    /** @param together how many requests are sent before the first answer is read */
    private static Outcome answer(
            Path file, List<Request> requests, EngineConfig config, int together, DraftPolicy.Maker policies)
            throws Exception {
        try (Engine engine = Engine.open(file, config, EngineListener.NONE, policies)) {
            List<Answer> answers = new ArrayList<>();
            for (int first = 0; first < requests.size(); first += together) {
                List<TokenStream> streams = new ArrayList<>();
                for (Request request : requests.subList(first, Math.min(first + together, requests.size()))) {
                    streams.add(engine.submit(request));
                }
                for (TokenStream stream : streams) {
                    answers.add(read(stream));
                }
            }
            assertThat(engine.stats().usedPages()).isZero();
            return new Outcome(answers, engine.stats());
        }
    }

    private static Answer read(TokenStream stream) throws InterruptedException {
        List<Integer> tokens = new ArrayList<>();
        List<Integer> bits = new ArrayList<>();
        StringBuilder text = new StringBuilder();
        for (Output output = stream.next(); output != null; output = stream.next()) {
            tokens.add(output.token());
            text.append(output.text());
            Logprobs logprobs = output.logprobs();
            if (logprobs != null) {
                addBits(logprobs, bits);
            }
        }
        List<Integer> promptBits =
                new ArrayList<>(); // first, so that the bits of a part of an answer begin those of the whole
        stream.promptLogprobs().forEach(logprobs -> addBits(logprobs, promptBits));
        bits.addAll(0, promptBits);
        List<Integer> vectorBits = IntStream.range(0, stream.vector().length)
                .mapToObj(i -> Float.floatToRawIntBits(stream.vector()[i]))
                .toList();
        return new Answer(tokens, bits, text.toString(), vectorBits, stream.finish());
    }

    private static void addBits(Logprobs logprobs, List<Integer> bits) {
        bits.add(Float.floatToRawIntBits(logprobs.chosen()));
        bits.add(logprobs.rank());
        for (int i = 0; i < logprobs.topTokens().length; i++) {
            bits.add(logprobs.topTokens()[i]);
            bits.add(Float.floatToRawIntBits(logprobs.topLogprobs()[i]));
        }
    }
}
