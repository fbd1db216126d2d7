/**
 * What this machine can do: which kernel set runs here ({@link quire.tensor.machine.KernelSets}) and the speeds that no
 * kernel can exceed ({@link quire.tensor.machine.MachineCeilings}).
 */
@NullMarked
package quire.tensor.machine;

import org.jspecify.annotations.NullMarked;
