package quire.bench.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import quire.bench.report.Chart.Point;

class ChartTest {
    @Test
    void svg_lineAndDots_shareTheSeriesColour() {
        String svg = new Chart("α", "speed <x>")
                .line("a", List.of(new Point(0, 0), new Point(2, 10)))
                .dots("a", List.of(new Point(1, 5)))
                .dots("b", List.of(new Point(2, 5)))
                .svg();
        assertThat(svg)
                .startsWith("<svg ")
                .endsWith("</svg>")
                .contains("speed &lt;x&gt;")
                // (0, 0) is the lower left corner; 2 is the right end of the x axis; the y axis ends 8 % above 10
                .contains("<path d=\"M56.0 276.0L430.0 35.3\" fill=\"none\" stroke=\"#1b6ca8\"")
                .contains("<circle cx=\"243.0\" cy=\"155.6\" r=\"4\" fill=\"#1b6ca8\"/>")
                .contains("r=\"4\" fill=\"#c8553d\"/>");
    }

    @Test
    void svg_reference_isADashedLine() {
        assertThat(new Chart("x", "y").svg()).doesNotContain("stroke-dasharray");
        assertThat(new Chart("x", "y").reference(1.08).svg())
                .contains("<path d=\"M56 16.0H430\" stroke=\"#888\" stroke-dasharray");
    }

    @Test
    void svg_noPoints_isAnEmptyChart() {
        assertThat(new Chart("x", "y").svg()).contains("<text").doesNotContain("<circle", "NaN");
    }
}
