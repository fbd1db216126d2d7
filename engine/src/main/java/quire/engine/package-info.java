/**
 * The engine as an embedder sees it: {@link quire.engine.Engine} and the values that go in and come out. The packages
 * {@code sample}, {@code schedule} and {@code speculate} behind it are not exported.
 *
 * <pre>
 *   Engine ──▶ speculate ──▶ schedule ──▶ sample ──▶ values: every other type of this package
 * </pre>
 */
@NullMarked
package quire.engine;

import org.jspecify.annotations.NullMarked;
