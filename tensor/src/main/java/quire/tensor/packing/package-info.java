/** The forms in which assembled kernels read weights, and the packing of a file's weights into them. */
@NullMarked
package quire.tensor.packing;

import org.jspecify.annotations.NullMarked;
