"""Operations at infinite width, one file each: its maps of signals forwards, of gradients backwards, of counts."""

from varflow.theory.operations import attention, batch_norm, layer_norm, merge, pool, scale_steps, spike, upsample, weights

__all__ = ["attention", "batch_norm", "layer_norm", "merge", "pool", "scale_steps", "spike", "upsample", "weights"]
