/**
 * Memory outside of the Java heap for weights and KV pages: zeroed, committed when first written, on huge pages where
 * the system has them.
 */
@NullMarked
package quire.tensor.memory;

import org.jspecify.annotations.NullMarked;
