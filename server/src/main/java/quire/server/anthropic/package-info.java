/** Anthropic's Messages API: reads requests into the form of a chat, writes answers and errors. */
@NullMarked
package quire.server.anthropic;

import org.jspecify.annotations.NullMarked;
