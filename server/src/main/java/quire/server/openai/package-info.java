/** OpenAI's API, and the extensions of it that vLLM has: reading its requests, writing its answers and errors. */
@NullMarked
package quire.server.openai;

import org.jspecify.annotations.NullMarked;
