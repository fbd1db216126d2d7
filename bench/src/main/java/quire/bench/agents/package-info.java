/** Measures what the prefix cache and the cache of tools save for agents, with their captured requests. */
@NullMarked
package quire.bench.agents;

import org.jspecify.annotations.NullMarked;
