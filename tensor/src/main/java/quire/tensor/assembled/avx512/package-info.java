/** The functions of the kernels in AVX-512 with VNNI, 16 lanes of 32 bits. */
@NullMarked
package quire.tensor.assembled.avx512;

import org.jspecify.annotations.NullMarked;
