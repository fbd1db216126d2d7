package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.Answer;
import quire.engine.DiskTierStats;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.LogLines;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Speculation;
import quire.engine.TokenStream;
import quire.engine.disk.FullDisk;
import quire.engine.disk.PageFile;

/** What is read from the KV file instead of being computed, and what happens when reading or writing fails. */
class DiskTierTest {
    private static final int PAGE = 16;
    private static final int CONTEXT = 1_200;
    private static final int BUDGET = 64;
    private static final int PAGE_BYTES = PAGE * Long.BYTES;
    private static final PageFile.Contents CONTENTS =
            new PageFile.Contents("i".repeat(PageFile.IDENTITY_LENGTH), PAGE, PAGE_BYTES);

    @TempDir
    private Path folder;

    private final LogLines log = new LogLines("quire.engine");
    private final List<PageFile> files = new ArrayList<>();
    private long nanos;
    private long nanosPerLook; // added whenever the clock is read
    private int rows;

    @AfterEach
    void close() throws IOException {
        log.close();
        for (PageFile file : files) {
            file.close();
        }
    }

    private Path path() {
        return folder.resolve("pages.kv");
    }

    private static long bytes(int slots) {
        long bytes = 0;
        while (PageFile.slots(bytes, PAGE, PAGE_BYTES) < slots) {
            bytes += PAGE_BYTES;
        }
        return bytes;
    }

    private EngineLoop loop(int pages, int slots, Executor io) throws IOException {
        return loop(pages, PageFile.open(path(), bytes(slots), CONTENTS), io);
    }

    private EngineLoop loop(int pages, int slots) throws IOException {
        return loop(pages, slots, Runnable::run);
    }

