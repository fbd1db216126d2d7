package quire.engine.chat;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import quire.engine.ControlTokenizer;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.ConstraintCursor;
import quire.engine.constrain.Constraints;
import quire.engine.constrain.Mask;
import quire.engine.constrain.Part;
import quire.model.text.Tokenizer;

/** Random texts that a constraint allows. */
final class Walks {
    private static final List<String> CONTROL = List.of("[TOOL_CALLS]", "<|calls|>", "<|other|>");

    private Walks() {}

    /**
     * A text of random tokens that ends; prefers ends, quotes, brackets and the beginnings of tags.
     *
     * @param hint a text that is tried often
     */
    static String text(Constraint constraint, SplittableRandom random, int most, String hint) {
        Tokenizer tokenizer = new ControlTokenizer(CONTROL);
        ConstraintCursor cursor = new Constraints(tokenizer).begin(constraint);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (int i = 0; i < most; i++) {
            if (random.nextInt(8) == 0) {
                for (int token : tokenizer.encode(hint, false, false)) {
                    if (!cursor.mask().allows(token)) {
                        break;
                    }
                    cursor.append(token);
                    bytes.writeBytes(tokenizer.bytes(token));
                }
            }
            Mask mask = cursor.mask();
            List<Integer> allowed = new ArrayList<>();
            List<Integer> likely = new ArrayList<>();
            for (int token = 0; token < tokenizer.vocabularySize(); token++) {
                if (mask.allows(token)) {
                    byte[] text = tokenizer.bytes(token);
                    (text.length == 0 || "\"}]<\n/".indexOf(text[0]) >= 0 ? likely : allowed).add(token);
                }
            }
            List<Integer> from = allowed.isEmpty() || (!likely.isEmpty() && random.nextInt(3) > 0) ? likely : allowed;
            int token = from.get(random.nextInt(from.size()));
            if (tokenizer.isEndOfGeneration(token)) {
                return text(bytes.toByteArray());
            }
            cursor.append(token);
            bytes.writeBytes(tokenizer.isControl(token) ? mark(tokenizer.spelling(token)) : tokenizer.bytes(token));
        }
        throw new AssertionError("no end: " + text(bytes.toByteArray()));
    }

    private static byte[] mark(String spelling) {
        byte[] inside = spelling.getBytes(StandardCharsets.UTF_8);
        byte[] all = new byte[inside.length + 2];
        all[0] = Part.CONTROL_BYTE;
        System.arraycopy(inside, 0, all, 1, inside.length);
        all[all.length - 1] = Part.CONTROL_BYTE;
        return all;
    }

    private static String text(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        int from = 0;
        for (int i = 0; i < bytes.length; i++) {
            if (bytes[i] == Part.CONTROL_BYTE) {
                text.append(new String(bytes, from, i - from, StandardCharsets.UTF_8))
                        .append(Part.CONTROL_MARK);
                from = i + 1;
            }
        }
        return text.append(new String(bytes, from, bytes.length - from, StandardCharsets.UTF_8))
                .toString();
    }
}
