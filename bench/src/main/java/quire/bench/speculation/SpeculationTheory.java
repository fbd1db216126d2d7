package quire.bench.speculation;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.bench.report.RunRecord;

/**
 * What speculation can reach by theory. With γ draft tokens in a step, each of which is right with probability α,
 *
 * <pre>
 *   tokens of a step   E = 1 + α + α² + … + α^γ = (1 − α^(γ+1)) / (1 − α)
 *   speed-up           E × (pass(1) + rest) / (pass(γ + 1) + γ × draft(1) + rest)
 * </pre>
 *
 * where pass(n) is the time of a pass of n rows, draft(1) that of a pass of the draft model, and rest the time of a
 * step outside of its pass. Source: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative
 * Decoding", 2023.
 */
final class SpeculationTheory {
    private static final double[] ACCEPTANCES = {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1};
    private static final int MAX_DRAFT_TOKENS = 16;

    private SpeculationTheory() {}

    /** E: the expected number of tokens of a step. */
    static double tokensPerStep(double acceptance, int draftTokens) {
        double sum = 1;
        double allRight = 1;
        for (int i = 0; i < draftTokens; i++) {
            allRight *= acceptance;
            sum += allRight;
        }
        return sum;
    }

    /**
     * The greatest speed-up over all numbers of draft tokens, for several acceptances: with draft tokens that cost
     * nothing, and with those of the draft model if its passes were measured.
     *
     * @param costs the table of {@link PassCosts#measure}
     * @param restMicros the time of a step outside of its pass, in microseconds
     */
    static List<Map<String, Object>> best(List<Map<String, Object>> costs, double restMicros) {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (double acceptance : ACCEPTANCES) {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("acceptance", acceptance);
            putBest(row, "free_guesses", costs, restMicros, acceptance, 0);
            if (costs.getFirst().get("draft_microseconds") instanceof Double draftMicros) {
                putBest(row, "draft_model", costs, restMicros, acceptance, draftMicros);
            }
            rows.add(row);
        }
        return rows;
    }

    private static void putBest(
            Map<String, Object> row,
            String name,
            List<Map<String, Object>> costs,
            double restMicros,
            double acceptance,
            double draftMicros) {
        double best = 1;
        int bestDraftTokens = 0;
        double plainMicros = RunRecord.number(costs.getFirst(), "model_microseconds") + restMicros;
        for (Map<String, Object> cost : costs) {
            int draftTokens = (int) RunRecord.number(cost, "rows") - 1;
            double stepMicros = RunRecord.number(cost, "model_microseconds") + draftTokens * draftMicros + restMicros;
            double speedup = tokensPerStep(acceptance, draftTokens) * plainMicros / stepMicros;
            if (draftTokens <= MAX_DRAFT_TOKENS && speedup > best) {
                best = speedup;
                bestDraftTokens = draftTokens;
            }
        }
        row.put(name + "_speedup", best);
        row.put(name + "_tokens", bestDraftTokens);
    }
}
