package quire.model.text;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Stream;

/**
 * A tokenizer for a vocabulary. It handles special tokens, and the tokens and spaces that encoding adds. {@link
 * TextCodec} handles plain text.
 */
final class VocabularyTokenizer implements Tokenizer {
    private static final Logger LOG = System.getLogger(VocabularyTokenizer.class.getName());

    /** Tokens that end an answer in every vocabulary that has them. Files often name only one of several. */
    private static final List<String> ENDINGS = List.of(
            "<|eot_id|>",
            "<|eom_id|>",
            "<|im_end|>",
            "<|end|>",
            "<|endoftext|>",
            "<|end_of_text|>",
            "<|return|>",
            "<|call|>",
            "<end_of_turn>",
            "<turn|>",
            "<end_of_utterance>",
            "<EOT>",
            "[EOT]",
            "<｜end▁of▁sentence｜>",
            "<|fim_pad|>",
            "<|repo_name|>",
            "<|file_sep|>");

    /**
     * Tokens that end an answer if the file calls them control tokens; in other vocabularies these spellings are plain
     * text. The list contains the ends of text of base models: fine-tuned models still generate them, even if their
     * files name another token.
     */
    private static final List<String> CONTROL_ENDINGS =
            List.of("</s>", "<eos>", "[EOS]", "_<EOT>", "<|eot|>", "<|eom|>", "<|flush|>", "<|calls|>", "[e~[");

    /**
     * In the tokenizers of Phi-3 and 3.5 the white space behind a special token is no part of the text. The file does not
     * say it. These tokens are the exceptions.
     */
    private static final Set<String> KEEPS_SPACES = Set.of("<unk>", "<s>", "<|endoftext|>");

    private static final int NO_LIMIT = Integer.MAX_VALUE;

    /** In {@code seperator_token_id}, as the key is spelled. */
    private static final String SEPARATOR = "seperator";

    private final Vocabulary vocabulary;
    private final TextCodec codec;
    private final int bos;
    private final int eos;
    private final boolean addBos;
    private final boolean addEos;
    private final boolean[] control;
    private final boolean[] userDefined;
    /** Whether white space behind a token in the text is left out. */
    private final boolean[] stripsBehind;

    private final boolean[] endOfGeneration;
    /** The most characters of a text that one token can stand for; -1 if there is no limit. */
    private final int longestToken;

    private final SpecialTokens alwaysParsed = new SpecialTokens();
    private final SpecialTokens parsedOnRequest = new SpecialTokens();

    VocabularyTokenizer(Vocabulary vocabulary, TextCodec codec) {
        this.vocabulary = vocabulary;
        this.codec = codec;
        bos = id("bos");
        String end = codec.end();
        eos = id(end) < 0 && vocabulary.isUnusable(end) ? knownEnding() : id(end);
        // Early files of Gemma 4 say that no BOS is added, which is wrong.
        addBos = (vocabulary.model().equals("gemma4") && bos >= 0)
                || added("add_bos_token", "bos_token_id", codec.addsBos(), bos);
        addEos = added(end.equals("eos") ? "add_eos_token" : "add_sep_token", end + "_token_id", codec.addsEnd(), eos);
        int size = vocabulary.size();
        endOfGeneration = endings();
        control = new boolean[size];
        userDefined = new boolean[size];
        stripsBehind = new boolean[size];
        boolean phi3 =
                vocabulary.architecture().equals("phi3") && vocabulary.model().equals("llama");
        int unknown = id("unknown");
        int longest = 1;
        for (int token = 0; token < size; token++) {
            Vocabulary.Type type = vocabulary.type(token);
            boolean named = token == bos || endOfGeneration[token] || token == unknown;
            control[token] = named || type == Vocabulary.Type.CONTROL || type == Vocabulary.Type.UNKNOWN;
            userDefined[token] = !control[token] && type == Vocabulary.Type.USER_DEFINED;
            longest = Math.max(longest, vocabulary.spellings().length(token));
            if (!control[token] && !userDefined[token]) {
                continue;
            }
            String spelling = vocabulary.spelling(token);
            stripsBehind[token] = phi3 && !KEEPS_SPACES.contains(spelling);
            boolean parsed = vocabulary.isUtf8(token);
            if (parsed) {
                parsedOnRequest.add(spelling, token);
            }
            if (parsed && userDefined[token]) {
                alwaysParsed.add(spelling, token);
            }
            if (named && type == Vocabulary.Type.NORMAL && vocabulary.typed()) {
                LOG.log(Level.DEBUG, "token {0} {1} is treated as a control token", token, Vocabulary.quote(spelling));
            }
        }
        longestToken =
                codec.mostCharactersPerByte() == TextCodec.UNLIMITED ? -1 : longest * codec.mostCharactersPerByte();
    }

