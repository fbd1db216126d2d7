/** Measurements of an engine and of a model's steps: speeds, pairs of runs, phases of a step. */
@NullMarked
package quire.bench.measure;

import org.jspecify.annotations.NullMarked;
