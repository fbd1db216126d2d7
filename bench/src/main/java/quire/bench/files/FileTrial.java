package quire.bench.files;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Clock;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import quire.cli.Quire;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.format.ModelFormatException;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * Does with a file what a server does: opens it, describes its values, makes tokenizer and chat template and uses them,
 * loads the weights and computes a step, with every kernel set of this machine.
 */
final class FileTrial implements AutoCloseable {
    private static final String TEXT = "the fox <|im_end|> \u00e9\u6f22 123";
    private static final int DESCRIBED_CHARS = 60;
    private static final int MAX_MESSAGE_CHARS = 2000;
    private static final int PAGE_TOKENS = 16;
    private static final int TOKENS = 18;

    private final List<Kernels> sets = KernelSets.names().stream()
            .filter(name -> KernelSets.obstacle(name) == null)
            .map(KernelSets::named)
            .toList();
    private final Workers workers = new Workers(2);

    /** The names of the kernel sets that compute. */
    List<String> kernelSets() {
        return sets.stream().map(Kernels::name).toList();
    }

    /**
     * Tries a file.
     *
     * @return whether it was accepted and has computed; otherwise it was refused in one line
     * @throws IllegalStateException if it was refused with a message that is not one line
     * @throws RuntimeException of another kind if the file made the code fail
     */
    boolean run(Path path) {
        try (Gguf file = Gguf.open(path)) {
            for (String key : file.keys()) {
                file.describe(key, DESCRIBED_CHARS);
            }
            ModelConfig config = ModelConfig.from(file);
            config.checkTensors(file);
            Tokenizer tokenizer = Tokenizers.of(file);
            useText(tokenizer);
            useTemplate(file, tokenizer);
            for (Kernels kernels : sets) {
                forward(file, config, kernels);
            }
            return true;
        } catch (ModelFormatException e) {
            checkMessage(String.valueOf(e.getMessage()));
            return false;
        }
    }

    private static void useText(Tokenizer tokenizer) {
        for (int token = 0; token < tokenizer.vocabularySize(); token++) {
            tokenizer.spelling(token);
            tokenizer.bytes(token);
            tokenizer.isEndOfGeneration(token);
        }
        try {
            tokenizer.decodeText(tokenizer.encode(TEXT, true, true));
        } catch (IllegalArgumentException e) {
            checkMessage(String.valueOf(e.getMessage())); // a vocabulary that lacks a character
        }
    }

    private static void useTemplate(Gguf file, Tokenizer tokenizer) {
        try {
            ChatTemplate template = ChatTemplates.of(file, tokenizer, Clock.systemUTC());
            if (template != null) {
                template.capabilities();
                template.render(List.of(Map.of("role", "user", "content", TEXT)), List.of(), true);
            }
        } catch (ChatTemplateException e) {
            checkMessage(String.valueOf(e.getMessage()));
        }
    }

    /** A prompt and one more token, if the context of the file allows it. */
    private void forward(Gguf file, ModelConfig config, Kernels kernels) {
        int context = Math.min(TOKENS, config.contextLength());
        int[] tokens = IntStream.range(0, context)
                .map(i -> i * 7 % config.vocabularySize())
                .toArray();
        int[] pages = {1, 0};
        Batch batch = new Batch(TOKENS, 1);
        try (Decoder decoder = Decoder.load(
                file,
                config,
                kernels,
                workers,
                new Decoder.Capacity(KvType.F16, PAGE_TOKENS, pages.length, TOKENS, 1))) {
            if (context > 1) {
                batch.add(tokens, 0, context - 1, pages, 1);
                decoder.forward(batch);
                batch.clear();
            }
            batch.add(tokens, context - 1, context, pages, 1);
            decoder.forward(batch);
        }
    }

    /** Runs {@code quire inspect} and {@code quire plan}, which print or fail in one line. */
    static void inspect(Path path) {
        for (List<String> command : List.of(List.of("inspect"), List.of("inspect", "--json"), List.of("plan"))) {
            PrintStream out = System.out;
            PrintStream err = System.err;
            ByteArrayOutputStream errors = new ByteArrayOutputStream();
            String[] arguments = Arrays.copyOf(command.toArray(String[]::new), command.size() + 1);
            arguments[command.size()] = path.toString();
            int code;
            try {
                System.setOut(new PrintStream(new ByteArrayOutputStream(), false, StandardCharsets.UTF_8));
                System.setErr(new PrintStream(errors, true, StandardCharsets.UTF_8));
                code = Quire.run(arguments);
            } finally {
                System.setOut(out);
                System.setErr(err);
            }
            String text = errors.toString(StandardCharsets.UTF_8).strip();
            if (code != 0
                    && (code != 1
                            || !text.startsWith("quire: " + path.getParent())
                            || text.lines().count() != 1)) {
                throw new IllegalStateException(
                        "quire " + String.join(" ", command) + " exits with " + code + " and says '" + text + "'");
            }
        }
    }

    private static void checkMessage(String message) {
        if (message.isBlank()
                || message.length() > MAX_MESSAGE_CHARS
                || message.chars().anyMatch(Character::isISOControl)) {
            throw new IllegalStateException("a refusal that is not one short line: '" + message + "'");
        }
    }

    @Override
    public void close() {
        workers.close();
    }
}
