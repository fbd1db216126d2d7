package quire.cli.option;

import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.model.RopeScaling;

/** The options that replace the rotation of a model's file, named as in llama.cpp. */
public final class RopeOptions {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--rope-scaling",
            paramLabel = "none|linear|yarn",
            description =
                    "How positions beyond those that the model was trained for are computed (default: as the file says, and"
                            + " linear if it says nothing and there is --rope-scale).")
    private @Nullable String type;

    @Option(
            names = "--rope-scale",
            paramLabel = "N",
            description = "How many times longer the model's context becomes, 1 to 1000 (default: as the file says).")
    private @Nullable Double scale;

    @Option(
            names = "--rope-freq-base",
            paramLabel = "N",
            description = "Base of the rotation's frequencies, 1 to 1e12 (default: as the file says).")
    private @Nullable Double base;

    @Option(
            names = "--yarn-orig-ctx",
            paramLabel = "N",
            description =
                    "Positions that the model was trained for before any scaling (default: as the file says, or its"
                            + " context).")
    private @Nullable Integer originalContext;

    /**
     * What the options ask for.
     *
     * @throws ParameterException if an option is out of range, or has no effect beside another one; the message names it
     */
    RopeScaling scaling() {
        String name = type == null ? "" : type.toLowerCase(Locale.ROOT);
        if (type != null && !RopeScaling.TYPES.contains(name)) {
            throw fault("--rope-scaling takes " + String.join(", ", RopeScaling.TYPES) + ", not " + type);
        }
        // The conditions are written so that NaN fails too.
        if (scale != null && !(scale >= 1 && scale <= RopeScaling.MAX_SCALE)) {
            throw fault("--rope-scale takes 1 to " + RopeScaling.MAX_SCALE + ", not " + scale);
        }
        if (base != null && !(base >= 1 && base <= RopeScaling.MAX_BASE)) {
            throw fault("--rope-freq-base takes 1 to 1e12, not " + base);
        }
        if (originalContext != null) {
            Range.check(command, "--yarn-orig-ctx", originalContext, 1, Integer.MAX_VALUE);
        }
        if (name.equals("none") && (scale != null || originalContext != null)) {
            throw fault((scale != null ? "--rope-scale" : "--yarn-orig-ctx")
                    + " has no effect with --rope-scaling none: leave one of them out");
        }
        return new RopeScaling(
                name,
                scale == null ? 0 : scale.floatValue(),
                base == null ? 0 : base.floatValue(),
                originalContext == null ? 0 : originalContext);
    }

    private ParameterException fault(String message) {
        return new ParameterException(command.commandLine(), message);
    }
}
