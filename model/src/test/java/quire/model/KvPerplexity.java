package quire.model;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import quire.model.format.Gguf;
import quire.model.text.Tokenizers;
import quire.tensor.KvLayout.KvType;
import quire.tensor.machine.KernelSets;

/**
 * Not a test. Measures how much each type of K and V changes the perplexity, for two trained models.
 *
 * <pre>
 *   java --add-modules jdk.incubator.vector -cp … quire.model.KvPerplexity [folder of stories260K] [heldout.json]
 * </pre>
 *
 * The stories model reads its own published answer; all tokens except the first count. quire-tiny reads the chats that
 * were held out from its training, with their answers; only the answers count.
 */
final class KvPerplexity {
    private static final Pattern IDS = Pattern.compile("\"(prompt|output)_ids\": \\[([0-9, ]*)]");

    private KvPerplexity() {}

    /** @param scored the number of last tokens that count */
    @SuppressWarnings("ArrayRecordComponent") // only read, never compared
    private record Text(int[] tokens, int scored) {}

    public static void main(String[] args) throws IOException {
        Path stories = Path.of(args.length > 0 ? args[0] : "../../shared/models");
        Path heldOut = Path.of(args.length > 1 ? args[1] : "../workshop/heldout.json");
        try (Gguf file = Gguf.open(stories.resolve("stories260K.gguf"))) {
            String said = Files.readAllLines(stories.resolve("stories260K.md")).stream()
                    .filter(line -> line.startsWith("> "))
                    .map(line -> line.substring(2))
                    .collect(Collectors.joining("\n"));
            int[] tokens = Tokenizers.of(file).encode(said, true, false);
            print("stories260K", file, List.of(new Text(tokens, tokens.length - 1)));
        }
        try (Gguf file = Gguf.open(BuiltInModel.QUIRE_TINY.path())) {
            print("quire-tiny", file, chats(Files.readString(heldOut)));
        }
    }

    private static List<Text> chats(String json) {
        List<Text> texts = new ArrayList<>();
        int[] prompt = {};
        for (Matcher ids = IDS.matcher(json); ids.find(); ) {
            int[] tokens = Arrays.stream(ids.group(2).split(", ", -1))
                    .mapToInt(Integer::parseInt)
                    .toArray();
            if (ids.group(1).equals("prompt")) {
                prompt = tokens;
            } else {
                int[] whole = Arrays.copyOf(prompt, prompt.length + tokens.length);
                System.arraycopy(tokens, 0, whole, prompt.length, tokens.length);
                texts.add(new Text(whole, tokens.length));
            }
        }
        return texts;
    }

    private static void print(String name, Gguf file, List<Text> texts) {
        int scored = texts.stream().mapToInt(Text::scored).sum();
        for (KvType type : List.of(KvType.F32, KvType.F16, KvType.Q8_0)) {
            System.out.printf(
                    Locale.ROOT,
                    "%s, %d tokens, K and V in %s: perplexity %.5f%n",
                    name,
                    scored,
                    type,
                    Math.exp(loss(file, type, texts) / scored));
        }
    }

    /** The sum of −log p over the tokens that count. */
    private static double loss(Gguf file, KvType type, List<Text> texts) {
        int most = ModelConfig.from(file).contextLength();
        try (TextScorer scorer = new TextScorer(file, KernelSets.best(), type, 1, most)) {
            return texts.stream()
                    .flatMapToDouble(text -> Arrays.stream(scorer.score(text.tokens(), text.scored())))
                    .map(logprob -> -logprob)
                    .sum();
        }
    }
}
