"""Operations at infinite width, one file each: what it does to signals forwards, to gradients backwards, to counts of spikes."""

from varflow.theory.operations import batch_norm, layer_norm, merge, pool, sources, spike, weights

__all__ = ["batch_norm", "layer_norm", "merge", "pool", "sources", "spike", "weights"]
