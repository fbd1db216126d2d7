package quire.cli.command;

import java.io.IOException;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.cli.option.ModelOption;
import quire.cli.option.Utf8Text;
import quire.model.format.Gguf;
import quire.model.text.Tokenizers;

/** Prints the token ids of a text. */
@Command(
        name = "tokenize",
        mixinStandardHelpOptions = true,
        description =
                "Read a text from standard input and print its token ids. A file that contains only a vocabulary is"
                        + " enough.")
public final class TokenizeCommand implements Callable<Integer> {
    @Mixin
    private ModelOption model;

    @Option(
            names = "--no-special",
            description = "Leave out the tokens that the model expects around a text, such as BOS.")
    private boolean noSpecial;

    @Override
    public Integer call() throws IOException {
        String text = Utf8Text.ofStandardInput();
        try (Gguf file = Gguf.open(model.path())) {
            int[] tokens = Tokenizers.of(file).encode(text, !noSpecial, false);
            System.out.println(Arrays.stream(tokens).mapToObj(Integer::toString).collect(Collectors.joining(" ")));
        }
        return 0;
    }
}
