/**
 * The interpreter for chat templates: the part of Jinja that templates in model files use, with Python's value semantics,
 * set up as Hugging Face transformers sets Jinja up. Text becomes tokens ({@code Lexer}), tokens a tree ({@code Parser},
 * {@code Node}), and the tree is walked ({@code Interpreter}). {@code Filters}, {@code Tests} and {@code Methods} are
 * tables: to find one, look for its name in quotes.
 */
@NullMarked
package quire.model.text.jinja;

import org.jspecify.annotations.NullMarked;
