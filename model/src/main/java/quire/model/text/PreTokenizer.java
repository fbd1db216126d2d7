package quire.model.text;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Divides text into words; byte-level BPE never merges across the border of a word. {@code tokenizer.ggml.pre} names
 * the pre-tokenizer.
 *
 * <p>The steps are applied one after another. Each one divides every piece that the steps before it made, at both ends of
 * every match; text between two matches is a piece too. Each piece is matched separately, so look-ahead does not see
 * beyond its end. The expressions are those in the models' own tokenizer.json files, under the names that llama.cpp's
 * converter gives them. Where an expression would take time that grows faster than the text, another one with the same
 * matches stands here.
 *
 * @param ignoreMerges whether a word that is a token becomes that token, independent of the merges
 * @param addBos whether BOS is added at the start if the file does not say
 * @param composes whether the text is brought into Unicode's normal form NFC first
 */
record PreTokenizer(List<Step> steps, boolean ignoreMerges, boolean addBos, boolean composes) {
    /**
     * One regular expression.
     *
     * @param inThrees whether each match is divided into groups of three characters, counted from its end
     * @param original an expression in the models' own files that gives the same pieces
     */
    record Step(Pattern pattern, boolean inThrees, String original) {}

    private static final String CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private static final String SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    private static final String SYMBOLS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|";
    private static final String UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
    private static final String LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
    private static final String NOT_WORD = "[^\\r\\n\\p{L}\\p{N}]?";

    private static final String GPT_2 =
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    private static final String LLAMA_3 = CONTRACTIONS + "|" + NOT_WORD + "\\p{L}+|\\p{N}{1,3}|" + SYMBOLS + SPACES;
    private static final String QWEN_2 = CONTRACTIONS + "|" + NOT_WORD + "\\p{L}+|\\p{N}|" + SYMBOLS + SPACES;
    private static final String QWEN_35 =
            CONTRACTIONS + "|" + NOT_WORD + "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" + SPACES;
    private static final String TEKKEN = NOT_WORD + UPPER + "*" + LOWER + "+|" + NOT_WORD + UPPER + "+" + LOWER
            + "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" + SPACES;
    private static final String GPT_4O = NOT_WORD + UPPER + "*" + LOWER + "+" + CONTRACTIONS + "?|" + NOT_WORD + UPPER
            + "+" + LOWER + "*" + CONTRACTIONS + "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" + SPACES;
    private static final String DEEPSEEK_HAN = "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+";
    private static final String DEEPSEEK_V3 =
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                    + "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" + SPACES;
    /** DeepSeek's list of letters with case, which is not a Unicode category. */
    private static final String DEEPSEEK_LETTERS =
            "\\s?[A-Za-z\\u00B5\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u01BA\\u01BC-\\u01BF\\u01C4-\\u0293"
                    + "\\u0295-\\u02AF\\u0370-\\u0373\\u0376\\u0377\\u037B-\\u037D\\u037F\\u0386\\u0388-\\u038A"
                    + "\\u038C\\u038E-\\u03A1\\u03A3-\\u03F5\\u03F7-\\u0481\\u048A-\\u052F\\u0531-\\u0556"
                    + "\\u10A0-\\u10C5\\u13A0-\\u13F5\\u13F8-\\u13FD\\u1C90-\\u1CBA\\u1CBD-\\u1CBF"
                    + "\\u1D00-\\u1D2B\\u1D6B-\\u1D77\\u1D79-\\u1D9A\\u1E00-\\u1F15\\u1F18-\\u1F1D"
                    + "\\u1F20-\\u1F45\\u1F48-\\u1F4D\\u1F50-\\u1F57\\u1F59\\u1F5B\\u1F5D\\u1F5F-\\u1F7D"
                    + "\\u1F80-\\u1FB4\\u1FB6-\\u1FBC\\u1FBE\\u1FC2-\\u1FC4\\u1FC6-\\u1FCC\\u1FD0-\\u1FD3"
                    + "\\u1FD6-\\u1FDB\\u1FE0-\\u1FEC\\u1FF2-\\u1FF4\\u1FF6-\\u1FFC\\u2102\\u2107"
                    + "\\u210A-\\u2113\\u2115\\u2119-\\u211D\\u2124\\u2126\\u2128\\u212A-\\u212D\\u212F-\\u2134"
                    + "\\u2139\\u213C-\\u213F\\u2145-\\u2149\\u214E\\u2183\\u2184\\u2C00-\\u2C7B\\u2C7E-\\u2CE4"
                    + "\\u2CEB-\\u2CEE\\u2CF2\\u2CF3\\uA640-\\uA66D\\uA680-\\uA69B\\uA722-\\uA76F"
                    + "\\uA771-\\uA787\\uA78B-\\uA78E\\uAB70-\\uABBF\\uFB00-\\uFB06\\uFB13-\\uFB17"
                    + "\\uFF21-\\uFF3A\\uFF41-\\uFF5A\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}"
                    + "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"
                    + "\\x{1E900}-\\x{1E943}]+";

