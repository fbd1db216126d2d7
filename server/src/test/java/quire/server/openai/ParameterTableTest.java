package quire.server.openai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.server.api.Fields;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.api.Parameters;

class ParameterTableTest {
    private static final Path DOCUMENT = Path.of("..", "docs", "parameters.md");

    @Test
    void document_isTheTable() throws IOException {
        Path printed = Files.writeString(Path.of("target", "parameters.md"), document());
        assertThat(DOCUMENT).as("copy %s to docs/", printed).exists().hasContent(document());
    }

    @Test
    void synonyms_standForComputedParametersOfTheSamePlaces() {
        for (Parameter row : ParameterTable.ROWS) {
            if (row.treatment() == Treatment.SYNONYM) {
                for (Place place : row.places()) {
                    assertThat(ParameterTable.ROWS)
                            .as("%s in %s", row.name(), place)
                            .anyMatch(other -> other.name().equals(row.instead())
                                    && other.places().contains(place)
                                    && other.treatment() == Treatment.COMPUTED);
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        "max_tokns, max_tokens",
        "maxTokens, max_tokens",
        "top-p, top_p",
        "tempratuer, temperature",
        "stop_token_id, stop_token_ids",
        "minp, min_p",
        "repeat_penalti, repeat_penalty",
    })
    void nearest_typingErrorOrOtherStyle_isTheRightName(String name, String right) {
        assertThat(refusal(name)).contains("Did you mean '" + right + "'?");
    }

    @ParameterizedTest
    @CsvSource({"unheard_of", "x", "'日本'", "a_name_that_is_longer_than_every_parameter_and_so_cannot_be_one_of_them"})
    void nearest_nothingSimilar_isNull(String name) {
        assertThat(refusal(name)).contains("Leave it out.");
    }

    private static String refusal(String name) {
        Parameters parameters = new Parameters(ParameterTable.ROWS, true);
        Fields body = Fields.parse(("{\"" + name + "\": 1}").getBytes(StandardCharsets.UTF_8));
        Throwable refused = catchThrowable(() -> parameters.check(Place.COMPLETIONS, body));
        return String.valueOf(refused.getMessage());
    }

    private static String document() {
        StringBuilder text = new StringBuilder("""
                # Parameters

                Every parameter that Quire knows in a request, and what it does with it. A test compares this file with the
                table in the source (`ParameterTable`).

                A parameter with the value `null` counts as absent. A parameter that is not in the table is an error that names
                the most similar one; `quire serve --unknown-parameters warn` ignores it and warns in the log.

                The values of absent sampling parameters (`temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`) are those of
                the command line of `quire serve`, else those that the model's file recommends (`general.sampling.*`), else 1, 0, 1, 0
                and 1, which change nothing. `GET /v1/models` shows them as `default_sampling`; `quire inspect` shows the file's;
                `--ignore-recommended-sampling` ignores the file's.
                """);
        section(text, Treatment.COMPUTED, "Computed", "They have the effect that their API documents.", row -> "");
        section(
                text,
                Treatment.SYNONYM,
                "Synonyms",
                "Other names for computed parameters. Both names in one request must have the same value.",
                row -> "`" + row.instead() + "`");
        section(
                text,
                Treatment.HARMLESS,
                "Without effect",
                "They are accepted with any value, because they never change an answer.",
                row -> "");
        section(
                text,
                Treatment.REFUSED,
                "Not computed",
                "They are errors, except for the values that are accepted. *Neutral* means false, 0, an empty text, list or"
                        + " object.",
                row -> row.accepted().words() + " | " + row.instead());
        return text.toString();
    }

    private static void section(
            StringBuilder text,
            Treatment treatment,
            String title,
            String explanation,
            Function<Parameter, String> last) {
        String more =
                switch (treatment) {
                    case COMPUTED, HARMLESS -> "";
                    case SYNONYM -> " Stands for |";
                    case REFUSED -> " Accepted values | Instead |";
                };
        String meaning = treatment == Treatment.SYNONYM ? "" : " Meaning |";
        text.append("\n## ").append(title).append("\n\n").append(explanation).append("\n\n");
        String head = "| Parameter | In | Sent by |" + meaning + more;
        text.append(head).append('\n');
        text.append("|---".repeat((int) head.chars().filter(c -> c == '|').count() - 1))
                .append("|\n");
        List<Parameter> rows = ParameterTable.ROWS.stream()
                .filter(row -> row.treatment() == treatment)
                .toList();
        for (Parameter row : rows) {
            String places = row.places().stream().map(Place::title).collect(Collectors.joining(", "));
            text.append("| `")
                    .append(row.name())
                    .append("` | ")
                    .append(places)
                    .append(" | ")
                    .append(row.senders());
            if (!meaning.isEmpty()) {
                text.append(" | ").append(row.meaning());
            }
            String end = last.apply(row);
            text.append(end.isEmpty() ? "" : " | " + end).append(" |\n");
        }
    }
}
