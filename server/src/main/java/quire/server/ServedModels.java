package quire.server;

import java.time.Clock;
import java.time.Duration;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.EngineStats;
import quire.model.ModelConfig;
import quire.model.ModelFacts;
import quire.model.SamplingDefaults;
import quire.model.format.Gguf;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.server.api.ChatAbilities;
import quire.server.api.ListedModel;
import quire.server.api.ModelCatalog;
import quire.server.api.ModelName;
import quire.server.api.ServedModel;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.models.ModelPool;
import quire.server.models.ModelSource;

/**
 * The models behind the routes: their names, and the handlers of each while it is in memory. A server with one model has a
 * single one that is always there.
 */
final class ServedModels implements ModelCatalog, AutoCloseable {
    /** Bodies up to this size are searched for the model's name without waiting for a turn. */
    private static final int SMALL_BYTES = 64 << 10;

    /** When to ask again about a file that cannot be read. */
    private static final int RETRY_SECONDS = 10;

    private final ModelPool<ModelHandlers> pool;
    private final ModelHandlers.Shared shared;
    private final boolean one;
    private final Duration wait;
    private final List<Entry> entries = new ArrayList<>();
    private final Map<String, Entry> nameToEntry = new HashMap<>();
    private @Nullable Entry takesAny;

    /** A model, loaded or not. */
    private final class Entry {
        private final String name;
        private final List<String> names;
        private final ModelMetrics metrics;
        private final int maxContext;
        private final SamplingDefaults sampling;
        private final @Nullable ModelFile file;
        private final @Nullable ModelFacts facts; // as the file says at the start
        private final ModelPool<ModelHandlers>.Slot slot;
        private volatile @Nullable Set<String> abilities;

        Entry(
                String name,
                List<String> aliases,
                ModelMetrics metrics,
                int maxContext,
                SamplingDefaults sampling,
                @Nullable ModelFile file,
                @Nullable ModelFacts facts,
                ModelPool<ModelHandlers>.Slot slot) {
            this.name = name;
            Set<String> all = new LinkedHashSet<>();
            all.add(name);
            all.addAll(aliases);
            if (all.remove(ServedModel.ANY)) {
                takesAny = this;
            }
            this.names = List.copyOf(all);
            this.metrics = metrics;
            this.maxContext = maxContext;
            this.sampling = sampling;
            this.file = file;
            this.facts = facts;
            this.slot = slot;
            entries.add(this);
            names.forEach(each -> nameToEntry.put(each, this));
        }

        ListedModel listed() {
            ModelPool.View view = slot.view();
            boolean loaded = view.state() == ModelPool.State.READY || view.state() == ModelPool.State.DRAINING;
            int context = maxContext;
            SamplingDefaults defaults = sampling;
            ModelFacts said = facts;
            try (ModelPool<ModelHandlers>.Lease lease = slot.peek()) {
                if (lease != null) { // its file may have been replaced since the start
                    context = lease.model().engine.maxContext();
                    defaults = lease.model().served.samplingDefaults();
                    said = lease.model().engine.facts();
                }
            }
            return new ListedModel(
                    name,
                    names,
                    said,
                    context,
                    defaults,
                    view.state().word(),
                    loaded,
                    view.bytes(),
                    view.failure(),
                    view.idleLeft(),
                    this::abilities);
        }

        private Set<String> abilities() {
            Set<String> known = abilities;
            try (ModelPool<ModelHandlers>.Lease lease = slot.peek()) {
                if (lease != null) {
                    Engine engine = lease.model().engine;
                    known = words(lease.model().served.abilities(), engine.isEncoder(), engine.vectorWidth() > 0);
                }
            }
            known = known == null ? read() : known;
            abilities = known;
            return known;
        }

