/**
 * The API for programs that embed the engine: {@link quire.engine.Engine}, its parameters and its results. The packages
 * {@code sample}, {@code schedule} and {@code speculate} behind it are not exported.
 *
 * <pre>
 *   Engine ──▶ speculate ──▶ schedule ──▶ sample ──▶ values: every other type of this package
 * </pre>
 */
@NullMarked
package quire.engine;

import org.jspecify.annotations.NullMarked;
