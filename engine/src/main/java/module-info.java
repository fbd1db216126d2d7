/** Schedules requests on one model, chooses tokens and speculates. Contains no JSON and no networking. */
module quire.engine {
    requires static org.jspecify;
    requires jdk.jfr; // events for the flight recorder
    requires jdk.management; // physical memory, and the options of this JVM
    requires java.management;
    requires transitive quire.model;

    exports quire.engine;
    exports quire.engine.chat;
    exports quire.engine.constrain;
}