    /** The look-behind changes no match. Without it, n spaces before a digit would need n² steps. */
    private static final String TRAILING_SPACES = "(?<!\\s)\\s+\\z";

    private static final String HAN_AND_KANA = "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+";
    private static final String GPT_4O_SINGLE_DIGITS = GPT_4O.replace("{1,3}", "");
    private static final String LONG_SPACES = IntStream.of(512, 256, 128, 64, 32, 16, 8, 4)
                    .mapToObj(count -> "\\s{" + count + "}(?!\\S)|")
                    .collect(Collectors.joining())
            + "\\s{1,2}(?!\\S)|\\s";
    private static final String LINES = "\\s*[\\r\\n]+|";
    /** Jais 2 cuts spaces at powers of two. */
    private static final String JAIS_2 =
            CONTRACTIONS + "|" + NOT_WORD + "\\p{L}+|\\p{N}{1,3}|" + SYMBOLS + LINES + LONG_SPACES;
    /** No line break is looked for within a run of spaces in which none was found. */
    private static final String JAIS_2_LINES = "(?<![^\\S\\r\\n])" + LINES;

    private static final String BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C)]+";
    /** Letters and marks with single spaces between, which are part of the word. */
    private static final String EXAONE_WORD = "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+";
    /** The same without a group in a group, for which Java calls itself once for each letter. */
    private static final String EXAONE_PLAIN_WORD = "\\p{L}(?:[\\p{L}\\p{M}]| \\p{L})*+";

    private static final String EXAONE_MOE = CONTRACTIONS + "|" + NOT_WORD + EXAONE_WORD
            + "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";

    private static final String BAILING = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
            + "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
    private static final String SEED_CODER =
            CONTRACTIONS + "|" + NOT_WORD + "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" + SPACES;
    private static final String KIMI_K2 = "[\\p{IsHan}]+|" + NOT_WORD + notHan(UPPER) + "*" + notHan(LOWER) + "+"
            + CONTRACTIONS + "?|" + NOT_WORD + notHan(UPPER) + "+" + notHan(LOWER) + "*" + CONTRACTIONS
            + "?|\\p{N}{1,3}|" + SYMBOLS + SPACES;
    private static final String SPARK =
            DEEPSEEK_V3.substring(0, DEEPSEEK_V3.indexOf("[\\r\\n]*|")) + "|[\\r\\n]|\\s+(?!\\S)|\\s+";
    private static final String YOUTU_SCRIPTS =
            "[\\uAC00-\\uD7A3\\u3131-\\u318E]+|[\\uFF01\\u2026\\u201C\\u201D\\u2018\\u2019\\u2014\\uFF1A\\uFF1B\\uFF0C"
                    + "\\u3001-\\u303F\\uFE30-\\uFE4F]+|[\\u3105-\\u312F]+|" + HAN_AND_KANA;
    private static final String AFMOE_SCRIPTS =
            "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF\\u3040-\\u309F\\u30A0-\\u30FF\\uFF65-\\uFF9F\\u2F00-\\u2FDF"
                    + "\\u0E40-\\u0E7F\\u0E80-\\u0EFF\\u1780-\\u17FF\\u1000-\\u109F\\uAA60-\\uAA7F\\uA9E0-\\uA9FF"
                    + "\\uAC00-\\uD7AF\\u1100-\\u11FF]+";

    private static final String FALCON_SYMBOLS = "[\\p{P}\\$\\+<=>\\^~\\|`]+";

    private static final Map<String, PreTokenizer> NAMED = new TreeMap<>();

    static {
        name(
                of(GPT_2),
                "gpt-2",
                "phi-2",
                "mpt",
                "jais",
                "trillion",
                "exaone4",
                "gigachat",
                "mellum",
                "a.x-4.0",
                "granite-docling",
                "jina-es",
                "jina-de",
                "jina-v1-en",
                "jina-v2-es",
                "jina-v2-de",
                "jina-v2-code",
                "roberta-bpe");
        name(of(GPT_2).composing(), "olmo", "modern-bert");
        name(of("\\p{N}", GPT_2), "starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2");
        name(of("\\p{N}", GPT_2).composing(), "command-r");
        name(
                of(LLAMA_3).ignoringMerges().addingBos(),
                "llama3",
                "llama-v3",
                "llama-bpe",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano");
        name(of(LLAMA_3), "dbrx", "smaug-bpe", "chatglm-bpe", "glm4");
        name(of("\\p{N}{1,3}", LLAMA_3.replace("{1,3}", "+")).ignoringMerges(), "minicpm5");
        name(likeOriginal(JAIS_2.replace(LINES, JAIS_2_LINES), JAIS_2), "jais-2");
        name(
                of(QWEN_2),
                "stablelm2",
                "megrez",
                "hunyuan",
                "grok-2",
                "solar-open",
                "deepseek-r1-qwen",
                "kormo",
                "f2llmv2");
        name(of(QWEN_2).composing(), "qwen2");
        name(of("[^\\n]+|[\\n]+", QWEN_2), "laguna");
        name(of(QWEN_2.substring(CONTRACTIONS.length() + 1)), "ufakzeka");
        name(of(QWEN_35).composing(), "qwen35");
        name(of(TEKKEN).ignoringMerges().addingBos(), "tekken");
        name(of(GPT_4O), "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2");
        name(of(GPT_4O).ignoringMerges(), "granite-embed-multi-97m");
        name(of(YOUTU_SCRIPTS, GPT_4O_SINGLE_DIGITS).ignoringMerges(), "youtu");
        name(
                inThrees("(?<!\\d)\\d++(?![\\p{L}\\p{M}\\p{N}\\p{Pc}])", "\\d{1,3}(?=(?:\\d{3})*\\b)")
                        .then(of(GPT_4O)),
                "tiny_aya",
                "cohere2moe");
        name(of("\\p{N}+").then(inThrees("\\d+", "(?=(\\d{3})+(?!\\d))")), "superbpe");
        name(
                inThrees("\\p{N}+", "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))").then(of(AFMOE_SCRIPTS, DEEPSEEK_V3)),
                "afmoe");
        name(of(KIMI_K2), "kimi-k2");
        name(of(BLOOM), "bloom", "poro-chat", "gpt3-finnish");
        name(of(BLOOM, "\\p{N}"), "viking");
        name(likeOriginal(EXAONE_MOE.replace(EXAONE_WORD, EXAONE_PLAIN_WORD), EXAONE_MOE), "exaone-moe");
        name(of(BAILING), "bailingmoe", "bailingmoe2", "llada-moe");
        name(of(SEED_CODER), "seed-coder");
        name(
                of(
                                "<sentinel:[0-9]+>",
                                "IMGIMG[A-I]{1,4}Z",
                                "[\\t\\n]|    |  ",
                                "\\p{N}",
                                "[\\p{P}!-/:-@\\[-`{-~]",
                                GPT_2)
                        .addingBos(),
                "chameleon");
        name(of("[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_HAN, "\\p{N}"), "deepseek-coder");
        name(
                of(
                        "[\\r\\n]",
                        DEEPSEEK_LETTERS,
                        "\\s?[!-/:-~\\uFF01-\\uFF0F\\uFF1A-\\uFF5E\\u2018-\\u201F\\u3000-\\u3002]+",
                        TRAILING_SPACES,
                        DEEPSEEK_HAN,
                        "\\p{N}+"),
                "deepseek-llm");
        name(of("\\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK_V3), "deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4");
        name(of("\\p{N}{1,3}", HAN_AND_KANA, SPARK, "\\p{N}"), "spark2_5");
        name(of(FALCON_SYMBOLS, GPT_2, "[0-9][0-9][0-9]"), "falcon");
        name(of("[\\p{P}\\$\\+<=>\\^~\\|]+", GPT_2, "\\p{N}+", "[0-9][0-9][0-9]"), "default");
    }

    /** The pre-tokenizer with this name, or null. */
    static @Nullable PreTokenizer named(String name) {
        return NAMED.get(name);
    }

    /** All names, sorted. */
    static List<String> names() {
        return List.copyOf(NAMED.keySet());
    }

    /** The borders of the words: from 0 to the length of the text, with a word between each two neighbours. */
    IntList split(CharSequence text) {
        return split(text, Integer.MAX_VALUE - 1);
    }

    /**
     * The borders of the first words, as {@link #split(CharSequence)} finds them, or coarser where the rest is left out.
     *
     * @param most stops when there are at least so many words; at least 1
     */
    IntList split(CharSequence text, int most) {
        IntList borders = new IntList((int) Math.min(text.length() / 3, most + 1L));
        borders.add(0);
        borders.add(text.length());
        for (Step step : steps) {
            Matcher matcher = step.pattern.matcher(text);
            IntList finer = new IntList(borders.size() * 2);
            finer.add(0);
            for (int i = 1; i < borders.size() && finer.size() <= most; i++) {
                int done = borders.get(i - 1);
                matcher.region(done, borders.get(i));
                while (finer.size() <= most && matcher.find()) {
                    if (matcher.start() > done) {
                        finer.add(matcher.start());
                    }
                    if (step.inThrees) {
                        addThrees(text, matcher.start(), matcher.end(), finer);
                    }
                    finer.add(matcher.end());
                    done = matcher.end();
                }
                if (done < borders.get(i) && finer.size() <= most) {
                    finer.add(borders.get(i));
                }
            }
            borders = finer;
        }
        return borders;
    }

    /** Adds the borders inside of a match that are a multiple of three characters before its end. */
    private static void addThrees(CharSequence text, int start, int end, IntList borders) {
        int count = Character.codePointCount(text, start, end);
        for (int at = start; count > 3; count -= (count - 1) % 3 + 1) {
            at = Character.offsetByCodePoints(text, at, (count - 1) % 3 + 1);
            borders.add(at);
        }
    }

    private static String notHan(String characters) {
        return characters.replaceFirst("]$", "&&[^\\\\p{IsHan}]]");
    }

    private static PreTokenizer of(String... expressions) {
        return new PreTokenizer(
                Arrays.stream(expressions)
                        .map(expression -> step(expression, false, expression))
                        .toList(),
                false,
                false,
                false);
    }

    private static PreTokenizer likeOriginal(String expression, String original) {
        return new PreTokenizer(List.of(step(expression, false, original)), false, false, false);
    }

    private static PreTokenizer inThrees(String expression, String original) {
        return new PreTokenizer(List.of(step(expression, true, original)), false, false, false);
    }

    private static Step step(String expression, boolean inThrees, String original) {
        return new Step(Pattern.compile(expression, Pattern.UNICODE_CHARACTER_CLASS), inThrees, original);
    }

    private PreTokenizer then(PreTokenizer next) {
        return new PreTokenizer(
                Stream.concat(steps.stream(), next.steps.stream()).toList(), ignoreMerges, addBos, composes);
    }

    private PreTokenizer ignoringMerges() {
        return new PreTokenizer(steps, true, addBos, composes);
    }

    private PreTokenizer addingBos() {
        return new PreTokenizer(steps, ignoreMerges, true, composes);
    }

    private PreTokenizer composing() {
        return new PreTokenizer(steps, ignoreMerges, addBos, true);
    }

    private static void name(PreTokenizer preTokenizer, String... names) {
        for (String name : names) {
            NAMED.put(name, preTokenizer);
        }
    }
}
