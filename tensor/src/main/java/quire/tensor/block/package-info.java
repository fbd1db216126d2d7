/** Quantisation blocks as files hold them, and the integers and scales that they contain. */
@NullMarked
package quire.tensor.block;

import org.jspecify.annotations.NullMarked;
