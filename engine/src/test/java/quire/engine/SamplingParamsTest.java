package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatNullPointerException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import quire.engine.constrain.Constraint;

class SamplingParamsTest {
    private static Arguments refused(
            String parameter, String value, String allowed, UnaryOperator<SamplingParams.Builder> set) {
        return Arguments.of(parameter, value, allowed, set);
    }

    static List<Arguments> refused() {
        List<Arguments> cases = new ArrayList<>();
        cases.add(refused("maxTokens", "0", "at least 1", b -> b.maxTokens(0)));
        cases.add(refused("maxTokens", "-5", "at least 1", b -> b.maxTokens(-5)));
        for (double value : new double[] {Double.NaN, -0.1, 100.1, Double.POSITIVE_INFINITY}) {
            cases.add(refused("temperature", "" + value, "from 0 to 100", b -> b.temperature(value)));
        }
        cases.add(refused("topK", "-1", "0 (keeps all) or more", b -> b.topK(-1)));
        for (double value : new double[] {Double.NaN, -0.1, -1, 1.01}) {
            cases.add(refused("topP", "" + value, "from 0 to 1", b -> b.topP(value)));
            cases.add(refused("xtcProbability", "" + value, "from 0 to 1", b -> b.xtc(value, 0)));
            cases.add(refused("xtcThreshold", "" + value, "from 0 to 1", b -> b.xtc(0, value)));
        }
        for (double value : new double[] {Double.NaN, -0.01, 1.01}) {
            cases.add(refused("minP", "" + value, "from 0 to 1", b -> b.minP(value)));
        }
        for (double value : new double[] {Double.NaN, 0, -1, 100.5, Double.POSITIVE_INFINITY}) {
            cases.add(refused("repetitionPenalty", "" + value, "over 0", b -> b.repetitionPenalty(value)));
        }
        for (double value : new double[] {Double.NaN, -2.1, 2.1, Double.NEGATIVE_INFINITY}) {
            cases.add(refused("presencePenalty", "" + value, "from -2 to 2", b -> b.presencePenalty(value)));
            cases.add(refused("frequencyPenalty", "" + value, "from -2 to 2", b -> b.frequencyPenalty(value)));
        }
        for (float value : new float[] {Float.NaN, -100.5f, 101, Float.POSITIVE_INFINITY}) {
            cases.add(refused(
                    "logitBias", value + " for token 7", "from -100 to 100", b -> b.logitBias(Map.of(7, value))));
        }
        cases.add(refused("logitBias", "token -3", "0 or more", b -> b.logitBias(Map.of(-3, 1f))));
        Map<Integer, Float> biases = new HashMap<>();
        for (int token = 0; token <= SamplingParams.MAX_LOGIT_BIAS; token++) {
            biases.put(token, 1f);
        }
        cases.add(refused("logitBias", "4097 entries", "at most 4096", b -> b.logitBias(biases)));
        cases.add(refused("stop", "17 entries", "at most 16", b -> b.stop(Collections.nCopies(17, "x"))));
        cases.add(refused("stop", "an empty string", "at least one character", b -> b.stop(List.of("a", ""))));
        cases.add(refused("stop", "1025 characters", "at most 1024", b -> b.stop(List.of("x".repeat(1025)))));
        cases.add(refused("stop", "half a surrogate pair", "whole", b -> b.stop(List.of("x\uD83D"))));
        cases.add(refused("stop", "half a surrogate pair", "whole", b -> b.stop(List.of("\uDE00x"))));
        cases.add(refused("stopTokens", "token -1", "0 or more", b -> b.stopTokens(List.of(2, -1))));
        cases.add(
                refused("stopTokens", "1025 entries", "at most 1024", b -> b.stopTokens(Collections.nCopies(1025, 1))));
        for (double value : new double[] {Double.NaN, -1, 1000.5}) {
            cases.add(refused("topNSigma", "" + value, "from 0", b -> b.topNSigma(value)));
        }
        for (double value : new double[] {Double.NaN, 0, 1.01}) {
            cases.add(refused("typicalP", "" + value, "over 0 and at most 1", b -> b.typicalP(value)));
        }
        cases.add(refused("minTokens", "-1", "from 0 to maxTokens, which is 3", b -> b.maxTokens(3)
                .minTokens(-1)));
        cases.add(refused("minTokens", "4", "from 0 to maxTokens, which is 3", b -> b.maxTokens(3)
                .minTokens(4)));
        cases.add(refused("minTokens", "1", "0 together with a constraint", b -> b.minTokens(1)
                .constraint(Constraint.json())));
        cases.add(refused("badWords", "a word of 0 tokens", "1 to 64 tokens", b -> b.badWords(List.of(List.of()))));
        cases.add(refused(
                "allowedTokens",
                "65537 entries",
                "at most 65536",
                b -> b.allowedTokens(Collections.nCopies(65537, 1))));
        cases.add(refused("dryMultiplier", "0.0", "over 0", b -> b.dry(dry(0, 2, 1, 9))));
        cases.add(refused("dryBase", "0.5", "from 1 to 10", b -> b.dry(dry(1, 0.5, 1, 9))));
        cases.add(refused("dryAllowedLength", "0", "from 1", b -> b.dry(dry(1, 2, 0, 9))));
        cases.add(refused("dryPenaltyLastN", "0", "at least 1", b -> b.dry(dry(1, 2, 1, 0))));
        cases.add(refused("logprobs", "-2", "from -1", b -> b.logprobs(-2)));
        cases.add(refused("logprobs", "21", "to 20", b -> b.logprobs(21)));
        return cases;
    }

