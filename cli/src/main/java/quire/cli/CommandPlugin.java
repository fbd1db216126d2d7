package quire.cli;

import java.util.concurrent.Callable;

/**
 * A command that another module adds to {@code quire}; {@code quire bench} is one. So the command line needs no
 * dependency on that module.
 *
 * <p>An implementation is a public class with a public constructor without parameters and picocli's {@code @Command},
 * which gives the name of the command and its options. {@link #call} runs it and returns the exit code. {@link Quire}
 * finds implementations with {@link java.util.ServiceLoader}: name them in {@code module-info.java} for the module
 * path, and in {@code META-INF/services/quire.cli.CommandPlugin} for the class path, which the launcher uses.
 */
public interface CommandPlugin extends Callable<Integer> {}
