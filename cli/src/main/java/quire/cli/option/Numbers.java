package quire.cli.option;

import java.math.BigInteger;
import picocli.CommandLine;
import picocli.CommandLine.TypeConversionException;

/** Reads the numbers of all options, with errors that need no Java. */
public final class Numbers {
    private Numbers() {}

    /** Lets a command and its subcommands read their numbers so. */
    public static void register(CommandLine command) {
        command.registerConverter(int.class, Numbers::integer);
        command.registerConverter(Integer.class, Numbers::integer);
        command.registerConverter(long.class, text -> whole(text, Long.MIN_VALUE, Long.MAX_VALUE));
        command.registerConverter(Long.class, text -> whole(text, Long.MIN_VALUE, Long.MAX_VALUE));
        command.registerConverter(double.class, Numbers::number);
        command.registerConverter(Double.class, Numbers::number);
    }

    private static int integer(String text) {
        return (int) whole(text, Integer.MIN_VALUE, Integer.MAX_VALUE);
    }

    private static long whole(String text, long min, long max) {
        BigInteger value;
        try {
            value = new BigInteger(text.strip());
        } catch (NumberFormatException e) {
            throw new TypeConversionException("'" + text + "' is not a whole number");
        }
        if (value.compareTo(BigInteger.valueOf(min)) < 0 || value.compareTo(BigInteger.valueOf(max)) > 0) {
            throw new TypeConversionException("'" + text + "' is out of range: write " + min + " to " + max);
        }
        return value.longValue();
    }

    private static double number(String text) {
        try {
            return Double.parseDouble(text.strip());
        } catch (NumberFormatException e) {
            throw new TypeConversionException("'" + text + "' is not a number");
        }
    }
}
