"""Kernels of many inputs, and the depth that a readout can use: where theory and sampled networks answer one question."""

from varflow.kernels.kernel import kernel
from varflow.kernels.readout import readable_depth
from varflow.kernels.trainability import trainability

__all__ = ["kernel", "readable_depth", "trainability"]
