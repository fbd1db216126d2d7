package quire.model.text;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/** A tokenizer made of a file's vocabulary: special tokens and what encoding adds; the rest is {@link Pieces}. */
final class VocabularyTokenizer implements Tokenizer {
    private static final Logger LOG = System.getLogger(VocabularyTokenizer.class.getName());

    /** Tokens that end an answer in every vocabulary that has them, because files often name only one of several. */
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

    private final Vocabulary vocabulary;
    private final Pieces pieces;
    private final int bos;
    private final int eos;
    private final boolean addBos;
    private final boolean addEos;
    private final boolean[] control;
    private final boolean[] userDefined;
    private final boolean[] endOfGeneration;
    private final byte[][] bytes;
    private final SpecialTokens alwaysParsed = new SpecialTokens();
    private final SpecialTokens parsedOnRequest = new SpecialTokens();

    VocabularyTokenizer(Vocabulary vocabulary, Pieces pieces) {
        this.vocabulary = vocabulary;
        this.pieces = pieces;
        bos = id("bos");
        eos = id("eos");
        addBos = added("add_bos_token", "bos_token_id", pieces.addsBos(), bos);
        addEos = added("add_eos_token", "eos_token_id", false, eos);
        int size = vocabulary.size();
        endOfGeneration = endings();
        control = new boolean[size];
        userDefined = new boolean[size];
        bytes = new byte[size][];
        int unknown = id("unknown");
        for (int token = 0; token < size; token++) {
            Vocabulary.Type type = vocabulary.type(token);
            boolean named = token == bos || endOfGeneration[token] || token == unknown;
            control[token] = named || type == Vocabulary.Type.CONTROL || type == Vocabulary.Type.UNKNOWN;
            userDefined[token] = !control[token] && type == Vocabulary.Type.USER_DEFINED;
            String spelling = vocabulary.spelling(token);
            if (control[token]) {
                bytes[token] = new byte[0];
                parsedOnRequest.add(spelling, token);
            } else if (userDefined[token]) {
                bytes[token] = spelling.getBytes(StandardCharsets.UTF_8);
                parsedOnRequest.add(spelling, token);
                alwaysParsed.add(spelling, token);
            } else {
                bytes[token] = pieces.bytes(token);
            }
            if (named && type == Vocabulary.Type.NORMAL && vocabulary.typed()) {
                LOG.log(Level.DEBUG, "token {0} {1} counts as a control token", token, Vocabulary.quote(spelling));
            }
        }
    }

    private int id(String name) {
        return vocabulary.id(name) >= 0 ? vocabulary.id(name) : pieces.defaultId(name);
    }

    private boolean added(String key, String idKey, boolean otherwise, int id) {
        Optional<Boolean> said = vocabulary.adds(key);
        if (said.orElse(false) && id < 0) {
            throw vocabulary.wrong(key, "is true", "but " + Vocabulary.PREFIX + idKey + " is missing; set it");
        }
        return said.orElse(otherwise) && id >= 0;
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
        // OpenAI's harmony format ends an answer with <|return|> or <|call|>; <|end|> only ends one message of it.
        int end = vocabulary.find("<|end|>");
        if (end >= 0 && vocabulary.find("<|return|>") >= 0 && vocabulary.find("<|call|>") >= 0) {
            endings[end] = false;
        }
        if (eos >= 0) {
            endings[eos] = true;
        }
        return endings;
    }

    @Override
    public int vocabularySize() {
        return bytes.length;
    }

    @Override
    public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
        String valid = withoutLoneSurrogates(text);
        SpecialTokens special = parseSpecial ? parsedOnRequest : alwaysParsed;
        Ints tokens = new Ints(valid.length() / 3);
        if (addSpecial && addBos) {
            tokens.add(bos);
        }
        int done = 0;
        while (done < valid.length()) {
            int next = special.find(valid, done);
            if (next > done) {
                pieces.encode(valid.substring(done, next), tokens);
            }
            if (next < valid.length()) {
                int token = special.at(valid, next);
                tokens.add(token);
                next += vocabulary.spelling(token).length();
            }
            done = next;
        }
        if (addSpecial && addEos) {
            tokens.add(eos);
        }
        return tokens.toArray();
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
        return bytes[check(token)].clone();
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
        boolean first = pieces.addsSpacePrefix();
        for (int token : tokens) {
            boolean special = control[check(token)] || userDefined[token];
            String more = detokenizer.append(token);
            text.append(first && !special && more.startsWith(" ") ? more.substring(1) : more);
            first = special && pieces.addsSpacePrefix();
        }
        return text.append(detokenizer.finish()).toString();
    }

    private int check(int token) {
        if (token < 0 || token >= bytes.length) {
            throw new IllegalArgumentException(
                    "token " + token + " is not in the vocabulary; ids go from 0 to " + (bytes.length - 1));
        }
        return token;
    }
}
