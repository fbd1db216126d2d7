/**
 * What the instruction sets share: {@link quire.tensor.assembled.common.KernelWriter}, which each implements, the
 * arguments of the functions, and the parts of their code that do not differ.
 */
@NullMarked
package quire.tensor.assembled.common;

import org.jspecify.annotations.NullMarked;
