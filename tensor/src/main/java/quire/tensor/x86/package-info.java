/** An assembler of the x86-64 instructions that kernels use, and the memory that their code runs in. */
@NullMarked
package quire.tensor.x86;

import org.jspecify.annotations.NullMarked;