        /**
         * The abilities as the file says them.
         *
         * @throws HttpException 503 if the file cannot be used
         */
        private Set<String> read() {
            if (file == null) {
                return Set.of("completion");
            }
            try (Gguf gguf = Gguf.open(file.path())) {
                Tokenizer tokenizer = Tokenizers.of(gguf);
                ChatAbilities chats;
                try {
                    chats = ChatAbilities.of(
                            ChatTemplates.of(gguf, tokenizer, Clock.system(ZoneId.systemDefault())), tokenizer);
                } catch (ChatTemplateException e) {
                    chats = ChatAbilities.of(null, tokenizer); // the log says why when the model is loaded
                }
                return words(chats, ModelConfig.from(gguf).blocks().encoder(), true);
            } catch (RuntimeException e) { // of any kind, as in a load: the file may have been removed or replaced
                throw HttpException.unavailable(
                        "The model '" + name + "' cannot be used: " + e.getMessage(), RETRY_SECONDS);
            }
        }

        private static Set<String> words(ChatAbilities chats, boolean encoder, boolean vectors) {
            if (encoder) {
                return Set.of("embedding");
            }
            Set<String> words = new LinkedHashSet<>();
            words.add("completion");
            if (vectors) {
                words.add("embedding");
            }
            if (chats.toolCallFormat() != null) {
                words.add("tools");
            }
            if (chats.reasoningFormat() != null) {
                words.add("thinking");
            }
            return words;
        }
    }

    private ServedModels(ModelPool<ModelHandlers> pool, ModelHandlers.Shared shared, boolean one, Duration wait) {
        this.pool = pool;
        this.shared = shared;
        this.one = one;
        this.wait = wait;
    }

    /** One model that is always there. The caller closes its engine after these. */
    static ServedModels of(Engine engine, ModelMetrics metrics, ModelHandlers.Shared shared) {
        ServedModels models = new ServedModels(
                new ModelPool<>(ModelSource.Need.NONE, ModelPool.BACKGROUND_IDLE, System::nanoTime),
                shared,
                true,
                Duration.ofSeconds(1));
        String name = engine.modelName();
        List<String> aliases = shared.config().aliases();
        SamplingDefaults sampling = shared.config().samplingDefaults();
        ModelHandlers handlers = new ModelHandlers(engine, name, aliases, sampling, time -> {}, shared);
        models
        .new Entry(
                name,
                aliases,
                metrics,
                engine.maxContext(),
                handlers.served.samplingDefaults(),
                null,
                engine.facts(),
                models.pool.addLoaded(name, handlers));
        return models;
    }

    /**
     * Models that are loaded when a request asks for them.
     *
     * @param opener opens engines: {@link EngineOpener#OF_FILE}
     * @param backgroundIdle see {@link ModelPool#ModelPool}
     */
    static ServedModels of(ModelSet set, EngineOpener opener, Duration backgroundIdle, ModelHandlers.Shared shared) {
        ServedModels models = new ServedModels(
                new ModelPool<>(
                        new ModelSource.Need(set.memoryBytes(), set.heapBytes()), backgroundIdle, System::nanoTime),
                shared,
                false,
                set.waiting());
        for (ModelSet.Planned planned : set.models()) {
            models.add(planned, set.idle(), opener);
        }
        return models;
    }

    private void add(ModelSet.Planned planned, Duration idle, EngineOpener opener) {
        ModelFile file = planned.file();
        ModelMetrics metrics = new ModelMetrics();
        FileSource source = new FileSource(file, metrics, opener);
        ModelPool<ModelHandlers>.Slot slot = pool.add(file.name(), source, idle);
        source.slot = slot;
        new Entry(
                file.name(),
                file.aliases(),
                metrics,
                planned.maxContext(),
                ServedModel.defaults(file.sampling(), planned.recommendedSampling()),
                file,
                planned.facts(),
                slot);
    }

    /** Opens the engine of a model. */
    @FunctionalInterface
    interface EngineOpener {
        /** From its file. */
        EngineOpener OF_FILE = (file, metrics) -> Engine.open(file.path(), file.config(), metrics);

        Engine open(ModelFile file, ModelMetrics metrics);
    }

    /** A model that comes from a file. */
    private final class FileSource implements ModelSource<ModelHandlers> {
        private final ModelFile file;
        private final ModelMetrics metrics;
        private final EngineOpener opener;
        private ModelPool<ModelHandlers>.@Nullable Slot slot;

