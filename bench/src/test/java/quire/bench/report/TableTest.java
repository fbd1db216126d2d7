package quire.bench.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class TableTest {
    private static final Map<String, Object> FIRST = row("name", "a|b", "tokens_a_second", 99.5);
    private static final Map<String, Object> SECOND = row("name", "<c>", "tokens_a_second", 1234.25, "pairs", 7);
    private static final Table TABLE = new Table(List.of(FIRST, SECOND));

    @Test
    void text_rows_alignsColumns() {
        assertThat(TABLE.text().lines())
                .containsExactly(
                        "name  tokens a second  pairs", //
                        "a|b            99.500",
                        "<c>              1234      7");
    }

    @Test
    void markdown_rows_escapesBars() {
        assertThat(TABLE.markdown()).isEqualTo("""
                        | name | tokens a second | pairs |
                        | --- | ---: | ---: |
                        | a\\|b | 99.500 |  |
                        | <c> | 1234 | 7 |
                        """);
    }

    @Test
    void html_rows_escapesText() {
        assertThat(TABLE.html())
                .isEqualTo("<table><tr><th>name</th><th>tokens a second</th><th>pairs</th></tr>"
                        + "<tr><td>a|b</td><td>99.500</td><td></td></tr>"
                        + "<tr><td>&lt;c&gt;</td><td>1234</td><td>7</td></tr></table>");
    }

    @Test
    void html_noRows_isEmpty() {
        assertThat(new Table(List.of()).html()).isEqualTo("<table></table>");
    }

    private static Map<String, Object> row(Object... namesAndValues) {
        Map<String, Object> row = new LinkedHashMap<>();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            row.put((String) namesAndValues[i], namesAndValues[i + 1]);
        }
        return row;
    }
}
