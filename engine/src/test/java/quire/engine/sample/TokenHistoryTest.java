package quire.engine.sample;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import quire.engine.Dry;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;

class TokenHistoryTest {
    private static final int[] NOTHING = {};

    @Test
    void adjust_randomHistories_equalsThePlainFormulas() {
        Random random = new Random(1);
        for (int round = 0; round < 300; round++) {
            int vocabulary = 1 + random.nextInt(2000);
            Map<Integer, Float> bias = new HashMap<>();
            for (int index = random.nextInt(4); index > 0; index--) {
                bias.put(random.nextInt(vocabulary), random.nextFloat() * 200 - 100);
            }
            SamplingParams params = SamplingParams.builder()
                    .repetitionPenalty(random.nextBoolean() ? 1 : 0.5 + random.nextDouble() * 2)
                    .presencePenalty(random.nextBoolean() ? 0 : random.nextDouble() * 4 - 2)
                    .frequencyPenalty(random.nextBoolean() ? 0 : random.nextDouble() * 4 - 2)
                    .logitBias(bias)
                    .build();
            // Few or many distinct tokens, consecutive or with equal low bits.
            int step = random.nextBoolean() ? 1 : 64;
            int[] prompt = tokens(random, random.nextInt(3000), vocabulary, step);
            int[] output = tokens(random, random.nextInt(500), vocabulary, step);
            float[] logits = new float[vocabulary];
            for (int token = 0; token < vocabulary; token++) {
                logits[token] = (float) random.nextGaussian() * 5;
            }

            TokenHistory history = new TokenHistory(params, prompt);
            for (int token : output) {
                history.append(token);
            }
            float[] adjusted = logits.clone();
            history.adjust(adjusted);

            assertThat(adjusted).isEqualTo(plain(logits, params, prompt, output));
        }
    }

    private static int[] tokens(Random random, int count, int vocabulary, int step) {
        return random.ints(count, 0, vocabulary)
                .map(token -> token / step * step)
                .toArray();
    }

    private static float[] plain(float[] logits, SamplingParams params, int[] prompt, int[] output) {
        Set<Integer> seen = new HashSet<>();
        Map<Integer, Integer> counts = new HashMap<>();
        for (int token : prompt) {
            seen.add(token);
        }
        for (int token : output) {
            seen.add(token);
            counts.merge(token, 1, Integer::sum);
        }
        float[] adjusted = new float[logits.length];
        for (int token = 0; token < logits.length; token++) {
            double logit = logits[token];
            if (seen.contains(token)) {
                logit = logit > 0 ? logit / params.repetitionPenalty() : logit * params.repetitionPenalty();
            }
            int count = counts.getOrDefault(token, 0);
            logit -= params.frequencyPenalty() * count + (count > 0 ? params.presencePenalty() : 0);
            adjusted[token] =
                    (float) ((double) (float) logit + params.logitBias().getOrDefault(token, 0f));
        }
        return adjusted;
    }

    @Test
    void adjust_repetitionPenalty_countsPromptAndOutputOnce() {
        SamplingParams params = SamplingParams.builder().repetitionPenalty(2).build();
        TokenHistory history = new TokenHistory(params, new int[] {0, 0, 1});
        history.append(2);
        history.append(2);
        float[] logits = {4, -4, 6, 8};

        history.adjust(logits);

        assertThat(logits).containsExactly(2, -8, 3, 8);
    }

    @Test
    void adjust_presenceAndFrequency_seeTheOutputOnly() {
        SamplingParams params = SamplingParams.builder()
                .presencePenalty(0.5)
                .frequencyPenalty(0.25)
                .build();
        TokenHistory history = new TokenHistory(params, new int[] {0, 0});
        history.append(1);
        history.append(1);
        history.append(2);
        float[] logits = {1, 1, 1};

        history.adjust(logits);

        assertThat(logits).containsExactly(1, 0, 0.25f);
    }

    @Test
    void adjust_promptChangedAfterwards_isIgnored() {
        int[] prompt = {0};
        TokenHistory history =
                new TokenHistory(SamplingParams.builder().repetitionPenalty(2).build(), prompt);
        prompt[0] = 1;
        float[] logits = {4, 4};

        history.adjust(logits);

        assertThat(logits).containsExactly(2, 4);
    }

    @Test
    void adjust_extremePenalties_keepFiniteLogitsFiniteAndOthersUnchanged() {
        SamplingParams params = SamplingParams.builder()
                .repetitionPenalty(Double.MIN_VALUE)
                .logitBias(Map.of(3, 100f, 4, -100f))
                .build();
        TokenHistory history = new TokenHistory(params, new int[] {0, 1, 2, 3, 4});
        float[] logits = {5, -5, Float.NaN, Float.NEGATIVE_INFINITY, Float.POSITIVE_INFINITY};

        history.adjust(logits);

        assertThat(logits)
                .containsExactly(Float.MAX_VALUE, -0f, Float.NaN, Float.NEGATIVE_INFINITY, Float.POSITIVE_INFINITY);
    }

    @Test
    void adjust_biasBeyondTheVocabulary_namesTokenAndEnd() {
        TokenHistory history = new TokenHistory(
                SamplingParams.builder().logitBias(Map.of(9, 1f)).build(), NOTHING);

        assertThatThrownBy(() -> history.adjust(new float[9]))
                .isInstanceOfSatisfying(InvalidRequestException.class, e -> assertThat(e.parameter())
                        .isEqualTo("logitBias"))
                .hasMessageContaining("token 9")
                .hasMessageContaining("ends at 8");
    }

