/** Measures what the prefix cache saves and what it costs. */
@NullMarked
package quire.bench.prefix;

import org.jspecify.annotations.NullMarked;
