package quire.engine.constrain;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/** The characters of Unicode's general categories, by the names that regular expressions use. */
final class GeneralCategories {
    /** Short names, in the order of {@link #TYPES}. */
    private static final List<String> NAMES = List.of(
            "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Pd",
            "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf", "Cn");

    private static final byte[] TYPES = {
        Character.UPPERCASE_LETTER,
        Character.LOWERCASE_LETTER,
        Character.TITLECASE_LETTER,
        Character.MODIFIER_LETTER,
        Character.OTHER_LETTER,
        Character.NON_SPACING_MARK,
        Character.ENCLOSING_MARK,
        Character.COMBINING_SPACING_MARK,
        Character.DECIMAL_DIGIT_NUMBER,
        Character.LETTER_NUMBER,
        Character.OTHER_NUMBER,
        Character.SPACE_SEPARATOR,
        Character.LINE_SEPARATOR,
        Character.PARAGRAPH_SEPARATOR,
        Character.CONTROL,
        Character.FORMAT,
        Character.PRIVATE_USE,
        Character.DASH_PUNCTUATION,
        Character.START_PUNCTUATION,
        Character.END_PUNCTUATION,
        Character.CONNECTOR_PUNCTUATION,
        Character.OTHER_PUNCTUATION,
        Character.MATH_SYMBOL,
        Character.CURRENCY_SYMBOL,
        Character.MODIFIER_SYMBOL,
        Character.OTHER_SYMBOL,
        Character.INITIAL_QUOTE_PUNCTUATION,
        Character.FINAL_QUOTE_PUNCTUATION,
        Character.UNASSIGNED
    };

    private static final Map<String, String> LONG_NAMES = Map.ofEntries(
            Map.entry("Letter", "L"),
            Map.entry("Uppercase_Letter", "Lu"),
            Map.entry("Lowercase_Letter", "Ll"),
            Map.entry("Mark", "M"),
            Map.entry("Number", "N"),
            Map.entry("Decimal_Number", "Nd"),
            Map.entry("digit", "Nd"),
            Map.entry("Separator", "Z"),
            Map.entry("Space_Separator", "Zs"),
            Map.entry("Punctuation", "P"),
            Map.entry("punct", "P"),
            Map.entry("Symbol", "S"),
            Map.entry("Control", "Cc"),
            Map.entry("cntrl", "Cc"));

    /** Known categories by name: each takes milliseconds to find. */
    private static final Map<String, int[]> RANGES = new ConcurrentHashMap<>();

    private GeneralCategories() {}

    /** The characters of a category such as {@code L}, {@code Lu} or {@code Letter}; null if it is unknown. */
    static int @Nullable [] ranges(String name) {
        int[] known = RANGES.get(name);
        int[] ranges = known == null ? find(name) : known;
        if (known == null && ranges != null) {
            RANGES.put(name, ranges);
        }
        return ranges;
    }

    private static int @Nullable [] find(String name) {
        String wanted = LONG_NAMES.getOrDefault(name, name);
        boolean[] member = new boolean[Byte.MAX_VALUE];
        boolean any = false;
        for (int i = 0; i < TYPES.length && !wanted.isEmpty(); i++) {
            if (NAMES.get(i).equals(wanted)
                    || (wanted.length() == 1 && NAMES.get(i).startsWith(wanted))) {
                member[TYPES[i]] = true;
                any = true;
            }
        }
        if (!any) {
            return null;
        }
        List<int[]> ranges = new ArrayList<>();
        int first = -1;
        for (int c = 0; c <= Characters.MAX + 1; c++) {
            boolean in = c <= Characters.MAX && member[Character.getType(c)];
            if (in && first < 0) {
                first = c;
            } else if (!in && first >= 0) {
                ranges.add(new int[] {first, c - 1});
                first = -1;
            }
        }
        return Characters.union(ranges);
    }
}
