package quire.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.UnmatchedArgumentException;
import quire.cli.command.BatchCommand;
import quire.cli.command.ChatCommand;
import quire.cli.command.CheckCommand;
import quire.cli.command.GenerateCommand;
import quire.cli.command.InspectCommand;
import quire.cli.command.KernelsCommand;
import quire.cli.command.PerplexityCommand;
import quire.cli.command.PlanCommand;
import quire.cli.command.ServeCommand;
import quire.cli.command.TokenizeCommand;
import quire.cli.option.Numbers;
import quire.cli.option.OptionNames;
import quire.tensor.machine.KernelSets;

/** The command {@code quire}: its own subcommands and those of other modules ({@link CommandPlugin}). */
@Command(
        name = "quire",
        description = "LLM serving for the JVM.",
        synopsisSubcommandLabel = "COMMAND",
        mixinStandardHelpOptions = true,
        versionProvider = Quire.Version.class,
        footer = {
            "",
            "Examples:",
            "  quire serve --model llama.gguf   OpenAI-compatible server on port 8000",
            "  quire chat --model llama.gguf    talk to the model at the terminal",
            "  quire plan --model llama.gguf    how much memory it needs, line by line",
            "Options of a command: quire help COMMAND",
            "",
            "Environment of the launcher:",
            "  QUIRE_JAVA_HOME     the JDK, 25 or newer (default: the first that is found)",
            "  QUIRE_JAVA_OPTIONS  options for Java, which override Quire's own. -Xmx4g is a",
            "                      heap of 4 GiB (default: a quarter of the memory, at most",
            "                      2 GiB)"
        })
public final class Quire implements Callable<Integer> {
    @Option(
            names = "--debug",
            scope = ScopeType.INHERIT,
            description = "Show the stack trace of an error, not only one line.")
    private boolean debug;

    private static final List<Class<?>> COMMANDS = List.of(
            ServeCommand.class,
            BatchCommand.class,
            ChatCommand.class,
            GenerateCommand.class,
            InspectCommand.class,
            PlanCommand.class,
            TokenizeCommand.class,
            KernelsCommand.class,
            CheckCommand.class,
            PerplexityCommand.class);

    /** Commands that compute with a model. */
    private static final Set<String> COMPUTING =
            Set.of("serve", "batch", "chat", "generate", "check", "perplexity", "kernels");

    /** Java replaces bytes that it cannot decode by this character. */
    private static final String REPLACEMENT = "\uFFFD";

    private Quire() {}

    /** Runs a command and exits with its code. */
    public static void main(String[] args) {
        Charset locale = Charset.forName(System.getProperty("sun.jnu.encoding"), Charset.defaultCharset());
        for (String arg : args) {
            if (arg.contains(REPLACEMENT) && !locale.equals(StandardCharsets.UTF_8)) {
                System.err.println(
                        "quire: Java could not read the argument '" + arg + "', since the locale's character set is "
                                + locale + ": set LC_ALL=C.UTF-8 in the environment");
                System.exit(CommandLine.ExitCode.USAGE);
            }
        }
        if (args.length > 0 && COMPUTING.contains(args[0])) {
            Thread.ofPlatform().name("prepare").daemon().start(Quire::prepare);
        }
        System.exit(run(args));
    }

    /**
     * What a command needs after its options were read. A second processor does it meanwhile. Nothing here may log, because the
     * first line configures the log, and the command has not said yet what it logs.
     */
    private static void prepare() {
        KernelSets.prepare();
    }

    /**
     * Runs a command.
     *
     * @return 0, or 2 for a wrong command line, or 1 for any other failure; one line on standard error explains it
     */
    public static int run(String... args) {
        Quire quire = new Quire();
        CommandLine commandLine = new CommandLine(quire);
        addSubcommands(commandLine, args);
        commandLine.setCaseInsensitiveEnumValuesAllowed(true);
        Numbers.register(commandLine);
        commandLine.setParameterExceptionHandler((e, rejected) -> {
            if (quire.debug) {
                e.printStackTrace(e.getCommandLine().getErr());
                return CommandLine.ExitCode.USAGE;
            }
            e.getCommandLine().getErr().println("quire: " + oneLine(e) + hint(e));
            e.getCommandLine()
                    .getErr()
                    .println("Try: " + e.getCommandLine().getCommandSpec().qualifiedName() + " --help");
            return CommandLine.ExitCode.USAGE;
        });
        commandLine.setExecutionExceptionHandler((e, failed, parsed) -> {
            if (quire.debug) {
                e.printStackTrace(failed.getErr());
            } else {
                failed.getErr().println("quire: " + oneLine(e));
            }
            return CommandLine.ExitCode.SOFTWARE;
        });
        return commandLine.execute(args);
    }

    /** What the user may have meant: a similar name, or the option for a file. */
    private static String hint(ParameterException e) {
        if (!(e instanceof UnmatchedArgumentException unmatched)) {
            return "";
        }
        String argument = unmatched.getUnmatched().getFirst();
        boolean takesModel = e.getCommandLine().getCommandSpec().findOption("--model") != null;
        if (!unmatched.isUnknownOption() && takesModel) {
            return ": a model file is named with --model " + argument;
        }
        List<String> similar = unmatched.getSuggestions();
        return similar.isEmpty() ? "" : ": did you mean " + String.join(" or ", similar) + "?";
    }

    /**
     * Adds the subcommand that the first argument names, or all if it names none of this module. picocli reads the
     * annotations of everything that is added, which takes a third of the time until a server listens.
     */
    private static void addSubcommands(CommandLine commandLine, String[] args) {
        for (Class<?> command : COMMANDS) {
            if (args.length > 0
                    && args[0].equals(command.getAnnotation(Command.class).name())) {
                commandLine.addSubcommand(command);
                return;
            }
        }
        COMMANDS.forEach(commandLine::addSubcommand);
        ServiceLoader.load(CommandPlugin.class).forEach(commandLine::addSubcommand);
        commandLine.addSubcommand(new HelpCommand());
    }

    @Override
    public Integer call() {
        CommandLine.usage(this, System.out);
        return CommandLine.ExitCode.USAGE;
    }

    private static String oneLine(Throwable e) {
        String message = e.getMessage();
        return OptionNames.in(message == null || message.isBlank() ? e.toString() : message)
                .strip()
                .replaceAll("\\s*\\R\\s*", " ");
    }

    /** The version, from a file that the build writes. */
    static final class Version implements IVersionProvider {
        @Override
        public String[] getVersion() throws IOException {
            try (InputStream in = Quire.class.getResourceAsStream("version.txt")) {
                String version = in == null ? "unknown" : new String(in.readAllBytes(), StandardCharsets.UTF_8);
                return new String[] {"quire " + version.strip() + ", Java " + Runtime.version()};
            }
        }
    }
}
