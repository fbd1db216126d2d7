package quire.model.text;

import java.util.List;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * The tokens with which a model fills a gap in a text. Models for code learn them.
 *
 * <pre>
 *   prompt    [BOS] other files  prefix  text before the gap  suffix  text behind the gap  middle
 *   answer    the text of the gap
 * </pre>
 *
 * @param prefix the token before the text before the gap
 * @param suffix the token before the text behind the gap
 * @param middle the token that ends the prompt
 * @param repository the token before the name of a project, in front of its files; empty if the vocabulary has none
 * @param file the token before the name of a file
 */
public record FillInTheMiddle(int prefix, int suffix, int middle, OptionalInt repository, OptionalInt file) {
    /** How many tokens a prompt has beside texts and other files. */
    public static final int TOKENS = 3;

    /** Spellings of the three tokens in families of models. */
    private static final List<List<String>> KNOWN = List.of(
            List.of("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"), // Qwen 2.5 and 3 Coder, Granite 4
            List.of("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), // StarCoder
            List.of("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
            List.of("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"), // DeepSeek Coder
            List.of("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>")); // GLM 4

    private static final List<String> REPOSITORY = List.of("<|repo_name|>", "<repo_name>", "<reponame>");
    private static final List<String> FILE = List.of("<|file_sep|>", "<file_sep>", "<filename>");

    /** The tokens of a vocabulary; null if it has none. Looks at the whole vocabulary. */
    public static @Nullable FillInTheMiddle of(Tokenizer tokenizer) {
        int[][] found = new int[KNOWN.size()][3];
        OptionalInt repository = OptionalInt.empty();
        OptionalInt file = OptionalInt.empty();
        for (int token = 0; token < tokenizer.vocabularySize(); token++) {
            String spelling = tokenizer.spelling(token);
            repository = REPOSITORY.contains(spelling) ? OptionalInt.of(token) : repository;
            file = FILE.contains(spelling) ? OptionalInt.of(token) : file;
            for (int family = 0; family < found.length; family++) {
                int place = KNOWN.get(family).indexOf(spelling);
                if (place >= 0) {
                    found[family][place] = token + 1;
                }
            }
        }
        for (int[] tokens : found) {
            if (tokens[0] > 0 && tokens[1] > 0 && tokens[2] > 0) {
                return new FillInTheMiddle(tokens[0] - 1, tokens[1] - 1, tokens[2] - 1, repository, file);
            }
        }
        return null;
    }

    /**
     * The prompt for a gap.
     *
     * @param before the tokens before the gap, which may begin with BOS
     * @param after the tokens behind the gap
     * @param files the tokens of other files
     * @param bos the token that begins a text
     */
    public int[] prompt(int[] before, int[] after, int[] files, OptionalInt bos) {
        int begin = bos.isPresent() && before.length > 0 && before[0] == bos.getAsInt() ? 1 : 0;
        int[] prompt = new int[files.length + before.length + after.length + TOKENS];
        System.arraycopy(before, 0, prompt, 0, begin);
        System.arraycopy(files, 0, prompt, begin, files.length);
        int at = begin + files.length;
        prompt[at] = prefix;
        System.arraycopy(before, begin, prompt, at + 1, before.length - begin);
        at += 1 + before.length - begin;
        prompt[at] = suffix;
        System.arraycopy(after, 0, prompt, at + 1, after.length);
        prompt[prompt.length - 1] = middle;
        return prompt;
    }
}
