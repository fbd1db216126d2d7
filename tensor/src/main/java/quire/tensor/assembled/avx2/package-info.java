/** The functions of the kernels in AVX2, 8 lanes of 32 bits, with VNNI where there is any. */
@NullMarked
package quire.tensor.assembled.avx2;

import org.jspecify.annotations.NullMarked;