        FileSource(ModelFile file, ModelMetrics metrics, EngineOpener opener) {
            this.file = file;
            this.metrics = metrics;
            this.opener = opener;
        }

        @Override
        public Need need() {
            ModelSet.Planned planned = ModelSet.planned(file);
            return new Need(planned.bytes(), planned.heapBytes());
        }

        @Override
        public ModelHandlers load() {
            metrics.beginLoad();
            Engine engine = opener.open(file, metrics);
            try {
                ModelHandlers handlers =
                        new ModelHandlers(engine, file.name(), file.aliases(), file.sampling(), this::stay, shared);
                Thread.ofVirtual().name("watch-" + file.name()).start(() -> watch(handlers));
                return handlers;
            } catch (Throwable e) {
                engine.close();
                throw e;
            }
        }

        private void stay(Duration time) {
            if (slot != null) {
                slot.stay(time);
            }
        }

        /** Takes the model out of use if its engine fails. */
        private void watch(ModelHandlers handlers) {
            try {
                Throwable failure = handlers.engine.awaitEnd();
                if (failure != null && slot != null) {
                    slot.broke(handlers, "its engine failed: " + failure);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt(); // nobody does; the thread ends
            }
        }

        @Override
        public void cancel() {
            metrics.cancelLoad();
        }

        @Override
        public void unload(ModelHandlers model) {
            model.engine.close();
        }

        @Override
        public int secondsLeft() {
            return metrics.loading().retrySeconds();
        }
    }

    /** Whether there is one model, which is always there. */
    boolean isOne() {
        return one;
    }

    /** The most memory that all models together have taken at a time. */
    long mostUsedBytes() {
        return pool.mostUsed().bytes();
    }

    /** The name of the first model. */
    String first() {
        return entries.getFirst().name;
    }

    // ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @Override
    public List<ListedModel> models() {
        return entries.stream().map(Entry::listed).toList();
    }

    @Override
    public ListedModel find(@Nullable String asked) {
        return entry(asked).listed();
    }

    @Override
    public void stay(@Nullable String asked, Duration time) {
        entry(asked).slot.stay(time);
    }

    private Entry entry(@Nullable String asked) {
        if (asked == null || asked.isEmpty()) {
            if (shared.config().modelRequired()) {
                throw HttpException.invalid(
                        "model", "missing_required_parameter", "Missing required parameter: 'model'.");
            }
            return entries.getFirst();
        }
        Entry entry = nameToEntry.get(ServedModel.untagged(asked, nameToEntry.keySet()));
        if (entry == null && ServedModel.isName(asked)) {
            entry = takesAny;
        }
        if (entry == null) {
            throw ServedModel.unknown(
                    asked, entries.stream().flatMap(each -> each.names.stream()).toList());
        }
        return entry;
    }

    // ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────

    /**
     * The model that a request asks for, for as long as the request runs. Loads it if it is not in memory, and waits.
     *
     * @throws HttpException 400 if the body is no JSON; 404 if there is no such model; 503 if it is not loaded in time
     */
    ModelPool<ModelHandlers>.Lease acquire(Exchange exchange) throws InterruptedException {
        Entry entry = entries.getFirst();
        if (!one) {
            List<String> members = exchange.route().startsWith("/api/") ? List.of("model", "name") : List.of("model");
            Supplier<@Nullable String> search = () -> ModelName.of(exchange.body(), members);
            entry = entry(
                    exchange.bodyBytes() <= SMALL_BYTES
                            ? search.get()
                            : shared.preparation().run(exchange, search));
        }
        return entry.slot.acquire(wait, exchange.background(), exchange::onDeparture);
    }

    /**
     * Refuses a request before it is read, as {@link quire.server.api.AnswerService#checkRoom} does. Where there are
     * several models it is not known yet which one is meant: {@link #acquire} comes first.
     */
    void checkRoom(Exchange exchange) {
        if (one) {
            try (ModelPool<ModelHandlers>.Lease lease = entries.getFirst().slot.peek()) {
                if (lease != null) {
                    lease.model().answers.checkRoom(exchange);
                }
            }
        }
    }

