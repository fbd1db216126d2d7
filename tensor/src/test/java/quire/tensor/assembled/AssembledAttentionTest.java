package quire.tensor.assembled;

import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.tensor.AttentionCall;
import quire.tensor.FloatMatrix;
import quire.tensor.KernelSetEquality;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.PagedContext;
import quire.tensor.machine.KernelSets;

/** Compares assembled attention and storing with the scalar set, to the last bit, for any rows and any position. */
@ParameterizedClass
@ValueSource(strings = {"avx512vnni", "avx2"})
class AssembledAttentionTest {
    private final Kernels kernels;
    private final KernelSetEquality equality;

    AssembledAttentionTest(String set) {
        String obstacle = KernelSets.obstacle(set);
        assumeTrue(obstacle == null, obstacle);
        kernels = KernelSets.named(set);
        equality = new KernelSetEquality(kernels, 6);
    }

    @ParameterizedTest
    @EnumSource
    void attend_everyPlaceAndEveryNumberOfRows_equalsScalarToTheBit(KvType type) {
        equality.checkAttentionWindows(new KvLayout(type, 32, 2, 20), 8, 70, 1);
        equality.checkAttentionWindows(new KvLayout(type, 16, 1, 64), 5, 70, 3);
    }

    @ParameterizedTest
    @EnumSource
    void attend_groupsAndHeadsOfAnySize_equalsScalarToTheBit(KvType type) {
        int[] headDims = {1, 8, 15, 16, 17, 32, 80, 128, 129, 7, 9};
        int[] groups = {1, 2, 3, 6, 7, 12, 13, 25, 4, 5, 8};
        for (int i = 0; i < headDims.length; i++) {
            equality.checkAttentionWindows(new KvLayout(type, 16, 2, headDims[i]), 2 * groups[i], 52, 17);
        }
    }

    @ParameterizedTest
    @EnumSource
    void storeKv_anyShapeAndExtremes_equalsScalarToTheBit(KvType type) {
        for (int i = 0; i < 300; i++) {
            equality.checkStore(type);
        }
    }

    @Test
    void attend_moreThanOneSegment_equalsScalarToTheBit() {
        equality.checkAttentionWindows(new KvLayout(KvType.F16, 48, 1, 16), 2, 1100, 271);
        for (KvType type : KvType.values()) {
            equality.checkSegments(new KvLayout(type, 16, 2, 24), 14, 1300, 1, 0, false);
            equality.checkSegments(new KvLayout(type, 32, 1, 16), 5, 1050, 60, 0, false);
            equality.checkSegments(new KvLayout(type, 16, 1, 16), 26, 1050, 60, 520, false);
            equality.checkSegments(new KvLayout(type, 16, 1, 16), 3, 1050, 60, 300, true);
        }
    }

    @Test
    void attend_pageOutsideOfTheSegment_isRefused() {
        KvLayout layout = new KvLayout(KvType.F16, 16, 1, 8);
        try (Arena arena = Arena.ofShared()) {
            PagedContext kv = PagedContext.random(kernels, arena, layout, 20, new SplittableRandom(1));
            FloatMatrix q = FloatMatrix.allocate(arena, 1, 8);
            FloatMatrix out = FloatMatrix.allocate(arena, 1, 8);
            Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, 1, arena);
            int count = (int) (kv.pages.byteSize() / layout.pageBytes());
            for (int page : new int[] {-1, count}) {
                assertThatIllegalArgumentException()
                        .isThrownBy(() -> kernels.attend(
                                new AttentionCall(layout, 1f, q, out)
                                        .context(kv.pages, new int[] {0, page}, 0)
                                        .rows(0, 1, 19),
                                scratch))
                        .withMessageContaining("page " + page);
                assertThatIllegalArgumentException()
                        .isThrownBy(() -> kernels.storeKv(layout, kv.pages, page, 3, q, q, 0))
                        .withMessageContaining("page " + page);
            }
        }
    }
}
