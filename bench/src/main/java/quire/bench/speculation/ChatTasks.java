package quire.bench.speculation;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The chats that {@code quire bench speculation} measures, in wordings of quire-tiny's training data. The answer to the
 * last message is measured. In chats of several messages the prompt contains earlier answers, and prompt lookup finds
 * repetitions there.
 */
final class ChatTasks {
    private ChatTasks() {}

    /** The chats of each task by its name; a chat is the list of the user's messages. */
    static Map<String, List<List<String>>> all() {
        Map<String, List<List<String>>> tasks = new LinkedHashMap<>();
        tasks.put(
                "story",
                List.of(
                        List.of("Please write a story about a painter who wants to play the flute for my son."),
                        List.of("Do you know a story about a squirrel called Mia who learns to dance?")));
        tasks.put(
                "translation",
                List.of(
                        List.of("My friend only understands Spanish. Translate for me: Die Blume ist groß."),
                        List.of("Which German sentence means \"My sister has a ticket.\"?")));
        tasks.put(
                "translation, 4th of a chat",
                List.of(List.of(
                        "Translate from English to German: Where is the station?",
                        "Translate from English to German: Where is the hotel?",
                        "Translate from English to German: My sister has a ticket.",
                        "Translate from English to German: My brother has a ticket.")));
        tasks.put(
                "extraction",
                List.of(
                        List.of(
                                "I want customer, item, quantity, price, city, day as JSON. The message: 42 shirts go to"
                                        + " Karin Novak, who paid 461 euros in Zurich on Monday."),
                        List.of(
                                "Extract price, customer and item from this text as JSON.\nHenri Lopez in Porto bought 70"
                                        + " jackets last Tuesday. The price was 656 euros.")));
        String fields = "Extract customer, item, quantity, price, city, day as JSON: ";
        tasks.put(
                "extraction, 4th of a chat",
                List.of(List.of(
                        fields + "42 shirts go to Karin Novak, who paid 461 euros in Zurich on Monday.",
                        fields + "70 jackets go to Henri Lopez, who paid 656 euros in Porto on Tuesday.",
                        fields + "18 lamps go to Ada Novak, who paid 90 euros in Zurich on Friday.",
                        fields + "42 jackets go to Karin Lopez, who paid 461 euros in Porto on Monday.")));
        return tasks;
    }
}
