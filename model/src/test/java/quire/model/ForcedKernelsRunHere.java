package quire.model;

import org.junit.jupiter.api.extension.ConditionEvaluationResult;
import org.junit.jupiter.api.extension.ExecutionCondition;
import org.junit.jupiter.api.extension.ExtensionContext;
import quire.tensor.machine.KernelSets;

/**
 * Skips all tests, with the reason, if the kernel set that {@link KernelSets#PROPERTY} names cannot run. JUnit finds it
 * as a service if {@code junit.jupiter.extensions.autodetection.enabled} is set. The nightly runs set it, once for each
 * kernel set.
 */
public final class ForcedKernelsRunHere implements ExecutionCondition {
    @Override
    public ConditionEvaluationResult evaluateExecutionCondition(ExtensionContext context) {
        String name = System.getProperty(KernelSets.PROPERTY);
        String obstacle = name == null ? null : KernelSets.obstacle(name);
        return obstacle == null
                ? ConditionEvaluationResult.enabled("the kernels run here")
                : ConditionEvaluationResult.disabled("the " + name + " kernels cannot run here: " + obstacle);
    }
}
