package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import quire.engine.constrain.Constraint;

/** Answers of an engine whose model mostly chooses letters. */
class ConstrainedAnswerTest {
    private static final Constraint SCHEMA = Constraint.jsonSchema(Map.of(
            "type",
            "object",
            "properties",
            Map.of("word", Map.of("type", "string", "maxLength", 6)),
            "required",
            List.of("word"),
            "additionalProperties",
            false));

    private static Engine engine(Speculation speculation) {
        EngineConfig config = Requests.config(4, 32, 16).withSpeculation(speculation);
        return Engine.of(
                FakeModel.fitting(config, 512),
                new FakeTokenizer(),
                null,
                "fake",
                config,
                EngineListener.NONE,
                System::nanoTime);
    }

    private static SamplingParams.Builder params(Constraint constraint) {
        return SamplingParams.builder().maxTokens(100).temperature(0).constraint(constraint);
    }

    private static Request request(SamplingParams.Builder params) {
        return new Request(new FakeTokenizer().encode("prompt", true, false), params.build());
    }

    @Test
    void answer_constrained_isExactlyAnAllowedText() throws Exception {
        try (Engine engine = engine(Speculation.off())) {
            for (int seed = 0; seed < 20; seed++) {
                for (Map.Entry<Constraint, String> row : Map.of(
                                SCHEMA,
                                "\\{\"word\": ?\"([^\"\\\\]|\\\\.|\\\\u....){0,6}\"\\}",
                                Constraint.choice(List.of("no", "yes")),
                                "no|yes",
                                Constraint.regex("[0-9]{4}-[A-Fé]{2}"),
                                "[0-9]{4}-[A-Fé]{2}")
                        .entrySet()) {
                    SamplingParams.Builder params = params(row.getKey())
                            .temperature(seed % 2)
                            .seed(seed)
                            .topK(seed % 3);
                    Answer answer = Answer.read(engine.submit(request(params)));
                    assertThat(answer.text()).matches(row.getValue());
                    assertThat(answer.finish().reason()).isEqualTo(FinishReason.STOP);
                }
            }
        }
    }

    @Test
    void answer_tooFewTokens_isABeginningThatEndsWithLength() throws Exception {
        try (Engine engine = engine(Speculation.off())) {
            Answer whole = Answer.read(engine.submit(request(params(SCHEMA))));
            Answer cut = Answer.read(engine.submit(request(params(SCHEMA).maxTokens(9))));
            assertThat(cut.finish().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(cut.text()).hasSize(9);
            assertThat(whole.text()).startsWith(cut.text());
        }
    }

    @Test
    void answer_forcedTextDrafted_isTheSameInFewerSteps() throws Exception {
        List<Request> requests = new ArrayList<>();
        for (int seed = 0; seed < 10; seed++) {
            requests.add(request(params(SCHEMA).temperature(1).seed(seed).logprobs(2)));
        }
        List<Answer> without = new ArrayList<>();
        try (Engine engine = engine(Speculation.off())) {
            for (Request request : requests) {
                without.add(Answer.read(engine.submit(request)));
            }
        }
        try (Engine engine = engine(new Speculation(8, true, null, null))) {
            for (int i = 0; i < requests.size(); i++) {
                TokenStream stream = engine.submit(requests.get(i));
                assertThat(Answer.read(stream)).isEqualTo(without.get(i));
                // {"word": has one token for each byte; a space and the value's first quote are not forced.
                assertThat(stream.acceptedTokens()).isGreaterThanOrEqualTo(7);
            }
            assertThat(engine.stats().speculation().counts().drafters())
                    .filteredOn(drafter -> drafter.name().equals("forced"))
                    .allSatisfy(drafter -> assertThat(drafter.acceptedTokens()).isGreaterThanOrEqualTo(70));
        }
    }

    /** They are those of the model's own logits, not of the allowed tokens alone. */
    @Test
    void logprobs_constrained_areOfTheModel() throws Exception {
        try (Engine engine = engine(Speculation.off())) {
            Answer answer = Answer.read(engine.submit(
                    request(params(Constraint.choice(List.of("!"))).logprobs(1))));
            assertThat(answer.text()).isEqualTo("!");
            assertThat(answer.logprobs().getFirst()).doesNotContain("[" + (2 + '!') + "]");
        }
    }

    @Test
    void params_ignoreEndOfText_isRefusedWithAConstraint() {
        assertThatThrownBy(() -> params(SCHEMA).ignoreEndOfText(true).build())
                .isInstanceOfSatisfying(InvalidRequestException.class, e -> assertThat(e.parameter())
                        .isEqualTo("ignoreEndOfText"))
                .hasMessageContaining("false together with a constraint");
    }

    @Test
    void answer_stopString_stillEndsIt() throws Exception {
        try (Engine engine = engine(Speculation.off())) {
            Answer answer = Answer.read(engine.submit(request(params(SCHEMA).stop(List.of("word")))));
            assertThat(answer.text()).isEqualTo("{\"");
            assertThat(answer.finish().reason()).isEqualTo(FinishReason.STOP);
        }
    }
}
