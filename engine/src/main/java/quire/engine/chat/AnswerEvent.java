package quire.engine.chat;

/** A piece of an answer, in the order in which the model writes it. */
public sealed interface AnswerEvent {
    /** More of the reasoning, which comes before everything else; not empty. */
    record Reasoning(String text) implements AnswerEvent {}

    /** More of the text; not empty. */
    record Content(String text) implements AnswerEvent {}

    /**
     * A call begins.
     *
     * @param index from 0, in the order of the calls
     * @param name of the tool
     */
    record Call(int index, String name) implements AnswerEvent {}

    /**
     * More of a call's arguments.
     *
     * @param index of the call, which is the last that began
     * @param json a piece of JSON; not empty. All pieces together are an object, unless the answer was cut off
     */
    record Arguments(int index, String json) implements AnswerEvent {}
}
