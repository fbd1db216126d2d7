package quire.model.text;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Not a test. Compares the tokens of many random texts with those that another program gives.
 *
 * <pre>
 *   … VocabularyComparison FILE.gguf TEXTS COUNT     writes COUNT texts, each as a JSON string on a line
 *   … VocabularyComparison FILE.gguf TEXTS TOKENS    TOKENS has the ids of each text on a line, without BOS and EOS
 * </pre>
 */
final class VocabularyComparison {
    private static final int SHOWN = 20;

    private VocabularyComparison() {}

    public static void main(String[] args) throws IOException {
        Vocabulary vocabulary = VocabularyFiles.read(Path.of(args[0]));
        Tokenizer tokenizer = Tokenizers.of(vocabulary);
        Path texts = Path.of(args[1]);
        if (args[2].matches("[0-9]+")) {
            write(vocabulary, tokenizer, texts, Integer.parseInt(args[2]));
        } else {
            compare(tokenizer, texts, Path.of(args[2]));
        }
    }

    private static void write(Vocabulary vocabulary, Tokenizer tokenizer, Path texts, int count) throws IOException {
        Random random = new Random(31);
        int[] normal = IntStream.range(0, vocabulary.size())
                .filter(token -> vocabulary.type(token) == Vocabulary.Type.NORMAL)
                .toArray();
        try (BufferedWriter out = Files.newBufferedWriter(texts)) {
            for (int i = 0; i < count; i++) {
                String text =
                        switch (i % 4) {
                            case 0 -> TestVocabularies.randomText(random, 1 + random.nextInt(20));
                            case 1 -> TestVocabularies.randomCharacters(random, 1 + random.nextInt(30));
                            default ->
                                tokenizer.decode(random.ints(1 + random.nextInt(20), 0, normal.length)
                                        .map(at -> normal[at])
                                        .toArray());
                        };
                out.write(HuggingFace.quote(text.replace("\u0000", "")));
                out.newLine();
            }
        }
    }

    private static void compare(Tokenizer tokenizer, Path texts, Path tokens) throws IOException {
        int count = 0;
        int different = 0;
        int refused = 0;
        try (BufferedReader in = Files.newBufferedReader(texts);
                BufferedReader theirs = Files.newBufferedReader(tokens)) {
            for (String line = in.readLine(); line != null; line = in.readLine(), count++) {
                String ids;
                try {
                    int[] ours = tokenizer.encode(quoted(line), false, false);
                    ids = Arrays.stream(ours).mapToObj(Integer::toString).collect(Collectors.joining(" "));
                } catch (IllegalArgumentException e) {
                    refused++; // the vocabulary lacks a character, which others leave out
                    theirs.readLine();
                    continue;
                }
                String expected = theirs.readLine();
                if (!ids.equals(expected)) {
                    different++;
                    if (different <= SHOWN) {
                        System.out.println(line + "\n  ours   " + ids + "\n  theirs " + expected);
                    }
                }
            }
        }
        System.out.println(count + " texts, " + different + " with other tokens, " + refused + " refused");
    }

    private static String quoted(String line) {
        StringBuilder text = new StringBuilder();
        for (int i = 1; i < line.length() - 1; i++) {
            char c = line.charAt(i);
            if (c == '\\') {
                c = (char) Integer.parseInt(line, i + 2, i + 6, 16);
                i += 5;
            }
            text.append(c);
        }
        return text.toString();
    }
}
