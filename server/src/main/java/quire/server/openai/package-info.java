/** OpenAI's API and vLLM's extensions of it: reads requests, writes answers and errors. */
@NullMarked
package quire.server.openai;

import org.jspecify.annotations.NullMarked;
