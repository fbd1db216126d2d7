package quire.cli.option;

import picocli.CommandLine.Option;
import quire.tensor.KvLayout.KvType;

/** How keys and values are stored. */
public final class KvTypeOption {
    @Option(
            names = "--kv-type",
            paramLabel = "TYPE",
            defaultValue = "f16",
            description =
                    "How keys and values are stored: f16, f32, or q8_0 for half the memory of f16 (default ${DEFAULT-VALUE}).")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private KvType type;

    /** The chosen type. */
    public KvType type() {
        return type;
    }
}
