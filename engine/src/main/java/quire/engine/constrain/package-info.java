/**
 * Constraints on answers: JSON schemas, regular expressions and lists of choices become expressions over bytes, whose
 * derivatives say which tokens may come next. Uses no other package of this module.
 */
@NullMarked
package quire.engine.constrain;

import org.jspecify.annotations.NullMarked;
