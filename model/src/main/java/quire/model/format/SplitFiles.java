package quire.model.format;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Models in several files, {@code NAME-00001-of-00003.gguf} and so on. Each part is a GGUF file with tensors of its own. The
 * metadata of the model are in the first part, which may hold no tensors; every part has these keys:
 *
 * <pre>
 *   split.no              0 for the first part
 *   split.count           number of parts; 0 or 1: the file is the whole model
 *   split.tensors.count   number of tensors in all parts
 * </pre>
 *
 * The other parts are found by the name of the file that was given and by the position that its keys say, always in the same
 * folder. Nothing else in a file can name another file.
 */
final class SplitFiles {
    /** Far above the number of parts of any real model. */
    static final int MAX_PARTS = 1024;

    private static final String PREFIX = "split.";
    private static final String NUMBER = PREFIX + "no";
    private static final String COUNT = PREFIX + "count";
    private static final String TENSORS = PREFIX + "tensors.count";
    private static final String ALIGNMENT = "general.alignment";
    private static final String REMEDY = "; download all parts of one model again";
    private static final int SHOWN_NAMES = 5;

    private static final Pattern NAME = Pattern.compile("(.*)-([0-9]{5})-of-([0-9]{5})\\.gguf", Pattern.DOTALL);

    private SplitFiles() {}

    /**
     * All parts of a model in order; only {@code file} itself if it is a whole model.
     *
     * @param path where {@code file} is
     * @param open opens another part; if this method fails, the parts that it has opened are closed
     * @throws ModelFormatException if a part is missing, or the parts do not belong together
     */
    static List<Gguf> parts(Path path, Gguf file, Function<Path, Gguf> open) {
        int count = file.int32(COUNT, 1);
        if (count == 0 || count == 1) {
            return List.of(file);
        }
        if (count < 0 || count > MAX_PARTS) {
            throw file.fault("key " + COUNT + ": " + count + " parts, not 1 to " + MAX_PARTS
                    + "; the file is damaged, download it again");
        }
        int index = file.int32(NUMBER);
        if (index < 0 || index >= count) {
            throw file.fault("key " + NUMBER + ": " + index + ", where " + count + " parts go from 0 to " + (count - 1)
                    + "; the file is damaged, download it again");
        }
        List<Path> paths = paths(path, file, index, count);
        List<Gguf> parts = new ArrayList<>();
        try {
            for (int i = 0; i < count; i++) {
                Gguf part = i == index ? file : open.apply(paths.get(i));
                parts.add(part);
                checkPart(parts.getFirst(), part, i, count);
            }
            checkTensorCount(parts);
            return parts;
        } catch (RuntimeException | Error e) {
            parts.stream().filter(part -> part != file).forEach(Gguf::close);
            throw e;
        }
    }

    private static List<Path> paths(Path path, Gguf file, int index, int count) {
        Matcher name = NAME.matcher(String.valueOf(path.getFileName()));
        if (!name.matches()
                || !name.group(2).equals(digits(index + 1))
                || !name.group(3).equals(digits(count))) {
            throw file.fault("is part " + (index + 1) + " of " + count + " of a model, but its name does not end with "
                    + suffix(index, count) + ", so the other parts cannot be found; rename it");
        }
        List<Path> paths = IntStream.range(0, count)
                .mapToObj(i -> path.resolveSibling(name.group(1) + suffix(i, count)))
                .toList();
        List<String> missing = paths.stream()
                .filter(part -> !Files.exists(part))
                .map(part -> String.valueOf(part.getFileName()))
                .toList();
        if (!missing.isEmpty()) {
            throw file.fault("is part " + (index + 1) + " of " + count + ", and the same folder lacks "
                    + missing.stream().limit(SHOWN_NAMES).collect(Collectors.joining(", "))
                    + (missing.size() > SHOWN_NAMES ? " and " + (missing.size() - SHOWN_NAMES) + " more" : "")
                    + "; download all parts");
        }
        return paths;
    }

    private static String suffix(int index, int count) {
        return "-" + digits(index + 1) + "-of-" + digits(count) + ".gguf";
    }

    private static String digits(int number) {
        return String.format(Locale.ROOT, "%05d", number);
    }

    private static void checkPart(Gguf first, Gguf part, int index, int count) {
        if (part.int32(COUNT, 1) != count) {
            throw part.fault("key " + COUNT + ": " + part.int32(COUNT, 1) + " parts, where " + first.file()
                    + " and the name say " + count + REMEDY);
        }
        if (part.int32(NUMBER) != index) {
            throw part.fault("key " + NUMBER + ": the file says that it is part " + (part.int32(NUMBER) + 1L)
                    + ", its name says part " + (index + 1) + REMEDY);
        }
        for (String key : part.keys()) {
            boolean ownOfPart = key.startsWith(PREFIX) || key.equals(ALIGNMENT);
            if (!ownOfPart && !part.hasSameValue(key, first)) {
                throw part.fault("key " + key + ": differs from the first part, " + first.file() + REMEDY);
            }
        }
    }

    private static void checkTensorCount(List<Gguf> parts) {
        long found = parts.stream().mapToLong(part -> part.tensors().size()).sum();
        for (Gguf part : parts) {
            if (part.int32(TENSORS) != found) {
                throw part.fault("key " + TENSORS + ": " + part.int32(TENSORS) + " tensors in all parts, but they hold "
                        + found + REMEDY);
            }
        }
    }
}
