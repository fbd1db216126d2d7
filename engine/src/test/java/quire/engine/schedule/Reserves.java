package quire.engine.schedule;

/** Chooses the reserve of pages, for tests in other packages. */
public final class Reserves {
    private Reserves() {}

    /** One page for each running sequence that may grow, whatever the expected lengths. */
    public static EngineLoop.Builder onePageEach(EngineLoop.Builder loop) {
        return loop.reserve(new PageReserve(0, 0));
    }
}
