package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import quire.engine.SamplingParams;
import quire.model.text.Tokenizer;

class OutputTextTest {
    /** A tokenizer whose tokens are the pieces that a test cuts its bytes into, and control tokens. */
    private static final class Pieces implements Tokenizer {
        private final List<byte[]> pieces = new ArrayList<>();
        private final Map<Integer, String> controls = new HashMap<>();

        int add(byte[] piece) {
            pieces.add(piece);
            return pieces.size() - 1;
        }

        int add(String piece) {
            return add(piece.getBytes(StandardCharsets.UTF_8));
        }

        int addControl(String spelling) {
            controls.put(pieces.size(), spelling);
            return add("");
        }

        @Override
        public int vocabularySize() {
            return pieces.size();
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            throw new UnsupportedOperationException();
        }

        @Override
        public byte[] bytes(int token) {
            return pieces.get(token);
        }

        @Override
        public String spelling(int token) {
            String control = controls.get(token);
            return control == null ? new String(bytes(token), StandardCharsets.UTF_8) : control;
        }

        @Override
        public boolean isControl(int token) {
            return controls.containsKey(token);
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return false;
        }

        @Override
        public OptionalInt bos() {
            return OptionalInt.empty();
        }

        @Override
        public OptionalInt eos() {
            return OptionalInt.empty();
        }
    }

    private record Result(String text, @Nullable String stop) {}

    /** The specification: the text before the stop string that ends first; of those that end together, the longest. */
    private static Result plain(String text, List<String> stops) {
        for (int end = 1; end <= text.length(); end++) {
            String longest = null;
            for (String stop : stops) {
                if (text.substring(0, end).endsWith(stop) && (longest == null || stop.length() > longest.length())) {
                    longest = stop;
                }
            }
            if (longest != null) {
                return new Result(text.substring(0, end - longest.length()), longest);
            }
        }
        return new Result(text, null);
    }

    /** Length of the longest suffix that is a prefix of a stop string. */
    private static int open(String text, List<String> stops) {
        for (int length = text.length(); length > 0; length--) {
            String suffix = text.substring(text.length() - length);
            if (stops.stream().anyMatch(stop -> stop.startsWith(suffix))) {
                return length;
            }
        }
        return 0;
    }