    private int id(String name) {
        return vocabulary.id(name) >= 0 ? vocabulary.id(name) : codec.defaultId(name);
    }

    private boolean added(String key, String idKey, boolean otherwise, int id) {
        Optional<Boolean> said = vocabulary.flag(key);
        if (said.orElse(false) && id < 0) {
            throw vocabulary.wrong(
                    key, "is true", "but " + Vocabulary.PREFIX + idKey + " names no token of the vocabulary; set it");
        }
        return said.orElse(otherwise) && id >= 0;
    }

    /** A token that ends an answer by its spelling, or -1. It replaces an EOS that is not in the vocabulary. */
    private int knownEnding() {
        return Stream.concat(CONTROL_ENDINGS.stream(), ENDINGS.stream())
                .mapToInt(vocabulary::find)
                .filter(token -> token >= 0 && vocabulary.type(token) == Vocabulary.Type.CONTROL)
                .findFirst()
                .orElse(-1);
    }

    private boolean has(String... spellings) {
        return Arrays.stream(spellings).allMatch(spelling -> vocabulary.find(spelling) >= 0);
    }

    private boolean[] endings() {
        boolean[] endings = new boolean[vocabulary.size()];
        for (String name : List.of("eot", "eom", "fim_pad", "fim_rep", "fim_sep")) {
            if (vocabulary.id(name) >= 0) {
                endings[vocabulary.id(name)] = true;
            }
        }
        for (String spelling : ENDINGS) {
            int token = vocabulary.find(spelling);
            if (token >= 0) {
                endings[token] = true;
            }
        }
        for (String spelling : CONTROL_ENDINGS) {
            int token = vocabulary.find(spelling);
            if (token >= 0 && vocabulary.type(token) == Vocabulary.Type.CONTROL) {
                endings[token] = true;
            }
        }
        // OpenAI's harmony format ends an answer with <|return|> or <|call|>; <|end|> only ends one of its messages.
        // Solar Open's format, with <|calls|> and <|flush|>, works in the same way.
        if (has("<|end|>", "<|return|>", "<|call|>") || has("<|end|>", "<|calls|>", "<|flush|>")) {
            endings[vocabulary.find("<|end|>")] = false;
        }
        // Gemma 4 ends its turn before the result of a tool with a token that its files call user-defined.
        if (has("<|tool_response>", "<turn|>")) {
            endings[vocabulary.find("<|tool_response>")] = true;
        }
        if (eos >= 0) {
            endings[eos] = true;
        }
        return endings;
    }

    @Override
    public int vocabularySize() {
        return vocabulary.size();
    }

