package quire.bench.files;

import java.util.ArrayList;
import java.util.List;

/** What a child process has done so far, by the lines that it prints; {@link FileWorker} describes them. */
final class FileProgress {
    private final List<String> faults = new ArrayList<>();
    private final StringBuilder printed = new StringBuilder();
    private final long first;
    private String kernels = "";
    private long current;
    private boolean open;
    private long refused;
    private long ran;

    /** @param first the first seed of the process */
    FileProgress(long first) {
        this.first = first;
        current = first - 1;
    }

    void accept(String line) {
        String[] words = line.split(" ", 3);
        switch (words[0]) {
            case "kernels" -> kernels = words[1];
            case "begin" -> {
                current = Long.parseLong(words[1]);
                open = true;
            }
            case "refused" -> {
                refused++;
                open = false;
            }
            case "ran" -> {
                ran++;
                open = false;
            }
            case "fault" -> {
                faults.add("seed " + words[1] + ": " + words[2]);
                open = false;
            }
            default -> printed.append(line).append(' '); // a crash, or a JVM that does not start
        }
    }

    /** The process has ended inside of a file. */
    void crashed(String how) {
        faults.add("seed " + current + ": " + how);
        open = false;
    }

    /** Whether a first file was begun. */
    boolean begun() {
        return current >= first;
    }

    /** Whether a file was begun and not ended. */
    boolean open() {
        return open;
    }

    /** The seed behind the last file that was begun. */
    long next() {
        return current + 1;
    }

    /** The names of the kernel sets. */
    String kernels() {
        return kernels;
    }

    /** Files that were refused. */
    long refused() {
        return refused;
    }

    /** Files that were accepted and have computed. */
    long ran() {
        return ran;
    }

    /** A line for each fault, with its seed. */
    List<String> faults() {
        return faults;
    }

    /** Lines of other kinds. */
    String printed() {
        return printed.toString();
    }
}