    private EngineLoop loop(int pages, @Nullable PageFile file, Executor io) throws IOException {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(8)
                .maxBatchedTokens(BUDGET)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        FakeModel model = new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, pages, BUDGET, BUDGET);
        model.onForward(batch -> {
            rows += batch.rows();
            nanos += batch.rows() * 1000L;
        });
        EngineLoop.Builder loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .reserve(new PageReserve(0, 0)) // so that pages run out
                .nanoClock(() -> nanos += nanosPerLook);
        if (file != null) {
            files.add(file);
            loop.disk(file, io);
        }
        return loop.build();
    }

    /** Ends the process of the loop as far as the file is concerned. */
    private void stop() throws IOException {
        files.removeLast().close();
    }

    private static int[] text(int seed, int length) {
        return IntStream.range(0, length)
                .map(i -> (seed + i * 7 + i / 90) % FakeTokenizer.VOCABULARY_SIZE)
                .toArray();
    }

    private static Request request(int[] prompt, int maxTokens, @Nullable String salt) {
        return new Request(
                prompt,
                SamplingParams.builder()
                        .maxTokens(maxTokens)
                        .temperature(0)
                        .ignoreEndOfText(true)
                        .build(),
                salt);
    }

    private static Request request(int[] prompt, int maxTokens) {
        return request(prompt, maxTokens, null);
    }

    /** Runs until the answers have ended and nothing is left to write. */
    private static void run(EngineLoop loop, TokenStream... streams) {
        int idle = 0;
        while (idle < 2) {
            idle = loop.doWork() == 0 ? idle + 1 : 0;
            loop.checkIntegrity();
        }
        for (TokenStream stream : streams) {
            assertThat(((OutputQueue) stream).hasEnded()).isTrue();
        }
    }

    private static Answer answer(TokenStream stream) {
        Answer.Reader reader = new Answer.Reader();
        reader.poll(stream);
        return reader.end(stream.finish());
    }

    /** Rows computed for requests that run together; checks their answers. */
    private int rowsOf(EngineLoop loop, Request... requests) {
        int before = rows;
        TokenStream[] streams = new TokenStream[requests.length];
        for (int i = 0; i < requests.length; i++) {
            streams[i] = loop.submit(requests[i]);
        }
        run(loop, streams);
        for (int i = 0; i < requests.length; i++) {
            assertThat(answer(streams[i])).isEqualTo(Answer.alone(requests[i], CONTEXT));
        }
        return rows - before;
    }

    private static DiskTierStats stats(EngineLoop loop) {
        return loop.tracker().stats().diskTier();
    }

    private void flipByteOfPage(int slot, int slots) throws IOException {
        try (FileChannel channel = FileChannel.open(path(), StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            long at = channel.size() - (long) (slots - slot) * PAGE_BYTES + 33;
            ByteBuffer one = ByteBuffer.allocate(1);
            channel.read(one, at);
            one.flip();
            one.put(0, (byte) (one.get(0) ^ 1));
            channel.write(one, at);
        }
    }

    @Test
    void submit_samePromptAfterARestart_computesItsLastPageOnly() throws Exception {
        Request request = request(text(1, 500), 1);
        EngineLoop first = loop(100, 200);
        assertThat(rowsOf(first, request)).isEqualTo(500);
        assertThat(stats(first)).isEqualTo(new DiskTierStats(200, 31, 0, 0, 31 * PAGE_BYTES, 0, 0));
        stop();

        EngineLoop second = loop(100, 200);
        assertThat(stats(second).pages()).isEqualTo(31);
        assertThat(rowsOf(second, request)).isEqualTo(500 % PAGE);
        assertThat(stats(second)).isEqualTo(new DiskTierStats(200, 31, 496, 31 * PAGE_BYTES, 0, 0, 0));
        assertThat(second.tracker().stats().prefixCache().hitTokens()).isEqualTo(496);
        assertThat(rowsOf(second, request)).as("now from memory").isEqualTo(500 % PAGE);
        assertThat(stats(second).hitTokens()).isEqualTo(496);
    }

    @Test
    void stream_afterARestart_tellsItsCachedTokens() throws Exception {
        Request request = request(text(1, 500), 1);
        rowsOf(loop(100, 200), request);
        stop();

        EngineLoop loop = loop(100, 200);
        TokenStream stream = loop.submit(request);
        run(loop, stream);

        assertThat(stream.cachedTokens()).isEqualTo(496);
    }

    /** Pages that decoding has filled are stored too. */
    @Test
    void submit_nextTurnAfterARestart_computesItsNewTokensOnly() throws Exception {
        Request turn = request(text(1, 100), 100);
        rowsOf(loop(100, 200), turn);
        stop();
        int[] next = IntStream.concat(
                        IntStream.concat(
                                IntStream.of(turn.prompt()),
                                Answer.alone(turn, CONTEXT).tokens().stream().mapToInt(Integer::intValue)),
                        IntStream.of(text(5, 40)))
                .toArray();

        // 199 tokens were computed: 12 pages.
        assertThat(rowsOf(loop(100, 200), request(next, 1))).isEqualTo(240 - 12 * PAGE);
    }

    @Test
    void submit_otherSaltAfterARestart_computesAll() throws Exception {
        rowsOf(loop(100, 200), request(text(1, 500), 1, "a"));
        stop();

        EngineLoop loop = loop(100, 200);
        assertThat(rowsOf(loop, request(text(1, 500), 1, "b"))).isEqualTo(500);
        assertThat(rowsOf(loop, request(text(1, 500), 1, "a"))).isEqualTo(4);
        assertThat(rowsOf(loop, request(text(1, 500), 1))).isEqualTo(500);
    }

    @Test
    void submit_promptWhosePagesWereEvicted_readsThem() throws Exception {
        EngineLoop loop = loop(40, 200);
        rowsOf(loop, request(text(1, 500), 1));
        rowsOf(loop, request(text(2, 500), 1));

        assertThat(rowsOf(loop, request(text(1, 500), 1))).isEqualTo(4);
        assertThat(rowsOf(loop, request(text(2, 500), 1))).isEqualTo(4);
        assertThat(stats(loop).pages()).isEqualTo(62);
        assertThat(stats(loop).hitTokens()).isGreaterThan(700);
    }

    /** The beginning may be in memory, the middle in the file, and the end nowhere. */
    @Test
    void submit_pagesInMemoryAndInTheFile_takesBoth() throws Exception {
        EngineLoop loop = loop(40, 200);
        rowsOf(loop, request(text(1, 500), 1));
        rowsOf(loop, request(text(2, 200), 1)); // takes the last pages of the first text
        long readBefore = stats(loop).readBytes();

        int[] longer = IntStream.concat(IntStream.of(text(1, 496)), IntStream.of(text(9, 60)))
                .toArray();
        assertThat(rowsOf(loop, request(longer, 1))).isEqualTo(60);
        assertThat(stats(loop).readBytes() - readBefore).isBetween(PAGE_BYTES * 2L, PAGE_BYTES * 20L);
    }

    @Test
    void submit_preemptedSequences_readMostOfTheirPages() throws Exception {
        Request[] requests =
                IntStream.range(1, 5).mapToObj(i -> request(text(i, 100), 120)).toArray(Request[]::new);
        int withFile = rowsOf(loop(30, 200), requests);
        int without = rowsOf(loop(30, null, Runnable::run), requests);

        assertThat(without).isGreaterThan(4 * 219);
        assertThat(withFile - 4 * 219).isLessThan((without - 4 * 219) / 2);
    }

    @Test
    void doWork_whileASequenceWaitsForItsPages_runsTheOthers() throws Exception {
        rowsOf(loop(200, 200), request(text(1, 500), 1));
        stop();
        DelayedIo io = new DelayedIo();
        EngineLoop loop = loop(200, 200, io);
        TokenStream waits = loop.submit(request(text(1, 500), 1));
        TokenStream same = loop.submit(request(text(1, 500), 1));
        assertThat(loop.doWork()).as("all that it may compute is on its way").isZero();
        TokenStream other = loop.submit(request(text(3, 10), 5));
        int idle = 0;
        while (idle < 3) {
            idle += loop.doWork() == 0 ? 1 : 0;
            loop.checkIntegrity();
        }
        assertThat(((OutputQueue) other).hasEnded()).isTrue();
        assertThat(((OutputQueue) waits).hasEnded()).isFalse();
        assertThat(rows).isEqualTo(500 + 14);

        io.run(3); // the pages that have come are in use at once, and shared
        assertThat(loop.doWork()).isZero();
        loop.checkIntegrity();
        while (io.size() > 0) {
            io.run(1);
            loop.doWork();
            loop.checkIntegrity();
        }
        run(loop, waits, same);
        assertThat(rows).as("each computes its last four tokens").isBetween(500 + 14 + 4, 500 + 14 + 8);
        assertThat(stats(loop).readBytes()).as("each page is read once").isEqualTo(31 * PAGE_BYTES);
    }

    @Test
    void close_whileItsPagesAreRead_freesItsPagesAtOnce() throws Exception {
        rowsOf(loop(100, 200), request(text(1, 500), 1));
        stop();
        DelayedIo io = new DelayedIo();
        EngineLoop loop = loop(40, 200, io);
        TokenStream stream = loop.submit(request(text(1, 500), 1));
        loop.doWork();
        io.run(5);
        loop.doWork();
        assertThat(loop.pages().used()).isEqualTo(32);

        stream.close();
        loop.doWork();
        loop.checkIntegrity();
        assertThat(loop.pages().used()).isZero();
        TokenStream next = loop.submit(request(text(2, 600), 1));
        while (io.size() > 0 || !((OutputQueue) next).hasEnded()) {
            io.run(1); // what was read for the closed stream comes now
            loop.doWork();
            loop.checkIntegrity();
        }
        assertThat(answer(next)).isEqualTo(Answer.alone(request(text(2, 600), 1), CONTEXT));
    }

    @Test
    void offer_fileSlowerThanTheEngine_leavesPagesOut() throws Exception {
        DelayedIo io = new DelayedIo();
        EngineLoop loop = loop(100, 500, io); // 64 transfers, half of them for writing
        for (int i = 0; i < 10; i++) {
            rowsOf(loop, request(text(i, 500), 1));
        }
        assertThat(io.size()).isEqualTo(32);
        while (io.size() > 0) {
            io.run(1);
            loop.doWork();
            loop.checkIntegrity();
        }

        DiskTierStats stats = stats(loop);
        assertThat(stats.pages()).isBetween(64, 200);
        assertThat(stats.skippedPages()).isGreaterThan(100);
        assertThat(stats.writtenBytes()).isEqualTo((long) stats.pages() * PAGE_BYTES);
    }

    @Test
    void begin_readingSlowerThanComputing_computes() throws Exception {
        rowsOf(loop(100, 300), request(text(1, 500), 1), request(text(2, 500), 1));
        stop();
        EngineLoop loop = loop(100, 300, task -> {
            nanosPerLook = 40_000; // two and a half times as long as 16 tokens
            task.run();
            nanosPerLook = 0;
        });
        assertThat(rowsOf(loop, request(text(1, 500), 1)))
                .as("the speeds are not known")
                .isEqualTo(4);

        assertThat(rowsOf(loop, request(text(3, 100), 1))).isEqualTo(100);
        assertThat(rowsOf(loop, request(text(2, 500), 1))).isEqualTo(500);
        assertThat(stats(loop).hitTokens()).isEqualTo(496);
    }

    @Test
    void read_damagedPage_isComputedAgainAndNamed() throws Exception {
        Request request = request(text(1, 500), 1);
        rowsOf(loop(100, 200), request);
        stop();
        flipByteOfPage(10, 200);

        EngineLoop loop = loop(100, 200);
        assertThat(rowsOf(loop, request)).isEqualTo(500 - 10 * PAGE);
        assertThat(log.lines())
                .contains("WARNING the page in slot 10 of the KV file " + path()
                        + " is damaged: its checksum is another one; it is computed again, and 21 pages of the file are"
                        + " ignored");
        assertThat(stats(loop).damagedPages()).isEqualTo(1);
        assertThat(stats(loop).pages()).as("they are written again").isEqualTo(31);
        stop();
        assertThat(rowsOf(loop(100, 200), request)).isEqualTo(4);
    }

    @Test
    void write_diskFull_goesOnWithoutAndStillReads() throws Exception {
        FullDisk.File full = FullDisk.open(path(), bytes(200), CONTENTS);
        EngineLoop loop = loop(40, full.pages(), Runnable::run);
        rowsOf(loop, request(text(1, 500), 1));
        full.disk().fill();
        rowsOf(loop, request(text(2, 500), 1));

        assertThat(rowsOf(loop, request(text(1, 500), 1))).isEqualTo(4);
        assertThat(stats(loop).pages()).isEqualTo(31);
        assertThat(log.lines().stream().filter(line -> line.contains("cannot be written")))
                .containsExactly("WARNING the KV file " + path()
                        + " cannot be written (No space left on device): no more pages are stored there until the next"
                        + " start; those in it are still used");
    }

    @Test
    void offer_textLongerThanTheFile_keepsItsBeginning() throws Exception {
        EngineLoop loop = loop(100, 10);
        rowsOf(loop, request(text(1, 500), 1));
        stop();

        assertThat(rowsOf(loop(100, 10), request(text(1, 500), 1))).isEqualTo(500 - 10 * PAGE);
    }
}
