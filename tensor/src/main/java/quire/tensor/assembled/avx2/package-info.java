/** The functions of the kernels in AVX2, 8 lanes of 32 bits, with VNNI if the processor has it. */
@NullMarked
package quire.tensor.assembled.avx2;

import org.jspecify.annotations.NullMarked;
