package quire.cli.option;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** Reads texts in UTF-8, whatever the locale says. */
public final class Utf8Text {
    private Utf8Text() {}

    /**
     * The text of a file.
     *
     * @throws IllegalArgumentException if it is not UTF-8
     */
    public static String of(Path file) throws IOException {
        return decode(Files.readAllBytes(file), file.toString());
    }

    /**
     * The text on standard input.
     *
     * @throws IllegalArgumentException if it is not UTF-8
     */
    public static String ofStandardInput() throws IOException {
        return decode(System.in.readAllBytes(), "standard input");
    }

    private static String decode(byte[] bytes, String name) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new IllegalArgumentException(name + " is not UTF-8; convert it", e);
        }
    }
}
