/** {@code quire bench reproduce}: the published results of continuous batching and its companions, in one engine. */
@NullMarked
package quire.bench.reproduce;

import org.jspecify.annotations.NullMarked;
