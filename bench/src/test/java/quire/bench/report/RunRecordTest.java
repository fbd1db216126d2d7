package quire.bench.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class RunRecordTest {
    @Test
    void json_writtenAndRead_isTheSameRecord() {
        RunRecord record = new RunRecord();
        record.putMachine();
        record.put("threads", 2);
        record.put("seconds", 0.25);
        record.put("decode", List.of(Map.of("sequences", 1), Map.of("sequences", 16)));

        RunRecord read = RunRecord.read(record.json());

        assertThat(read.values()).isEqualTo(record.values());
        assertThat(read.values().keySet()).containsExactly("machine", "cpu", "commit", "threads", "seconds", "decode");
        assertThat(read.number("seconds")).isEqualTo(0.25);
        assertThat(read.rows("decode")).hasSize(2);
    }

    @Test
    void merge_rowsWithKnownKeys_replacesThemInPlace() {
        RunRecord record = new RunRecord();
        record.merge("load", List.of(row(1, 0.9), row(4, 0.8)), "sequences");
        record.merge("load", List.of(row(8, 0.7), row(1, 1.0)), "sequences");
        assertThat(record.rows("load")).containsExactly(row(1, 1.0), row(4, 0.8), row(8, 0.7));
    }

    @Test
    void number_textOrNothing_isZero() {
        RunRecord record = new RunRecord(Map.of("kernels", "avx2"));
        assertThat(record.number("kernels")).isZero();
        assertThat(record.number("threads")).isZero();
        assertThat(record.rows("load")).isEmpty();
    }

    @Test
    void text_hasValuesThenTablesThenTexts() {
        RunRecord record = new RunRecord();
        record.put("faults", IntStream.range(0, 32).mapToObj(i -> "fault " + i).toList());
        record.put("seed", 1);
        record.put("failure", "");
        record.put("levels", List.of(Map.of("level", "× 2")));
        record.put("rounds", List.of());
        record.put("commit", "abc");

        assertThat(record.text().lines().toList())
                .startsWith("seed     1", "commit   abc", "", "level", "× 2", "", "faults:", "fault 0")
                .endsWith("fault 29", "2 more: --json lists them")
                .hasSize(38);
    }

    private static Map<String, Object> row(int sequences, double speedup) {
        return Map.of("sequences", sequences, "speedup", speedup);
    }
}
