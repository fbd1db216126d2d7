package quire.engine.schedule;

import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.Executor;

/** Reads and writes when the test says so, in order. */
final class DelayedIo implements Executor {
    private final Queue<Runnable> tasks = new ArrayDeque<>();

    @Override
    public void execute(Runnable task) {
        tasks.add(task);
    }

    /** Runs the first tasks, as many as there are and at most {@code count}. */
    void run(int count) {
        for (int i = 0; i < count && !tasks.isEmpty(); i++) {
            tasks.remove().run();
        }
    }

    int size() {
        return tasks.size();
    }
}
