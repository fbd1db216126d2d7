/** Models that are loaded when a request needs them, and leave when others need their memory. Knows no API and no engine. */
@NullMarked
package quire.server.models;

import org.jspecify.annotations.NullMarked;
