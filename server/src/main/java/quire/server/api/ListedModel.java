package quire.server.api;

import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.model.ModelFacts;
import quire.model.SamplingDefaults;

/**
 * A model as lists show it, loaded or not.
 *
 * @param name its own name
 * @param names all its names, its own first
 * @param facts what its file says of it; null if it was not loaded from one
 * @param maxContext positions of a prompt and its answer, at most
 * @param samplingDefaults how tokens are chosen where a request does not say it
 * @param state what it is doing, in a word: absent, loading, ready, draining or failed
 * @param loaded whether it is in memory
 * @param bytes memory that it takes; 0 if it is not loaded, or was loaded by the program that started the server
 * @param failure why it cannot be used; empty if it can
 * @param idleLeft until it is unloaded if nobody uses it; null if it stays or is not loaded
 * @param abilities what it can do, in Ollama's words: completion, embedding, tools, thinking. May read its file
 */
public record ListedModel(
        String name,
        List<String> names,
        @Nullable ModelFacts facts,
        int maxContext,
        SamplingDefaults samplingDefaults,
        String state,
        boolean loaded,
        long bytes,
        String failure,
        @Nullable Duration idleLeft,
        Supplier<Set<String>> abilities) {}
