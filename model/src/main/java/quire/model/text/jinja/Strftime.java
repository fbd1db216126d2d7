package quire.model.text.jinja;

import java.time.LocalDateTime;
import java.time.format.TextStyle;
import java.time.temporal.ChronoField;
import java.time.temporal.IsoFields;
import java.util.Locale;

/** datetime.strftime of Python in the C locale, for a time without a time zone. */
final class Strftime {
    private static final int MAX_FORMAT_CHARS = 1000;

    private Strftime() {}

    static String format(LocalDateTime time, String format) {
        if (format.length() > MAX_FORMAT_CHARS) {
            throw new JinjaError("strftime_now: a format of more than " + MAX_FORMAT_CHARS + " characters");
        }
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%') {
                out.append(c);
                continue;
            }
            boolean unpadded = format.startsWith("-", i + 1);
            i += unpadded ? 2 : 1;
            if (i >= format.length()) {
                throw new JinjaError("strftime_now: the format ends with '%'");
            }
            String field = field(time, format.charAt(i));
            out.append(unpadded ? field.replaceFirst("^[0 ]+(?=.)", "") : field);
        }
        return out.toString();
    }

    private static String field(LocalDateTime t, char directive) {
        return switch (directive) {
            case 'Y' -> String.valueOf(t.getYear());
            case 'y' -> padded(t.getYear() % 100, 2, '0');
            case 'C' -> padded(t.getYear() / 100, 2, '0');
            case 'm' -> padded(t.getMonthValue(), 2, '0');
            case 'd' -> padded(t.getDayOfMonth(), 2, '0');
            case 'e' -> padded(t.getDayOfMonth(), 2, ' ');
            case 'j' -> padded(t.getDayOfYear(), 3, '0');
            case 'H' -> padded(t.getHour(), 2, '0');
            case 'I' -> padded(t.get(ChronoField.CLOCK_HOUR_OF_AMPM), 2, '0');
            case 'M' -> padded(t.getMinute(), 2, '0');
            case 'S' -> padded(t.getSecond(), 2, '0');
            case 'f' -> padded(t.get(ChronoField.MICRO_OF_SECOND), 6, '0');
            case 'p' -> t.getHour() < 12 ? "AM" : "PM";
            case 'B' -> t.getMonth().getDisplayName(TextStyle.FULL, Locale.ENGLISH);
            case 'b', 'h' ->
                t.getMonth().getDisplayName(TextStyle.SHORT, Locale.ENGLISH).substring(0, 3);
            case 'A' -> t.getDayOfWeek().getDisplayName(TextStyle.FULL, Locale.ENGLISH);
            case 'a' -> t.getDayOfWeek().getDisplayName(TextStyle.SHORT, Locale.ENGLISH);
            case 'u' -> String.valueOf(t.getDayOfWeek().getValue());
            case 'w' -> String.valueOf(t.getDayOfWeek().getValue() % 7);
            case 'U' -> padded((t.getDayOfYear() + 6 - t.getDayOfWeek().getValue() % 7) / 7, 2, '0');
            case 'W' -> padded((t.getDayOfYear() + 7 - t.getDayOfWeek().getValue()) / 7, 2, '0');
            case 'V' -> padded(t.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR), 2, '0');
            case 'G' -> String.valueOf(t.get(IsoFields.WEEK_BASED_YEAR));
            case 'Z', 'z' -> "";
            case 'D', 'x' -> format(t, "%m/%d/%y");
            case 'F' -> format(t, "%Y-%m-%d");
            case 'T', 'X' -> format(t, "%H:%M:%S");
            case 'R' -> format(t, "%H:%M");
            case 'r' -> format(t, "%I:%M:%S %p");
            case 'c' -> format(t, "%a %b %e %H:%M:%S %Y");
            case 'n' -> "\n";
            case 't' -> "\t";
            case '%' -> "%";
            default -> throw new JinjaError("strftime_now: '%" + directive + "' is not supported");
        };
    }

    private static String padded(int value, int width, char pad) {
        String digits = String.valueOf(value);
        return String.valueOf(pad).repeat(Math.max(0, width - digits.length())) + digits;
    }
}
