package quire.server.http;

import java.util.concurrent.ThreadLocalRandom;

/** Ids of requests and answers. */
public final class RandomId {
    private static final int LENGTH = 24;

    private RandomId() {}

    /** 24 random digits and lower-case letters. */
    public static String next() {
        ThreadLocalRandom random = ThreadLocalRandom.current();
        StringBuilder id = new StringBuilder(LENGTH);
        for (int i = 0; i < LENGTH; i++) {
            id.append(Character.forDigit(random.nextInt(36), 36));
        }
        return id.toString();
    }
}
