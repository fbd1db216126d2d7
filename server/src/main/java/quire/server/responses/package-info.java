/** OpenAI's Responses API: reads requests into the form of a chat, keeps and writes responses. */
@NullMarked
package quire.server.responses;

import org.jspecify.annotations.NullMarked;