    private static Result run(List<byte[]> pieces, List<String> stops) {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, stops);
        StringBuilder text = new StringBuilder();
        for (byte[] piece : pieces) {
            text.append(answer.append(tokenizer.add(piece)));
        }
        text.append(answer.finish());
        return new Result(text.toString(), answer.stop());
    }

    private static List<byte[]> cut(Random random, byte[] bytes, int longest) {
        List<byte[]> pieces = new ArrayList<>();
        for (int from = 0; from < bytes.length; ) {
            int to = Math.min(bytes.length, from + random.nextInt(longest + 1));
            pieces.add(Arrays.copyOfRange(bytes, from, to));
            from = to;
        }
        return pieces;
    }

    private static String randomText(Random random, int length) {
        String[] letters = {"a", "b", "a", "é", "漢", "😀", "😁", "\uFFFD"};
        StringBuilder text = new StringBuilder();
        int variety = 2 + random.nextInt(letters.length - 1);
        for (int index = 0; index < length; index++) {
            text.append(letters[random.nextInt(variety)]);
        }
        return text.toString();
    }

    private static List<String> randomStops(Random random) {
        List<String> stops = new ArrayList<>();
        for (int count = random.nextInt(5); count > 0; count--) {
            stops.add(randomText(random, 1 + random.nextInt(6)));
        }
        return stops;
    }

    @Test
    void append_anyTokenisationOfAnyBytes_givesTheSameTextAndStop() {
        Random random = new Random(1);
        int stopped = 0;
        for (int round = 0; round < 3000; round++) {
            List<String> stops = randomStops(random);
            byte[] bytes = randomText(random, random.nextInt(60)).getBytes(StandardCharsets.UTF_8);
            if (random.nextInt(3) == 0) {
                // Invalid UTF-8, and characters cut off at the end.
                for (int count = 1 + random.nextInt(4); count > 0 && bytes.length > 0; count--) {
                    bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
                }
                bytes = Arrays.copyOf(bytes, bytes.length - Math.min(bytes.length, random.nextInt(3)));
            }
            Result expected = plain(new String(bytes, StandardCharsets.UTF_8), stops);
            for (int longest : new int[] {1, 2, 5, 100}) {
                assertThat(run(cut(random, bytes, longest), stops))
                        .as("stops %s, tokens up to %d bytes", stops, longest)
                        .isEqualTo(expected);
            }
            if (expected.stop != null) {
                stopped++;
            }
        }
        assertThat(stopped).isBetween(500, 2500);
    }

    @Test
    void append_wholeCharacters_holdsBackOnlyPossibleStopStrings() {
        Random random = new Random(2);
        for (int round = 0; round < 2000; round++) {
            List<String> stops = randomStops(random);
            Pieces tokenizer = new Pieces();
            OutputText answer = new OutputText(tokenizer, stops);
            StringBuilder soFar = new StringBuilder();
            StringBuilder given = new StringBuilder();
            while (soFar.length() < 60 && answer.stop() == null) {
                String piece = randomText(random, random.nextInt(4));
                soFar.append(piece);
                given.append(answer.append(tokenizer.add(piece.getBytes(StandardCharsets.UTF_8))));
                if (answer.stop() == null) {
                    assertThat(given).hasToString(soFar.substring(0, soFar.length() - open(soFar.toString(), stops)));
                }
            }
        }
    }

    @Test
    void append_stopIncluded_endsWithIt() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("END"), true, false);
        assertThat(answer.append(tokenizer.add("one EN".getBytes(StandardCharsets.UTF_8))))
                .isEqualTo("one ");
        assertThat(answer.append(tokenizer.add("D two".getBytes(StandardCharsets.UTF_8))))
                .isEqualTo("END");
        assertThat(answer.stop()).isEqualTo("END");
        assertThat(answer.finish()).isEmpty();
    }

    @Test
    void append_tokenThatMayNotStop_passesOverStopStrings() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("aba", "cd"));
        assertThat(answer.append(tokenizer.add("xabacd".getBytes(StandardCharsets.UTF_8)), false))
                .isEqualTo("xabacd");
        assertThat(answer.append(tokenizer.add("aba".getBytes(StandardCharsets.UTF_8)), false))
                .isEqualTo("ab");
        assertThat(answer.stop()).isNull();
        assertThat(answer.append(tokenizer.add("ba!".getBytes(StandardCharsets.UTF_8))))
                .isEmpty();
        assertThat(answer.stop()).as("its first character came before").isEqualTo("aba");
    }

    @Test
    void append_afterAStop_isEmpty() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("END"));
        int token = tokenizer.add("one END two".getBytes(StandardCharsets.UTF_8));

        assertThat(answer.append(token)).isEqualTo("one ");
        assertThat(answer.stop()).isEqualTo("END");
        assertThat(answer.append(token)).isEmpty();
        assertThat(answer.finish()).isEmpty();
        assertThat(answer.stop()).isEqualTo("END");
    }

    @Test
    void append_severalStopsInOneToken_theFirstToBeCompleteCounts() {
        assertThat(run(List.of("abcdef".getBytes(StandardCharsets.UTF_8)), List.of("ef", "bcde", "cd")))
                .isEqualTo(new Result("ab", "cd"));
    }

    @Test
    void append_severalStopsEndTogether_theLongestCounts() {
        assertThat(run(List.of("Hi\n\nUser: you".getBytes(StandardCharsets.UTF_8)), List.of("User:", "\n\nUser:", ":")))
                .isEqualTo(new Result("Hi", "\n\nUser:"));
    }

    @Test
    void finish_beforeAStopIsComplete_releasesTheHeldText() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("\nUser:"));

        assertThat(answer.append(tokenizer.add("Hello!\nUs".getBytes(StandardCharsets.UTF_8))))
                .isEqualTo("Hello!");
        assertThat(answer.finish()).isEqualTo("\nUs");
        assertThat(answer.finish()).isEmpty();
        assertThat(answer.stop()).isNull();
    }

    @Test
    void finish_incompleteCharacter_isReplacedAndMayCompleteAStop() {
        byte[] half = {'a', (byte) 0xE6, (byte) 0xBC};

        assertThat(run(List.of(half), List.of())).isEqualTo(new Result("a\uFFFD", null));
        assertThat(run(List.of(half), List.of("a\uFFFD"))).isEqualTo(new Result("", "a\uFFFD"));
    }

    @Test
    void append_controlTokensInsideAShownStop_changeNothing() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("STOP"));

        String text = answer.append(tokenizer.add("xS"))
                + answer.append(tokenizer.addControl("<|a|>"))
                + answer.append(tokenizer.add("TO"))
                + answer.append(tokenizer.addControl("<|b|>"))
                + answer.append(tokenizer.add("P"));

        assertThat(text).isEqualTo("x");
        assertThat(answer.stop()).isEqualTo("STOP");
    }

    /** A part of an answer: text, or the spelling of a control token. */
    private record Part(String text, boolean isControl) {}

    /** {@link #plain} for an answer with control tokens: searches in the shown and in the spelled text. */
    private static Result plainParts(List<Part> parts, List<String> stops) {
        StringBuilder spelled = new StringBuilder();
        StringBuilder shown = new StringBuilder();
        List<Integer> shownBefore = new ArrayList<>();
        for (Part part : parts) {
            for (char c : part.text.toCharArray()) {
                shownBefore.add(shown.length());
                spelled.append(c);
                if (!part.isControl) {
                    shown.append(c);
                }
                String longest = null;
                for (String stop : stops) {
                    boolean complete = spelled.toString().endsWith(stop)
                            || (!part.isControl && shown.toString().endsWith(stop));
                    if (complete && (longest == null || stop.length() > longest.length())) {
                        longest = stop;
                    }
                }
                if (longest != null) {
                    int length = longest.length();
                    int end = !part.isControl && shown.toString().endsWith(longest)
                            ? shown.length() - length
                            : shownBefore.get(spelled.length() - length);
                    return new Result(shown.substring(0, end), longest);
                }
            }
        }
        return new Result(shown.toString(), null);
    }

    @Test
    void append_anyControlTokensBetween_findsStopsInShownAndInSpelledText() {
        Random random = new Random(4);
        int byControl = 0;
        for (int round = 0; round < 5000; round++) {
            List<String> stops = randomStops(random);
            List<Part> parts = new ArrayList<>();
            for (int count = random.nextInt(20); count > 0; count--) {
                parts.add(new Part(randomText(random, random.nextInt(5)), random.nextInt(3) == 0));
            }
            Result expected = plainParts(parts, stops);
            Pieces tokenizer = new Pieces();
            OutputText answer = new OutputText(tokenizer, stops);
            StringBuilder text = new StringBuilder();
            StringBuilder shown = new StringBuilder();
            for (Part part : parts) {
                shown.append(part.isControl ? "" : part.text);
                text.append(answer.append(part.isControl ? tokenizer.addControl(part.text) : tokenizer.add(part.text)));
                assertThat(shown.toString()).startsWith(text);
            }
            text.append(answer.finish());
            assertThat(new Result(text.toString(), answer.stop()))
                    .as("%s, stops %s", parts, stops)
                    .isEqualTo(expected);
            if (expected.stop != null && !shown.toString().contains(expected.stop)) {
                byControl++;
            }
        }
        assertThat(byControl).as("answers that end because of a control token").isBetween(300, 3000);
    }

    @Test
    void append_stopOfTextAndControlToken_cutsTheText() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("\n<|user|>"));

        assertThat(answer.append(tokenizer.add("Hello\n"))).isEqualTo("Hello");
        assertThat(answer.append(tokenizer.addControl("<|user|>"))).isEmpty();
        assertThat(answer.stop()).isEqualTo("\n<|user|>");
        assertThat(answer.finish()).isEmpty();
    }

    @Test
    void append_controlTokensShown_areMarkedAndEndStopStrings() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of(), false, true);
        assertThat(answer.append(tokenizer.add(new byte[] {(byte) 0xC3}))).isEmpty();
        assertThat(answer.append(tokenizer.addControl("[A]")))
                .isEqualTo("\uFFFD" + quire.engine.constrain.Part.control("[A]"));
        assertThat(answer.append(tokenizer.add("[A]"))).isEqualTo("[A]");
        assertThat(answer.append(tokenizer.add("\uFFFF[A]\uFFFF"))).isEqualTo("\uFFFD[A]\uFFFD"); // no token

        OutputText stopped = new OutputText(tokenizer, List.of("ab", "x[A]y"), false, true);
        assertThat(stopped.append(tokenizer.add("a"))).isEmpty();
        assertThat(stopped.append(tokenizer.addControl("[B]")))
                .isEqualTo("a" + quire.engine.constrain.Part.control("[B]"));
        assertThat(stopped.append(tokenizer.add("bx"))).isEqualTo("b");
        assertThat(stopped.append(tokenizer.addControl("[A]"))).isEmpty();
        assertThat(stopped.append(tokenizer.add("z")))
                .isEqualTo("x" + quire.engine.constrain.Part.control("[A]") + "z");
        assertThat(stopped.append(tokenizer.add("1x"))).isEqualTo("1");
        assertThat(stopped.append(tokenizer.addControl("[A]"))).isEmpty();
        assertThat(stopped.append(tokenizer.add("y"))).isEmpty();
        assertThat(stopped.stop()).isEqualTo("x[A]y");
        assertThat(stopped.finish()).isEmpty();
    }

    @Test
    void append_controlTokenThatIsNoStop_isNotShown() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("\n<|user|>"));

        assertThat(answer.append(tokenizer.add("Hello\n"))).isEqualTo("Hello");
        // The line break stays held: the spelling of <|user|> may also come as text.
        assertThat(answer.append(tokenizer.addControl("<|tool|>"))).isEmpty();
        assertThat(answer.append(tokenizer.add("again"))).isEqualTo("\nagain");
        assertThat(answer.finish()).isEmpty();
        assertThat(answer.stop()).isNull();
    }

    @Test
    void append_controlTokensInsideACharacter_leaveTheCharacterWhole() {
        Pieces tokenizer = new Pieces();
        for (List<String> stops : List.of(List.<String>of(), List.of("never"))) {
            OutputText answer = new OutputText(tokenizer, stops);

            String text = answer.append(tokenizer.add(new byte[] {(byte) 0xC3}))
                    + answer.append(tokenizer.addControl("<|tool|>"))
                    + answer.append(tokenizer.add(new byte[] {(byte) 0xA9}))
                    + answer.finish();

            assertThat(text).isEqualTo("é");
        }
    }

    @Test
    void finish_endTokenThatCompletesAStop_cutsTheHeldText() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("bye<|end|>"));

        assertThat(answer.append(tokenizer.add("good bye"))).isEqualTo("good ");
        assertThat(answer.finish(tokenizer.addControl("<|end|>"))).isEmpty();
        assertThat(answer.stop()).isEqualTo("bye<|end|>");
    }

    @Test
    void finish_endTokenThatCompletesNoStop_releasesTheHeldText() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("bye<|user|>"));

        assertThat(answer.append(tokenizer.add("good bye"))).isEqualTo("good ");
        assertThat(answer.finish(tokenizer.addControl("<|end|>"))).isEqualTo("bye");
        assertThat(answer.stop()).isNull();
    }

    @Test
    void finish_endTokenThatIsText_isNotSearched() {
        Pieces tokenizer = new Pieces();
        OutputText answer = new OutputText(tokenizer, List.of("bye bye"));

        assertThat(answer.append(tokenizer.add("good bye"))).isEqualTo("good ");
        assertThat(answer.finish(tokenizer.add(" bye"))).isEqualTo("bye");
        assertThat(answer.stop()).isNull();
    }

    @Test
    void append_longAnswerThatKeepsAlmostMatching_isExact() {
        String stop = "a".repeat(SamplingParams.MAX_STOP_LENGTH - 1) + "b";
        String text = ("a".repeat(SamplingParams.MAX_STOP_LENGTH - 2) + "b").repeat(20) + "a" + stop + "c";
        int end = text.indexOf(stop);
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);

        assertThat(run(cut(new Random(3), bytes, 4), List.of(stop, "never")))
                .isEqualTo(new Result(text.substring(0, end), stop));
    }

    @Test
    void append_unknownToken_failsLikeTheTokenizer() {
        OutputText answer = new OutputText(new Pieces(), List.of("x"));

        assertThatThrownBy(() -> answer.append(0)).isInstanceOf(IndexOutOfBoundsException.class);
    }
}