    private static Dry dry(double multiplier, double base, int allowedLength, int window) {
        return new Dry(multiplier, base, allowedLength, window, Set.of(), List.of());
    }

    @ParameterizedTest
    @MethodSource("refused")
    void build_valueOutOfRange_namesParameterValueAndRange(
            String parameter, String value, String allowed, UnaryOperator<SamplingParams.Builder> set) {
        assertThatThrownBy(() -> set.apply(SamplingParams.builder()).build())
                .isInstanceOfSatisfying(InvalidRequestException.class, e -> assertThat(e.parameter())
                        .isEqualTo(parameter))
                .hasMessageStartingWith(parameter + " ")
                .hasMessageContaining(value)
                .hasMessageContaining(allowed);
    }

    @Test
    void build_edgesOfEveryRange_areAllowed() {
        for (double edge : new double[] {-2, 2}) {
            SamplingParams params = SamplingParams.builder()
                    .maxTokens(edge < 0 ? 1 : Integer.MAX_VALUE)
                    .temperature(edge < 0 ? 0 : 100)
                    .topK(edge < 0 ? 0 : Integer.MAX_VALUE)
                    .topP(edge < 0 ? 0 : 1)
                    .minP(edge < 0 ? 0 : 1)
                    .repetitionPenalty(edge < 0 ? Double.MIN_VALUE : 100)
                    .presencePenalty(edge)
                    .frequencyPenalty(edge)
                    .logitBias(Map.of(0, (float) edge * 50))
                    .seed(edge < 0 ? Long.MIN_VALUE : Long.MAX_VALUE)
                    .stop(edge < 0 ? List.of("x") : Collections.nCopies(16, "😀".repeat(512)))
                    .stopTokens(List.of(0))
                    .logprobs(edge < 0 ? -1 : 20)
                    .build();
            assertThat(params.presencePenalty()).isEqualTo(edge);
        }
    }

    @Test
    void build_collectionsChangedAfterwards_doesNotChange() {
        List<String> stop = new ArrayList<>(List.of("a"));
        List<Integer> stopTokens = new ArrayList<>(List.of(1));
        Map<Integer, Float> bias = new HashMap<>(Map.of(1, 1f));
        SamplingParams params = SamplingParams.builder()
                .stop(stop)
                .stopTokens(stopTokens)
                .logitBias(bias)
                .build();

        stop.add("b");
        stopTokens.add(2);
        bias.put(2, 2f);

        assertThat(params.stop()).containsExactly("a");
        assertThat(params.stopTokens()).containsExactly(1);
        assertThat(params.logitBias()).containsOnlyKeys(1);
    }

    @Test
    @SuppressWarnings("NullAway") // a caller without null checks can pass null
    void build_nulls_areRefused() {
        assertThatNullPointerException()
                .isThrownBy(() -> SamplingParams.builder().stop(null).build())
                .withMessage("stop");
        assertThatNullPointerException()
                .isThrownBy(() -> SamplingParams.builder().stopTokens(null).build())
                .withMessage("stopTokens");
        assertThatNullPointerException()
                .isThrownBy(() -> SamplingParams.builder().logitBias(null).build())
                .withMessage("logitBias");
        assertThatNullPointerException()
                .isThrownBy(() ->
                        SamplingParams.builder().stop(Arrays.asList("a", null)).build());
    }
}
