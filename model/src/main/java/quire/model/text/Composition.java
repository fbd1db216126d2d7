package quire.model.text;

import java.text.Normalizer;

/** Unicode's normal form NFC, which writes {@code e} and an accent behind it as the one letter {@code é}. */
final class Composition {
    /** The most UTF-16 units that become one. The longest canonical decomposition has so many. */
    static final int MOST_CHARACTERS = 4;

    /**
     * The longest run of marks that is put into order as a whole. Ordering takes time with the square of the length, and no
     * text of a language has more than a few marks in a row.
     */
    private static final int MAX_MARKS = 1024;

    private Composition() {}

    /** The normal form of a text. A run of more than 1024 marks is composed in pieces. */
    static String compose(String text) {
        int plain = 0;
        while (plain < text.length() && text.charAt(plain) < 0x300) {
            plain++;
        }
        if (plain == text.length()) {
            return text; // characters before U+0300 are in normal form
        }
        StringBuilder composed = new StringBuilder(text.length());
        int start = 0;
        int marks = 0;
        for (int i = 0, c; i < text.length(); i += Character.charCount(c)) {
            c = text.codePointAt(i);
            marks = isMark(c) ? marks + 1 : 0;
            if (marks > MAX_MARKS) {
                composed.append(Normalizer.normalize(text.substring(start, i), Normalizer.Form.NFC));
                start = i;
                marks = 1;
            }
        }
        return composed.append(Normalizer.normalize(text.substring(start), Normalizer.Form.NFC))
                .toString();
    }

    private static boolean isMark(int character) {
        return switch (Character.getType(character)) {
            case Character.NON_SPACING_MARK, Character.COMBINING_SPACING_MARK, Character.ENCLOSING_MARK -> true;
            default -> false;
        };
    }
}
