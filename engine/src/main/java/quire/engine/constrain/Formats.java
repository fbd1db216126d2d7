package quire.engine.constrain;

import java.util.Map;

/** The values of {@code format} that are enforced. Other values have no effect, as drafts 2019-09 and 2020-12 say. */
final class Formats {
    private static final String DATE = "(\\d{4}-(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])"
            + "|\\d{4}-(0[469]|11)-(0[1-9]|[12]\\d|30)"
            + "|\\d{4}-02-(0[1-9]|1\\d|2[0-8])"
            + "|(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)";

    private static final String TIME = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d+)?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)";

    private static final String BYTE = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

    private static final String GROUP = "[0-9A-Fa-f]{1,4}";

    /** 1 to 63 characters, without hyphens at the ends, and not two of them at the third and fourth place. */
    private static final String LABEL =
            "A(A|MA|MMA|M(AM|-A)M{0,58}A)?".replace("A", "[A-Za-z0-9]").replace("M", "[A-Za-z0-9-]");

    private static final String HOURS = "(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S)";

    private static final String WORD = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";

    /** By name; it matches the whole text. */
    static final Map<String, String> REGULAR_EXPRESSIONS = Map.of(
            "date",
            DATE,
            "time",
            TIME,
            "date-time",
            DATE + "T" + TIME,
            "duration",
            "P((\\d+D|\\d+M(\\d+D)?|\\d+Y(\\d+M(\\d+D)?)?)(T" + HOURS + ")?|T" + HOURS + "|\\d+W)",
            "uuid",
            "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
            "ipv4",
            "(" + BYTE + "\\.){3}" + BYTE,
            "ipv6",
            ipv6(),
            "hostname",
            LABEL + "(\\." + LABEL + ")*",
            "email",
            WORD + "(\\." + WORD + ")*@" + LABEL + "(\\." + LABEL + ")*");

    /** The most characters of a host name. */
    static final int MAX_HOSTNAME = 253;

    private Formats() {}

    /** Eight groups, or fewer with one gap; without an IPv4 address at the end. */
    private static String ipv6() {
        StringBuilder out = new StringBuilder("(" + GROUP + ":){7}" + GROUP);
        for (int before = 0; before <= 7; before++) {
            String left = before == 0 ? ":" : "(" + GROUP + ":){" + before + "}";
            String right = before == 7 ? ":" : "(:|(:" + GROUP + "){1," + (7 - before) + "})";
            out.append('|').append(left).append(right);
        }
        return out.toString();
    }
}