    @Override
    public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
        return encode(text, addSpecial && addBos, addSpecial && addEos, parseSpecial, NO_LIMIT);
    }

    @Override
    public int[] encodePrompt(String text, boolean addSpecial, boolean parseSpecial) {
        return encode(text, addSpecial && addBos, false, parseSpecial, NO_LIMIT);
    }

    @Override
    public int[] encodePrompt(String text, boolean addSpecial, boolean parseSpecial, int most) {
        if (longestToken > 0 && text.length() / longestToken > most) {
            throw new TextTooLongException(most, 0);
        }
        return encode(text, addSpecial && addBos, false, parseSpecial, most);
    }

    /** RoBERTa and its kind have a separator behind the end of the first text; BERT's separator is the end. */
    @Override
    public int[] encodePair(String first, String second) {
        int[] before = encode(first, addBos, addEos, false, NO_LIMIT);
        int[] behind = encode(second, false, addEos, false, NO_LIMIT);
        int separator = vocabulary.id(SEPARATOR);
        boolean separated = !codec.end().equals(SEPARATOR)
                && separator >= 0
                && vocabulary.flag("add_sep_token").orElse(false);
        int[] all = Arrays.copyOf(before, before.length + (separated ? 1 : 0) + behind.length);
        if (separated) {
            all[before.length] = separator;
        }
        System.arraycopy(behind, 0, all, all.length - behind.length, behind.length);
        return all;
    }

    private int[] encode(String text, boolean withBos, boolean withEos, boolean parseSpecial, int most) {
        String valid = withoutLoneSurrogates(text);
        SpecialTokens special = parseSpecial ? parsedOnRequest : alwaysParsed;
        IntList tokens = new IntList((int) Math.min(valid.length() / 3, most + 1L));
        if (withBos && !valid.isEmpty() && special.at(valid, 0) == bos) {
            LOG.log(Level.DEBUG, "the text begins with {0} already; it is not added again", vocabulary.spelling(bos));
        } else if (withBos) {
            tokens.add(bos);
        }
        int done = 0;
        while (done < valid.length()) {
            int next = special.find(valid, done);
            if (next > done) {
                done += codec.encode(valid.substring(done, next), tokens, most);
            }
            if (tokens.size() > most) {
                throw new TextTooLongException(most, done);
            }
            if (next < valid.length()) {
                int token = special.at(valid, next);
                tokens.add(token);
                next += vocabulary.spelling(token).length();
                while (stripsBehind[token] && next < valid.length() && isWhiteSpace(valid.codePointAt(next))) {
                    next += Character.charCount(valid.codePointAt(next));
                }
            }
            done = next;
        }
        if (withEos && (tokens.size() == 0 || tokens.get(tokens.size() - 1) != eos)) {
            tokens.add(eos);
        }
        if (tokens.size() > most) {
            throw new TextTooLongException(most, done);
        }
        return tokens.toArray();
    }

    /** Whether a character has the property White_Space of Unicode. */
    static boolean isWhiteSpace(int c) {
        return Character.isSpaceChar(c) || (c >= '\t' && c <= '\r') || c == 0x85;
    }

    private static String withoutLoneSurrogates(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (Character.isHighSurrogate(text.charAt(i))
                    && i + 1 < text.length()
                    && Character.isLowSurrogate(text.charAt(i + 1))) {
                i++;
            } else if (Character.isSurrogate(text.charAt(i))) {
                int[] characters = text.codePoints()
                        .map(c -> c >= 0xD800 && c <= 0xDFFF ? 0xFFFD : c)
                        .toArray();
                return new String(characters, 0, characters.length);
            }
        }
        return text;
    }

    @Override
    public byte[] bytes(int token) {
        if (control[check(token)]) {
            return new byte[0];
        }
        return userDefined[token] ? vocabulary.spellings().get(token) : codec.bytes(token);
    }

    @Override
    public String spelling(int token) {
        return vocabulary.spelling(check(token));
    }

    @Override
    public boolean isControl(int token) {
        return control[check(token)];
    }

    @Override
    public boolean isEndOfGeneration(int token) {
        return endOfGeneration[check(token)];
    }

    @Override
    public OptionalInt bos() {
        return bos < 0 ? OptionalInt.empty() : OptionalInt.of(bos);
    }

    @Override
    public OptionalInt eos() {
        return eos < 0 ? OptionalInt.empty() : OptionalInt.of(eos);
    }

    @Override
    public String decodeText(int... tokens) {
        Detokenizer detokenizer = new Detokenizer(this);
        StringBuilder text = new StringBuilder();
        int start = addBos && tokens.length > 0 && tokens[0] == bos ? 1 : 0;
        int end =
                addEos && tokens.length > start && tokens[tokens.length - 1] == eos ? tokens.length - 1 : tokens.length;
        boolean first = codec.addsSpacePrefix();
        for (int i = start; i < end; i++) {
            int token = check(tokens[i]);
            boolean special = control[token] || userDefined[token];
            if (control[token]) {
                text.append(detokenizer.finish()).append(vocabulary.spelling(token));
            } else {
                String more = detokenizer.append(token);
                text.append(first && !special && more.startsWith(" ") ? more.substring(1) : more);
            }
            first = special && codec.addsSpacePrefix();
        }
        return text.append(detokenizer.finish()).toString();
    }

    private int check(int token) {
        if (token < 0 || token >= vocabulary.size()) {
            throw new IllegalArgumentException(
                    "token " + token + " is not in the vocabulary; ids go from 0 to " + (vocabulary.size() - 1));
        }
        return token;
    }
}
