package quire.cli.option;

import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/** Ranges of numeric options, checked before anything is loaded. */
public final class Range {
    private Range() {}

    /**
     * Checks that a number lies in a range.
     *
     * @param command the command that has the option
     * @param option the option's name, with its dashes
     * @throws ParameterException naming the option, the value and the range
     */
    public static void check(CommandSpec command, String option, long value, long min, long max) {
        if (value < min || value > max) {
            String range = max == Long.MAX_VALUE || max == Integer.MAX_VALUE
                    ? "a number from " + min
                    : "a number from " + min + " to " + max;
            throw new ParameterException(command.commandLine(), option + " takes " + range + ", not " + value);
        }
    }
}
