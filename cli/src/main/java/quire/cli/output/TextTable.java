package quire.cli.output;

import java.util.List;

/** Lines of cells as text with aligned columns, two blanks between them. */
public final class TextTable {
    private TextTable() {}

    /**
     * Aligns the cells of all lines.
     *
     * @param lines all of the same number of cells; the first line is the heading
     * @param leftColumns so many columns are aligned left; the others are aligned right
     * @return the lines, each with a line separator and without blanks at its end
     */
    public static String of(List<List<String>> lines, int leftColumns) {
        int columns = lines.isEmpty() ? 0 : lines.getFirst().size();
        int[] widths = new int[columns];
        for (List<String> line : lines) {
            for (int i = 0; i < columns; i++) {
                widths[i] = Math.max(widths[i], line.get(i).length());
            }
        }
        StringBuilder text = new StringBuilder();
        for (List<String> line : lines) {
            StringBuilder row = new StringBuilder();
            for (int i = 0; i < columns; i++) {
                String cell = line.get(i);
                String blanks = " ".repeat(widths[i] - cell.length());
                row.append(i == 0 ? "" : "  ").append(i < leftColumns ? cell + blanks : blanks + cell);
            }
            text.append(row.toString().stripTrailing()).append(System.lineSeparator());
        }
        return text.toString();
    }
}
