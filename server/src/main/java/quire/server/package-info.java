/** OpenAI's JSON in, server-sent events out; metrics and health. */
@NullMarked
package quire.server;

import org.jspecify.annotations.NullMarked;
