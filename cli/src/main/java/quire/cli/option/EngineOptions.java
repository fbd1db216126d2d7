package quire.cli.option;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.model.BuiltInModel;
import quire.tensor.KvLayout;

/** The options that configure an engine. */
public final class EngineOptions {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--max-sequences",
            paramLabel = "N",
            defaultValue = "64",
            description = "Maximum sequences that run at the same time (default ${DEFAULT-VALUE}).")
    private int maxSequences;

    @Option(
            names = "--max-batched-tokens",
            paramLabel = "N",
            defaultValue = "512",
            description = "Maximum tokens computed in one step, over all sequences (default ${DEFAULT-VALUE}).")
    private int maxBatchedTokens;

    @Option(
            names = "--max-context",
            paramLabel = "N",
            defaultValue = "0",
            description =
                    "Maximum tokens of one sequence, prompt and answer (default: the context that the model was trained for, or"
                            + " what the KV pages in memory hold if that is less). With --kv-disk it may be more than these"
                            + " hold.")
    private int maxContext;

    @Mixin
    private RopeOptions rope;

    @Option(
            names = "--max-queued",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Maximum requests in the queue; more are refused (default ${DEFAULT-VALUE}).")
    private int maxQueued;

    @Option(
            names = "--max-queued-tokens",
            paramLabel = "N",
            defaultValue = "1048576",
            description = "Maximum prompt tokens in the queue, over all requests (default ${DEFAULT-VALUE}).")
    private long maxQueuedTokens;

    @Option(
            names = "--max-queue-wait",
            paramLabel = "SECONDS",
            defaultValue = "30",
            description =
                    "How long a request may have to wait in the queue, estimated from the speed of the queue; further ones"
                            + " are refused until it is shorter. 0 for no limit (default ${DEFAULT-VALUE}).")
    private int maxQueueWaitSeconds;

    @Option(
            names = "--kv-cache",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            defaultValue = "0",
            description = "Memory for the KV cache, such as 4GiB (default: the rest of the memory plan).")
    private long kvCacheBytes;

    @Mixin
    private KvTypeOption kvType;

    @Option(
            names = "--page-tokens",
            paramLabel = "N",
            defaultValue = "16",
            description = "Tokens of a KV page, a multiple of 16 (default ${DEFAULT-VALUE}).")
    private int pageTokens;

    @Option(
            names = "--target-itl",
            paramLabel = "MILLIS",
            defaultValue = "200",
            description =
                    "Time that a step may take while answers are being generated (inter-token latency). Long prompts are"
                            + " then computed in smaller chunks; 0 for no bound (default ${DEFAULT-VALUE}).")
    private long targetItlMillis;

    @Option(
            names = "--prefix-cache",
            paramLabel = "on|off",
            defaultValue = "on",
            description =
                    "Whether prompts that begin alike share memory and work, and pages stay cached until their memory is"
                            + " needed: on or off. It changes the speed and nothing else (default ${DEFAULT-VALUE}).")
    private String prefixCache;

    @Option(
            names = "--saved-states",
            paramLabel = "N",
            description =
                    "States of Mamba and delta-net layers that are saved, so that prompts that begin alike share them too. Each"
                            + " takes as much memory as that of a running sequence: `quire plan` says how much (default: up to"
                            + " four for each sequence, in a quarter of the KV cache).")
    private int savedStates;

    @Option(
            names = "--packed-cache",
            paramLabel = "DIR",
            converter = FilePath.class,
            description =
                    "A folder in which the weights are kept as the kernels pack them. The first start writes them there; later"
                            + " starts of the same model map that file, so they are faster, and processes share its memory. It"
                            + " takes about as much space as the model (default: none).")
    private @Nullable Path packedCache;

    @Option(
            names = "--kv-disk",
            paramLabel = "FILE",
            converter = FilePath.class,
            description =
                    "A file below the KV cache in memory: pages are kept there when their memory is needed and after the"
                            + " process has ended, and are read where that is faster than computing. It is created if it is"
                            + " not there, for this user only. It changes the speed and nothing else (default: none).")
    private @Nullable Path kvDisk;

    @Option(
            names = "--kv-disk-size",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            description =
                    "Size on disk at most, such as 20GiB (default 4GiB): of the --kv-disk file, and of the pages of a"
                            + " sequence that is longer than the memory holds.")
    private @Nullable Long kvDiskBytes;

    @Mixin
    private ThreadsOption threads;

    @Option(
            names = "--speculation",
            paramLabel = "auto|off|N",
            defaultValue = "auto",
            description =
                    "Speculative decoding, which changes the speed and nothing else: auto chooses the number of draft tokens"
                            + " by measurement, off uses none, N uses a fixed number in each step (default"
                            + " ${DEFAULT-VALUE}).")
    private String speculation;

    @Option(
            names = "--draft",
            paramLabel = "FILE",
            converter = FilePath.class,
            description =
                    "A draft model: a small GGUF file with the same tokens, for draft tokens where the text has no"
                            + " repetitions (default: none; the built-in model has its own).")
    private @Nullable Path draft;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it takes effect while picocli parses the line
    private KernelsOption kernels;

    /** The configuration for this model; the built-in model gets its own draft model. */
    public EngineConfig config(ModelOption model) {
        return config(model, maxSequences);
    }

    /**
     * The configuration for this model and a command that never has more than {@code sequences} requests.
     *
     * @throws ParameterException if an option is out of range; the message names it
     */
    public EngineConfig config(ModelOption model, int sequences) {
        EngineConfig config = config(sequences);
        Speculation chosen = config.speculation();
        return chosen.draft() == null && chosen.draftTokens() != Speculation.OFF && model.isBuiltIn()
                ? config.withSpeculation(new Speculation(
                        chosen.draftTokens(), chosen.lookup(), BuiltInModel.QUIRE_TINY_DRAFT.path(), null))
                : config;
    }

    private EngineConfig config(int sequences) {
        Range.check(command, "--max-sequences", maxSequences, 1, Integer.MAX_VALUE);
        if (maxBatchedTokens < sequences) {
            throw fault("--max-batched-tokens takes at least one token for each sequence, here " + sequences + ", not "
                    + maxBatchedTokens);
        }
        if (maxContext != 0) {
            Range.check(command, "--max-context", maxContext, 2, Integer.MAX_VALUE);
        }
        Range.check(command, "--max-queued", maxQueued, 1, Integer.MAX_VALUE);
        Range.check(command, "--max-queued-tokens", maxQueuedTokens, 1, Long.MAX_VALUE);
        Range.check(command, "--max-queue-wait", maxQueueWaitSeconds, 0, EngineConfig.MAX_QUEUE_WAIT.toSeconds());
        if (pageTokens < KvLayout.TILE || pageTokens % KvLayout.TILE != 0) {
            throw fault("--page-tokens takes a multiple of " + KvLayout.TILE + ", not " + pageTokens);
        }
        Range.check(command, "--target-itl", targetItlMillis, 0, EngineConfig.MAX_TARGET_TOKEN_GAP.toMillis());
        int draftTokens = draftTokens();
        if (draftTokens == Speculation.OFF && draft != null) {
            throw fault("--draft " + draft + " has no effect with --speculation off: leave one of them out");
        }
        if (draft != null) {
            FilePath.requireFile(command, "--draft " + draft, draft);
        }
        boolean caching = prefixCache();
        if (kvDisk != null && !caching) {
            throw fault("--kv-disk " + kvDisk + " has no effect with --prefix-cache off: leave one of them out");
        }
        Range.check(command, "--saved-states", savedStates, 0, Integer.MAX_VALUE);
        if (savedStates > 0 && !caching) {
            throw fault("--saved-states has no effect with --prefix-cache off: leave one of them out");
        }
        if (kvDiskBytes != null && kvDisk == null) {
            throw fault("--kv-disk-size has no effect without --kv-disk FILE: name the file, or leave it out");
        }
        if (kvDiskBytes != null && kvDiskBytes < 1) {
            throw fault("--kv-disk-size takes a size such as 4GiB, not " + kvDiskBytes);
        }
        EngineConfig.Builder config = EngineConfig.builder()
                .maxSequences(sequences)
                .maxBatchedTokens(maxBatchedTokens)
                .maxContext(maxContext)
                .rope(rope.scaling())
                .maxQueuedRequests(maxQueued)
                .maxQueuedTokens(maxQueuedTokens)
                .maxQueueWait(Duration.ofSeconds(maxQueueWaitSeconds))
                .kvCacheBytes(kvCacheBytes)
                .pageTokens(pageTokens)
                .kvType(kvType.type())
                .threads(threads.count())
                .targetTokenGap(Duration.ofMillis(targetItlMillis))
                .speculation(new Speculation(draftTokens, true, draft, null))
                .prefixCache(caching)
                .savedStates(savedStates)
                .packedCache(packedCache)
                .kvDisk(kvDisk);
        return kvDiskBytes == null
                ? config.build()
                : config.kvDiskBytes(kvDiskBytes).build();
    }

    private boolean prefixCache() {
        return switch (prefixCache.toLowerCase(Locale.ROOT)) {
            case "on" -> true;
            case "off" -> false;
            default -> throw fault("--prefix-cache takes on or off, not " + prefixCache);
        };
    }

    private ParameterException fault(String message) {
        return new ParameterException(command.commandLine(), message);
    }

    private int draftTokens() {
        return switch (speculation.toLowerCase(Locale.ROOT)) {
            case "auto" -> Speculation.AUTO;
            case "off" -> Speculation.OFF;
            default -> {
                try {
                    int tokens = Integer.parseInt(speculation);
                    if (tokens >= 1 && tokens <= Speculation.MAX_DRAFT_TOKENS) {
                        yield tokens;
                    }
                } catch (NumberFormatException e) {
                    // the exception below says what is allowed
                }
                throw fault("--speculation takes auto, off or a number of draft tokens from 1 to "
                        + Speculation.MAX_DRAFT_TOKENS + ", not " + speculation);
            }
        };
    }
}
