package quire.bench.report;

import picocli.CommandLine.Option;

/** How a command prints its record: as text, or as JSON where the user asks for it. */
public final class RecordOutput {
    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    /** Without a record. */
    public RecordOutput() {}

    /** Prints a record to standard output. */
    public void print(RunRecord record) {
        System.out.println(json ? record.json() : record.text());
    }
}
