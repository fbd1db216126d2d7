/** Output of all measurements: run records in JSON, tables, charts and HTML pages. */
@NullMarked
package quire.bench.report;

import org.jspecify.annotations.NullMarked;