    /**
     * The model whose engine is shown: the one that is asked for, else the first in memory; null if it is in none.
     *
     * @param asked null for any
     */
    ModelPool<ModelHandlers>.@Nullable Lease shown(@Nullable String asked) {
        if (asked != null && !asked.isEmpty()) {
            return entry(asked).slot.peek();
        }
        for (Entry entry : entries) {
            ModelPool<ModelHandlers>.Lease lease = entry.slot.peek();
            if (lease != null) {
                return lease;
            }
        }
        return null;
    }

    /** Requests that run or wait, of all models. */
    int load() {
        int load = 0;
        for (Entry entry : entries) {
            load += entry.slot.view().waiting();
            try (ModelPool<ModelHandlers>.Lease lease = entry.slot.peek()) {
                if (lease != null) {
                    EngineStats stats = lease.model().engine.stats();
                    load += stats.running() + stats.waiting();
                }
            }
        }
        return load;
    }

    /** What each model in memory has done and has to do, by its name. */
    Map<String, EngineStats> stats() {
        Map<String, EngineStats> stats = new LinkedHashMap<>();
        for (Entry entry : entries) {
            try (ModelPool<ModelHandlers>.Lease lease = entry.slot.peek()) {
                if (lease != null) {
                    stats.put(entry.name, lease.model().engine.stats());
                }
            }
        }
        return stats;
    }

    /** The failure of the engine of a server with one model; null if it has not failed. Several models are loaded again. */
    @Nullable
    Throwable failure() {
        if (!one) {
            return null;
        }
        try (ModelPool<ModelHandlers>.Lease lease = entries.getFirst().slot.peek()) {
            return lease == null ? null : lease.model().engine.failure();
        }
    }

    /** The most sequences that one of the models runs at a time. */
    int maxSequences() {
        int most = 1;
        for (Entry entry : entries) {
            ModelFile file = entry.file;
            if (file != null) {
                most = Math.max(most, file.config().maxSequences());
            }
            try (ModelPool<ModelHandlers>.Lease lease = entry.slot.peek()) {
                most = lease == null
                        ? most
                        : Math.max(most, lease.model().engine.maxSequences());
            }
        }
        return most;
    }

    /** Writes the metrics of all models. */
    void write(MetricsText all) {
        for (Entry entry : entries) {
            MetricsText text = all.of(entry.name);
            ModelPool.View view = entry.slot.view();
            try (ModelPool<ModelHandlers>.Lease lease = entry.slot.peek()) {
                if (lease != null) {
                    entry.metrics.write(lease.model().engine, text);
                } else {
                    ModelMetrics.writeAbsent(view.waiting(), text);
                }
            }
            if (!one) {
                text.head("quire_model_state", "1 for the state that the model is in, 0 for the others.", "gauge");
                for (ModelPool.State state : ModelPool.State.values()) {
                    text.sample("quire_model_state", "state", state.word(), state == view.state() ? 1 : 0);
                }
                text.gauge("quire_model_memory_bytes", "Memory that the model takes.", (double) view.bytes());
                text.counter("quire_model_loads_total", "Times that the model was loaded.", view.loads());
                text.gauge(
                        "quire_model_requests_waiting",
                        "Requests that wait until the model is loaded.",
                        view.waiting());
            }
        }
        if (!one) {
            all.gauge("quire_models_memory_bytes", "Memory that all models together take.", (double)
                    pool.used().bytes());
            all.gauge("quire_models_memory_limit_bytes", "Memory that all models together may take.", (double)
                    pool.budget().bytes());
        }
    }

    /** Loads no more models, and refuses requests that wait for one. */
    void stop() {
        pool.stop();
    }

    /** Refuses requests that wait for a model, and unloads all of them. The requests that run have ended. */
    @Override
    public void close() {
        pool.close();
    }
}
