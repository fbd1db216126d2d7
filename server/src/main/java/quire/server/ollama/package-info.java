/** Ollama's API: reads requests into the form of a chat, writes answers as lines of JSON. */
@NullMarked
package quire.server.ollama;

import org.jspecify.annotations.NullMarked;
