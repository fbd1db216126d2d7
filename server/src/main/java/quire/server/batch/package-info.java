/**
 * OpenAI's files and batches: files of requests that are answered while there is nothing else to compute, and whose answers
 * survive the end of the process.
 *
 * <pre>
 *   FilesApi, BatchesApi   JSON and forms, in and out
 *     └▶ Batches           what each batch does next; its threads validate, answer and write
 *          └▶ BatchStore   the database and the files on the disk
 * </pre>
 */
@NullMarked
package quire.server.batch;

import org.jspecify.annotations.NullMarked;
