package quire.cli.option;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads sizes such as {@code 4GiB}, {@code 512M} or {@code 1000000} bytes; units are powers of 1024. */
public final class ByteSize implements ITypeConverter<Long> {
    private static final Pattern SIZE = Pattern.compile("(\\d{1,15})\\s*([KMGT]?)(?:I?B)?");
    private static final String UNITS = "KMGT";

    @Override
    public Long convert(String text) {
        Matcher matcher = SIZE.matcher(text.strip().toUpperCase(Locale.ROOT));
        if (!matcher.matches()) {
            throw new TypeConversionException("'" + text + "' is not a size; write for example 4GiB or 512MiB");
        }
        int shift = matcher.group(2).isEmpty() ? 0 : 10 * (1 + UNITS.indexOf(matcher.group(2)));
        try {
            return Math.multiplyExact(Long.parseLong(matcher.group(1)), 1L << shift);
        } catch (ArithmeticException e) {
            throw new TypeConversionException("'" + text + "' is too large a size");
        }
    }
}
