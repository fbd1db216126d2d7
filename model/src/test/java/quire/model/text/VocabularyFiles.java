package quire.model.text;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Reads the metadata of small valid GGUF files. A reader for tests, which does not check the file. */
final class VocabularyFiles {
    static final Path SHARED = Path.of(System.getProperty("quire.shared", "../../shared"));

    private VocabularyFiles() {}

    static Vocabulary read(Path file) {
        try {
            ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
            in.position(16);
            long count = in.getLong();
            Map<String, Object> metadata = new HashMap<>();
            for (long i = 0; i < count; i++) {
                String key = string(in);
                metadata.put(key, value(in, in.getInt()));
            }
            return Vocabulary.read(String.valueOf(file.getFileName()), metadata::get);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String string(ByteBuffer in) {
        byte[] utf8 = new byte[(int) in.getLong()];
        in.get(utf8);
        return new String(utf8, StandardCharsets.UTF_8);
    }

    private static Object value(ByteBuffer in, int type) {
        return switch (type) {
            case 0, 1 -> in.get();
            case 2, 3 -> in.getShort();
            case 4, 5 -> in.getInt();
            case 6 -> in.getFloat();
            case 7 -> in.get() != 0;
            case 8 -> string(in);
            case 9 -> {
                int element = in.getInt();
                long size = in.getLong();
                List<Object> values = new ArrayList<>();
                for (long i = 0; i < size; i++) {
                    values.add(value(in, element));
                }
                yield values;
            }
            case 10, 11 -> in.getLong();
            case 12 -> in.getDouble();
            default -> throw new IllegalArgumentException("type " + type);
        };
    }
}
