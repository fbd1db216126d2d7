package quire.model;

import java.io.IOException;
import java.lang.reflect.Proxy;
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
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
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
 *
 * <p>Pages of 4 bits do not exist. Their cost is measured with f32 pages, whose numbers are rounded before they are stored: to
 * multiples of {@code max|x| / 7} from −7 to 7, or to sixteen levels from the least to the largest, of 32 numbers or of a head if
 * it has fewer.
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
        Kernels kernels = KernelSets.best();
        for (KvType type : List.of(KvType.F32, KvType.F16, KvType.Q8_0)) {
            print(name, "K and V in " + type, file, kernels, type, texts);
        }
        for (boolean minimum : new boolean[] {false, true}) {
            String how = minimum ? "sixteen levels from the least to the largest" : "4 bits with a sign";
            print(name, "K and V in " + how, file, rounding(kernels, true, true, minimum), KvType.F32, texts);
            print(name, "V in " + how + ", K in f32", file, rounding(kernels, false, true, minimum), KvType.F32, texts);
        }
    }

    private static void print(String name, String how, Gguf file, Kernels kernels, KvType type, List<Text> texts) {
        int scored = texts.stream().mapToInt(Text::scored).sum();
        double perplexity = Math.exp(loss(file, kernels, type, texts) / scored);
        System.out.printf(Locale.ROOT, "%s, %d tokens, %s: perplexity %.5f%n", name, scored, how, perplexity);
    }

    /** Kernels that round numbers to 4 bits before they store them. */
    private static Kernels rounding(Kernels kernels, boolean keys, boolean values, boolean minimum) {
        return (Kernels) Proxy.newProxyInstance(
                KvPerplexity.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, args) -> {
                    if (method.getName().equals("storeKv")) {
                        int headDim = ((KvLayout) args[0]).headDim();
                        int row = (int) args[6];
                        if (keys) {
                            round((FloatMatrix) args[4], row, headDim, minimum);
                        }
                        if (values) {
                            round((FloatMatrix) args[5], row, headDim, minimum);
                        }
                    }
                    return method.invoke(kernels, args);
                });
    }

    private static void round(FloatMatrix x, int row, int headDim, boolean minimum) {
        int group = Math.min(headDim, 32);
        for (int first = 0; first < x.columns(); first += group) {
            float least = Float.POSITIVE_INFINITY;
            float largest = Float.NEGATIVE_INFINITY;
            for (int i = first; i < first + group; i++) {
                least = Math.min(least, x.get(row, i));
                largest = Math.max(largest, x.get(row, i));
            }
            float step = minimum ? (largest - least) / 15 : Math.max(-least, largest) / 7;
            float start = minimum ? least : 0;
            for (int i = first; i < first + group && step > 0; i++) {
                x.set(row, i, start + step * (float) Math.rint((x.get(row, i) - start) / step));
            }
        }
    }

    /** The sum of −log p over the tokens that count. */
    private static double loss(Gguf file, Kernels kernels, KvType type, List<Text> texts) {
        int most = ModelConfig.from(file).contextLength();
        try (TextScorer scorer = new TextScorer(file, kernels, type, 1, most)) {
            return texts.stream()
                    .flatMapToDouble(text -> Arrays.stream(scorer.score(text.tokens(), text.scored())))
                    .map(logprob -> -logprob)
                    .sum();
        }
    }
}
