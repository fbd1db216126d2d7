/** The web page at {@code /}: its files, and what the engine does at this moment. */
@NullMarked
package quire.server.page;

import org.jspecify.annotations.NullMarked;