    @Test
    void adjust_noPenalties_changesNothing() {
        SamplingParams params = SamplingParams.builder().build();
        TokenHistory history = new TokenHistory(params, new int[] {0, 1, 1});
        history.append(0);
        float[] logits = {1, -1};

        history.adjust(logits);

        assertThat(logits).containsExactly(1, -1);
    }

    @Test
    void undo_anyAppends_restoresTheHistory() {
        SplittableRandom random = new SplittableRandom(9);
        for (int round = 0; round < 300; round++) {
            int vocabulary = 2 + random.nextInt(100);
            SamplingParams params = SamplingParams.builder()
                    .repetitionPenalty(random.nextBoolean() ? 1 : 1.5)
                    .presencePenalty(0.5)
                    .frequencyPenalty(0.25)
                    .build();
            int[] prompt = random.ints(random.nextInt(20), 0, vocabulary).toArray();
            TokenHistory history = new TokenHistory(params, prompt);
            TokenHistory plain = new TokenHistory(params, prompt);
            for (int step = 0; step < 20; step++) {
                int[] drafts = random.ints(random.nextInt(9), 0, vocabulary).toArray();
                for (int draft : drafts) {
                    history.append(draft);
                }
                for (int i = drafts.length - 1; i >= 0; i--) {
                    history.undo(drafts[i]);
                }
                int token = random.nextInt(vocabulary);
                history.append(token);
                plain.append(token);
                float[] logits = new float[vocabulary];
                float[] expected = new float[vocabulary];
                for (int i = 0; i < vocabulary; i++) {
                    logits[i] = expected[i] = i - vocabulary / 3f;
                }
                history.adjust(logits);
                plain.adjust(expected);
                assertThat(logits).containsExactly(expected);
            }
        }
    }

    /** The definition of {@link Dry} in plain loops. */
    private static float[] plainDry(float[] logits, Dry dry, int[] text) {
        float[] adjusted = logits.clone();
        int from = Math.max(0, text.length - Math.min(dry.window(), text.length));
        for (int token = 0; token < logits.length; token++) {
            int longest = 0;
            for (int at = from + 1; at < text.length; at++) {
                int length = 0;
                while (at - 1 - length >= from
                        && text[at - 1 - length] == text[text.length - 1 - length]
                        && !isBreak(dry, text, text.length - 1 - length)) {
                    length++;
                }
                longest = text[at] == token ? Math.max(longest, length) : longest;
            }
            if (longest >= dry.allowedLength()) {
                double penalty = dry.multiplier() * StrictMath.pow(dry.base(), longest - dry.allowedLength());
                adjusted[token] = (float) Math.max(logits[token] - penalty, -Float.MAX_VALUE);
            }
        }
        return adjusted;
    }

    private static boolean isBreak(Dry dry, int[] text, int at) {
        return dry.breakTokens().contains(text[at])
                || dry.breakSequences().stream().anyMatch(sequence -> {
                    int begin = at + 1 - sequence.size();
                    return begin >= 0
                            && IntStream.range(0, sequence.size()).allMatch(i -> text[begin + i] == sequence.get(i));
                });
    }

    @Test
    void adjust_dryOnRandomTexts_equalsThePlainFormulas() {
        SplittableRandom random = new SplittableRandom(5);
        for (int round = 0; round < 500; round++) {
            int vocabulary = 2 + random.nextInt(6);
            Dry dry = new Dry(
                    0.5 + random.nextDouble(),
                    1 + random.nextDouble(),
                    1 + random.nextInt(3),
                    random.nextBoolean() ? Integer.MAX_VALUE : 1 + random.nextInt(40),
                    random.nextBoolean() ? Set.of() : Set.of(vocabulary - 1),
                    random.nextBoolean() ? List.of() : List.of(List.of(0, 1)));
            SamplingParams params = SamplingParams.builder().dry(dry).build();
            int[] text = random.ints(1 + random.nextInt(120), 0, vocabulary).toArray();
            int prompt = random.nextInt(text.length + 1);
            TokenHistory history = new TokenHistory(params, Arrays.copyOf(text, prompt));
            for (int i = prompt; i < text.length; i++) {
                for (int draft = 0; draft < 3; draft++) {
                    history.append(draft % vocabulary);
                }
                for (int draft = 2; draft >= 0; draft--) {
                    history.undo(draft % vocabulary);
                }
                history.append(text[i]);
            }
            float[] logits = new float[vocabulary];
            float[] expected = plainDry(logits, dry, text);

            history.adjust(logits);

            assertThat(logits).as("%s after %s", dry, Arrays.toString(text)).containsExactly(expected);
        }
    }

    @Test
    void exclude_allowedTokensBadWordsAndEnds_leavesTheOthers() {
        SamplingParams params = SamplingParams.builder()
                .allowedTokens(List.of(5, 1, 2, 3, 1))
                .badWords(List.of(List.of(3), List.of(1, 2)))
                .minTokens(2)
                .build();
        TokenHistory history = new TokenHistory(params, new int[] {1}, null, new int[] {5});
        assertThat(left(history)).as("the prompt does not count for bad words").containsExactly(1, 2);
        history.append(1);
        assertThat(left(history)).containsExactly(1);
        history.append(1);
        assertThat(left(history)).as("with enough tokens").containsExactly(1, 5);
        history.undo(1);
        history.append(2);
        assertThat(left(history)).containsExactly(1, 2, 5);
    }

    private static List<Integer> left(TokenHistory history) {
        float[] logits = new float[7];
        assertThat(history.excludes()).isTrue();
        history.exclude(logits);
        return IntStream.range(0, logits.length)
                .filter(token -> logits[token] == 0)
                .boxed()
                .toList();
    }
}
