/**
 * The interpreter for chat templates: the part of Jinja that templates in model files use, with the value semantics of
 * Python and the settings of Hugging Face transformers. {@code Lexer} turns text into tokens, {@code Parser} turns
 * tokens into a tree of {@code Node}, and {@code Interpreter} walks the tree. {@code Filters}, {@code Tests} and {@code
 * Methods} are tables: to find an entry, search for its name in quotes.
 */
@NullMarked
package quire.model.text.jinja;

import org.jspecify.annotations.NullMarked;
