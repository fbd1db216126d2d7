package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.bench.reproduce.PoolSimulation.Reservation;

/** The memory figures of vLLM's paper: a simulation of its pool, without a model, and pages that the engine shares. */
final class Paging {
    /** KV slots of OPT-13B on an A100 of 40 GB, in tokens. */
    static final int SLOTS = 15_700;

    private static final int LONGEST = 2048;
    private static final int REQUESTS = 4000;
    private static final long SEED = 5;

    private Paging() {}

    /** The simulation of one way to reserve memory. */
    static PoolSimulation.Result simulate(Reservation reservation) {
        return new PoolSimulation(reservation, SLOTS, LONGEST, Integer.MAX_VALUE, false, (tokens, live) -> 0)
                .play(Length.likeShareGpt(REQUESTS, SEED));
    }

    static Report report(Setup setup) throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        add(rows, "maximum reserved", Reservation.MAXIMUM, 7.0, 20.4);
        add(rows, "power of two reserved", Reservation.POWER_OF_TWO, 9.8, 26.8);
        add(rows, "oracle", Reservation.ORACLE, 13.6, 38.2);
        add(rows, "paged", Reservation.PAGED, 30.4, 96.3);
        return new Report(
                        "Paging",
                        "Kwon et al., Efficient Memory Management for Large Language Model Serving with PagedAttention"
                                + " (SOSP 2023): servers that reserve memory fill 20 to 38 % of it with live tokens, paging"
                                + " 96 %, so two to four times as many sequences run at once.")
                .note("A simulation: " + REQUESTS
                        + " requests with log-normal lengths (mean prompt 161, mean answer 338"
                        + " tokens, like ShareGPT's; the spreads are ours, the paper shows them only in a picture), a pool"
                        + " of 15,700 tokens (OPT-13B on an A100 of 40 GB), at most 2,048 tokens in a sequence. Reserved"
                        + " memory is contiguous and comes from a buddy allocator. Requests always wait; the paper's"
                        + " arrive twice a second. Figures are means over the steps in which requests wait.")
                .table("Sequences that run at once, and the share of the pool that holds live tokens", rows)
                .note(
                        "The waste of pages is the part of each sequence's last page that is still empty, as a share of its"
                                + " pages: it must stay under 4 %.")
                .note(
                        "Measured: several answers to one prompt share pages. Prompts are pieces of a text that the model has"
                                + " written; lengths are log-normal with the means of the paper's data, at most half of the model's"
                                + " context; pages of 16 tokens as in the paper. How much beams share depends on the model: the paper"
                                + " has OPT-13B.")
                .table(
                        "Pages saved by sharing, of those in all page tables, mean over the steps of the requests",
                        SharedPages.measure(setup));
    }

    private static void add(
            List<Map<String, Object>> rows, String name, Reservation reservation, double paperBatch, double paperLive) {
        PoolSimulation.Result result = simulate(reservation);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("memory", name);
        row.put("sequences", result.batch());
        row.put("sequences_in_the_paper", paperBatch);
        row.put("live_%_of_the_pool", 100 * result.live());
        row.put("live_%_in_the_paper", paperLive);
        row.put("waste_%_of_held", 100 * (1 - result.live() / result.held()));
        row.put("preemptions", result.preemptions());
        rows.add(row);
    }
}
