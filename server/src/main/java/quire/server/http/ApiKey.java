package quire.server.http;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Locale;
import java.util.regex.Pattern;

/**
 * A key that clients may send, and what its owner may use. It is written as the key itself and then options:
 *
 * <pre>sk-7f3a name=alice weight=2 priority=0 requests-per-minute=60 tokens-per-minute=100000</pre>
 */
public final class ApiKey {
    private static final Pattern KEY = Pattern.compile("[\\x21-\\x7e]+");
    private static final int NAME_BYTES = 4;
    private static final int MAX_WEIGHT = 1000;
    private static final int SECOND_NANOS = 1_000_000_000;

    private final byte[] digest;
    private String name;
    private int weight = 1;
    private int lowestPriority = Integer.MIN_VALUE;
    private int requestsPerMinute;
    private int tokensPerMinute;
    private RateLimit requests;
    private RateLimit tokens;

    private ApiKey(byte[] digest) {
        this.digest = digest;
        name = HexFormat.of().formatHex(digest, 0, NAME_BYTES);
        requests = new RateLimit(0, 0);
        tokens = requests;
    }

    /**
     * Reads a key with its options.
     *
     * @param now nanoseconds of a monotonic clock
     * @throws IllegalArgumentException saying what is wrong, without the key
     */
    static ApiKey parse(String line, long now) {
        String[] words = line.strip().split("[ \\t]+", -1);
        if (!KEY.matcher(words[0]).matches()) {
            throw new IllegalArgumentException("an API key is empty or has a character that a header cannot carry:"
                    + " use letters, digits and signs of ASCII");
        }
        ApiKey key = new ApiKey(digest(words[0]));
        for (int i = 1; i < words.length; i++) {
            key.set(words[i]);
        }
        key.requests = new RateLimit(key.requestsPerMinute, now);
        key.tokens = new RateLimit(key.tokensPerMinute, now);
        return key;
    }

    private void set(String option) {
        int equals = option.indexOf('=');
        String value = option.substring(equals + 1);
        switch (equals < 0 ? "" : option.substring(0, equals)) {
            case "name" -> name = value;
            case "weight" -> weight = number("weight", value, 1, MAX_WEIGHT);
            case "priority" -> lowestPriority = number("priority", value, Integer.MIN_VALUE, Integer.MAX_VALUE);
            case "requests-per-minute" ->
                requestsPerMinute = number("requests-per-minute", value, 1, Integer.MAX_VALUE);
            case "tokens-per-minute" -> tokensPerMinute = number("tokens-per-minute", value, 1, Integer.MAX_VALUE);
            default ->
                throw new IllegalArgumentException("an API key has an unknown option: after the key, write name=NAME,"
                        + " weight=N, priority=N, requests-per-minute=N or tokens-per-minute=N");
        }
    }

    private static int number(String option, String value, int least, int most) {
        try {
            int number = Integer.parseInt(value);
            if (number >= least && number <= most) {
                return number;
            }
        } catch (NumberFormatException e) {
            // the error below says what is allowed
        }
        throw new IllegalArgumentException(
                "an API key has " + option + "=" + value + ": it must be a number from " + least + " to " + most);
    }

    static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    /** Whether this is the digest of the key, in a time that says nothing about the key. */
    boolean hasDigest(byte[] other) {
        return MessageDigest.isEqual(digest, other);
    }

    /** Whom the key belongs to: the name that was given, or an abbreviation of the key's digest. */
    public String name() {
        return name;
    }

    /** The tenant that requests with this key belong to. */
    public String tenant() {
        return "key " + name;
    }

    /** Share of its owner in relation to others. */
    public int weight() {
        return weight;
    }

    /**
     * The priority of a request: the one that it asks for, or the lowest number that is allowed if it asks for none.
     *
     * @param asked 0 if it asks for none
     * @throws HttpException 400 if it is lower than allowed
     */
    public int priority(int asked) {
        if (asked == 0) {
            return Math.max(asked, lowestPriority);
        }
        if (asked < lowestPriority) {
            throw HttpException.invalid(
                    "priority",
                    "invalid_value",
                    "'priority' is " + asked + ", but the API key of " + name + " allows " + lowestPriority
                            + " and more.");
        }
        return asked;
    }

    /** Goes on with the counts of the same key before the keys were read again, where the limits are the same. */
    void continueFrom(ApiKey before) {
        if (!hasDigest(before.digest)) {
            return;
        }
        requests = before.requestsPerMinute == requestsPerMinute ? before.requests : requests;
        tokens = before.tokensPerMinute == tokensPerMinute ? before.tokens : tokens;
    }

    /**
     * Counts a request.
     *
     * @param now nanoseconds of a monotonic clock
     * @throws HttpException 429 if the key has used up its limits for now
     */
    public void countRequest(long now) {
        check("requests", requestsPerMinute, requests.waitNanos(now));
        check("tokens", tokensPerMinute, tokens.waitNanos(now));
        requests.count(1, now);
    }

    private void check(String unit, int limit, long waitNanos) {
        if (waitNanos > 0) {
            int seconds = (int) ((waitNanos + SECOND_NANOS - 1) / SECOND_NANOS);
            throw HttpException.overloaded(
                    String.format(
                            Locale.ROOT,
                            "The API key of %s may use %d %s a minute and has used them: try again in %d s.",
                            name,
                            limit,
                            unit,
                            seconds),
                    seconds);
        }
    }

    /** Counts tokens of a prompt or an answer. */
    void countTokens(int count, long now) {
        tokens.count(count, now);
    }
}
