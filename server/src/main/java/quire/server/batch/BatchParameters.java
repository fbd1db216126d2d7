package quire.server.batch;

import java.util.List;
import java.util.Set;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.api.Parameter.Values;

/** All parameters of {@code POST /v1/batches}. */
public final class BatchParameters {
    /** The table. */
    public static final List<Parameter> ROWS = List.of(
            row("input_file_id", "the file of requests"),
            row("endpoint", "the url of all requests of the file"),
            row("completion_window", "the time for all answers; only 24h"),
            row("metadata", "texts that belong to the batch"),
            row("output_expires_after", "when the files of the result are deleted"));

    private BatchParameters() {}

    private static Parameter row(String name, String meaning) {
        return new Parameter(name, Set.of(Place.BATCHES), Treatment.COMPUTED, meaning, "batches", "", Values.ANY);
    }
}
