package quire.engine;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.Function;
import java.util.function.IntPredicate;
import quire.engine.BeamSearch.EarlyStopping;

/**
 * Beam search as {@link BeamSearch} describes it, written plainly: every step computes each beam from its first token, lists all
 * continuations and sorts them.
 *
 * @param row the log probabilities behind a text, of its likeliest tokens, likeliest first: at least those of the first {@code
 *     2 × width}
 * @param isEnd whether a token ends an answer
 */
record BeamReference(Function<int[], Logprobs> row, IntPredicate isEnd) {
    /** An answer: its tokens, the bits of their log probabilities, and how it ends. */
    record Found(List<Integer> tokens, List<String> logprobs, double score, FinishReason reason) {}

    private record Path(List<Integer> tokens, List<String> logprobs, double sum) {
        Path with(int token, Logprobs at, int place) {
            List<Integer> longer = new ArrayList<>(tokens);
            longer.add(token);
            List<String> more = new ArrayList<>(logprobs);
            more.add(Integer.toString(Float.floatToRawIntBits(at.topLogprobs()[place])));
            return new Path(longer, more, sum + at.topLogprobs()[place]);
        }
    }

    private record Continuation(Path path, int beam, int place, int token) {}

    List<Found> search(int[] prompt, int maxTokens, int minTokens, BeamSearch search) {
        int width = search.width();
        List<Path> beams = List.of(new Path(List.of(), List.of(), 0));
        List<Found> found = new ArrayList<>();
        for (int length = 1; !beams.isEmpty(); length++) {
            List<Continuation> all = new ArrayList<>();
            for (int beam = 0; beam < beams.size(); beam++) {
                Path path = beams.get(beam);
                int[] text = new int[prompt.length + path.tokens.size()];
                System.arraycopy(prompt, 0, text, 0, prompt.length);
                for (int i = 0; i < path.tokens.size(); i++) {
                    text[prompt.length + i] = path.tokens.get(i);
                }
                Logprobs at = row.apply(text);
                for (int place = 0; place < at.topTokens().length; place++) {
                    int token = at.topTokens()[place];
                    if (length > minTokens || !isEnd.test(token)) {
                        all.add(new Continuation(path.with(token, at, place), beam, place, token));
                    }
                }
            }
            all.sort(Comparator.comparingDouble((Continuation each) -> -each.path.sum)
                    .thenComparingInt(Continuation::beam)
                    .thenComparingInt(Continuation::place));
            List<Path> next = new ArrayList<>();
            for (int rank = 0; rank < all.size(); rank++) {
                Continuation each = all.get(rank);
                boolean ends = isEnd.test(each.token);
                if (ends || length == maxTokens) {
                    if (rank < width) {
                        found.add(new Found(
                                each.path.tokens,
                                each.path.logprobs,
                                each.path.sum / StrictMath.pow(length, search.lengthPenalty()),
                                ends ? FinishReason.STOP : FinishReason.LENGTH));
                    }
                } else if (next.size() < width) {
                    next.add(each.path);
                }
            }
            found.sort(Comparator.comparingDouble(answer -> -answer.score)); // stable: of equal ones the older first
            found.subList(Math.min(width, found.size()), found.size()).clear();
            if (found.size() == width && !next.isEmpty()) {
                int best = search.earlyStopping() == EarlyStopping.NEVER && search.lengthPenalty() > 0
                        ? maxTokens
                        : length;
                double attainable = next.getFirst().sum / StrictMath.pow(best, search.lengthPenalty());
                if (search.earlyStopping() == EarlyStopping.YES || attainable <= found.getLast().score) {
                    break;
                }
            }
            beams = next;
        }
        return found;
    }
}
