package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Reads copies of Linux's files. */
class MachineMemoryTest {
    private static final long MIB = 1L << 20;
    private static final long GIB = 1L << 30;

    @TempDir
    private Path root;

    @BeforeEach
    void writeMachine() throws IOException {
        write("proc/meminfo", """
                MemTotal:       16777216 kB
                MemFree:         1048576 kB
                MemAvailable:   10485760 kB
                Inactive(file):  8388608 kB
                HugePages_Total:       0
                """);
        write("proc/self/status", "Name:\tjava\nVmSize:\t 4194304 kB\nRssAnon:\t  204800 kB\n");
        write(
                "proc/self/limits",
                "Limit  Soft Limit\nMax address space         unlimited            unlimited            bytes\n");
    }

    private void write(String file, String text) throws IOException {
        Path path = root.resolve(file);
        Files.createDirectories(path.getParent());
        Files.writeString(path, text);
    }

    private MachineMemory read() throws IOException {
        return MachineMemory.read(root, 100 * MIB, GIB);
    }

    @Test
    void read_machine_fileCacheCountsAsFree() throws Exception {
        MachineMemory memory = read();

        assertThat(memory.totalBytes()).isEqualTo(16 * GIB);
        assertThat(memory.totalOf()).isEqualTo("of this machine");
        assertThat(memory.availableBytes()).isEqualTo(10 * GIB + 100 * MIB); // and what this JVM has already
        assertThat(memory.availableOf()).contains("file cache");
    }

    @Test
    void read_committedButUntouchedHeap_isNotCountedTwice() throws Exception {
        assertThat(MachineMemory.read(root, 4 * GIB, GIB).availableBytes()).isEqualTo(10 * GIB + 200 * MIB);
    }

    @Test
    void read_oldKernel_estimatesWhatIsAvailable() throws Exception {
        write("proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nInactive(file): 2097152 kB\n");

        assertThat(read().availableBytes()).isEqualTo(3 * GIB + 100 * MIB);
    }

    @Test
    void read_cgroup2_limitLessUseCountsWithoutInactiveFilePages() throws Exception {
        write("proc/self/cgroup", "0::/system.slice/quire.service\n");
        String group = "sys/fs/cgroup/system.slice/quire.service/";
        write(group + "memory.max", "4294967296\n");
        write(group + "memory.high", "max\n");
        write(group + "memory.current", "3221225472\n");
        write(group + "memory.stat", "anon 1073741824\nfile 2147483648\ninactive_file 1610612736\nactive_file 5\n");

        MachineMemory memory = read();
        assertThat(memory.totalBytes()).isEqualTo(4 * GIB);
        assertThat(memory.totalOf()).isEqualTo("of this container (memory.max)");
        assertThat(memory.availableBytes()).isEqualTo(5 * GIB / 2 + 100 * MIB);
        assertThat(memory.availableOf()).contains("in this container");

        write(group + "memory.high", "2147483648\n");
        memory = read();
        assertThat(memory.totalOf()).isEqualTo("of this container (memory.high)");
        assertThat(memory.availableBytes()).isEqualTo(GIB / 2 + 100 * MIB);
    }

    @Test
    void read_cgroup2AroundTheProcess_theTightestLimitCounts() throws Exception {
        write("proc/self/cgroup", "0::/pod/container\n");
        write("sys/fs/cgroup/pod/container/memory.max", "max\n");
        write("sys/fs/cgroup/pod/memory.max", "8589934592\n");
        write("sys/fs/cgroup/pod/memory.current", "7516192768\n");
        write("sys/fs/cgroup/pod/memory.stat", "inactive_file 0\n");

        MachineMemory memory = read();
        assertThat(memory.totalBytes()).isEqualTo(8 * GIB);
        assertThat(memory.availableBytes()).isEqualTo(GIB + 100 * MIB);
    }

    @Test
    void read_ownCgroupSeenAsRoot_isFoundWhateverThePathSays() throws Exception {
        write("proc/self/cgroup", "12:pids:/x\n4:memory:/docker/0123abcd\n0::/\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", "943718400\n");
        write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 524288000\n");

        MachineMemory memory = read();
        assertThat(memory.totalBytes()).isEqualTo(GIB);
        assertThat(memory.totalOf()).isEqualTo("of this container (memory.limit_in_bytes)");
        assertThat(memory.availableBytes()).isEqualTo(GIB - 900 * MIB + 500 * MIB + 100 * MIB);
    }

    @Test
    void read_cgroup1WithoutALimit_isTheMachine() throws Exception {
        write("proc/self/cgroup", "4:cpu,memory:/group\n");
        write("sys/fs/cgroup/memory/group/memory.limit_in_bytes", "9223372036854771712\n");
        write("sys/fs/cgroup/memory/group/memory.usage_in_bytes", "943718400\n");

        assertThat(read().totalOf()).isEqualTo("of this machine");
        assertThat(read().availableBytes()).isEqualTo(10 * GIB + 100 * MIB);
    }

    @Test
    void read_busyMachineAroundAnEmptyContainer_theMachineSaysWhatIsAvailable() throws Exception {
        write("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n");
        write("proc/self/cgroup", "0::/\n");
        write("sys/fs/cgroup/memory.max", "4294967296\n");
        write("sys/fs/cgroup/memory.current", "0\n");

        MachineMemory memory = read();
        assertThat(memory.totalBytes()).isEqualTo(4 * GIB);
        assertThat(memory.availableBytes()).isEqualTo(GIB + 100 * MIB);
        assertThat(memory.availableOf()).contains("on this machine");
    }

    @Test
    void read_useBeyondTheLimit_nothingIsAvailable() throws Exception {
        write("proc/self/cgroup", "0::/\n");
        write("sys/fs/cgroup/memory.max", "1073741824\n");
        write("sys/fs/cgroup/memory.current", "2147483648\n");

        assertThat(read().availableBytes()).isZero();
    }

    @Test
    void read_limitedAddressSpace_isALimitToo() throws Exception {
        write("proc/self/limits", "Max address space         8589934592           unlimited            bytes     \n");

        MachineMemory memory = read();
        assertThat(memory.totalBytes()).isEqualTo(8 * GIB);
        assertThat(memory.totalOf()).contains("ulimit -v");
        assertThat(memory.availableBytes()).isEqualTo(8 * GIB - 4 * GIB + GIB);
    }

    @Test
    void read_noLinux_throws() throws Exception {
        Files.delete(root.resolve("proc/meminfo"));
        assertThatThrownBy(this::read).isInstanceOf(IOException.class).hasMessageContaining("MemTotal");
    }

    @Test
    void here_thisMachine_hasMemory() {
        MachineMemory memory = MachineMemory.here();

        assertThat(memory.totalBytes()).isGreaterThan(64 * MIB).isLessThan(1L << 50);
        assertThat(memory.availableBytes()).isBetween(1L, memory.totalBytes());
    }

    @Test
    void javaMemory_thisJvm_isBounded() {
        JavaMemory java = JavaMemory.here(2);

        assertThat(java.heapBytes()).isGreaterThanOrEqualTo(Runtime.getRuntime().maxMemory());
        assertThat(java.codeCacheBytes()).isBetween(MIB, 2 * GIB);
        assertThat(java.threadBytes()).isGreaterThan(java.threads() * (64L << 10));
        assertThat(java.totalBytes())
                .isEqualTo(java.heapBytes()
                        + java.codeCacheBytes()
                        + java.directBytes()
                        + java.threadBytes()
                        + java.otherBytes());
        assertThat(JavaMemory.here(3).threads()).isEqualTo(java.threads() + 1);
    }
}
