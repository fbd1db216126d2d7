#!/bin/bash
# DJL's Hugging Face tokenizer returns at most 512 tokens, although the tokenizer file has no truncation.
#
# The file says "truncation": null. A tokenizer opened with defaults still cuts the text after 512 tokens and pads
# batches. Nothing is logged, and the list of overflowing parts is empty. The option maxLength does not help: 100000
# is lowered to 512 without a word. Only truncation=false gives all tokens. Who counts the tokens of prompts with it
# sees no prompt above 512.
. "$(dirname "$0")/common.sh"

maven ai.djl.huggingface:tokenizers:0.38.0
seen=$(java_program Cut -DDJL_CACHE_DIR="$work/cache" -Dai.djl.offline=true <<'JAVA'
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import java.nio.file.*;
import java.util.Map;

public class Cut {
    public static void main(String[] args) throws Exception {
        Path file = Path.of(System.getProperty("DJL_CACHE_DIR")).resolveSibling("tokenizer.json");
        Files.writeString(file, """
                {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
                 "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
                 "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"}}""");
        String text = "a b ".repeat(1000);
        try (var defaults = HuggingFaceTokenizer.newInstance(file)) {
            var encoding = defaults.encode(text);
            System.out.println("defaults: " + encoding.getIds().length + " of 2000 tokens, overflowing parts "
                    + encoding.getOverflowing().length);
        }
        for (var options : new Map[] {Map.of("maxLength", "100000"), Map.of("truncation", "false")}) {
            try (var tokenizer = HuggingFaceTokenizer.newInstance(file, options)) {
                System.out.println(options + ": " + tokenizer.encode(text).getIds().length + " of 2000 tokens");
            }
        }
    }
}
JAVA
)
echo "ai.djl.huggingface:tokenizers 0.38.0"
same "defaults: 512 of 2000 tokens, overflowing parts 0
{maxLength=100000}: 512 of 2000 tokens
{truncation=false}: 2000 of 2000 tokens" "$seen"
