/** The measurement of {@code quire bench attack-files}: damaged model files. */
@NullMarked
package quire.bench.files;

import org.jspecify.annotations.NullMarked;
