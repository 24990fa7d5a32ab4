"""Kernels of many inputs, the depth that a readout can use, and what a step of an optimiser changes."""

from varflow.kernels.flips import flips
from varflow.kernels.kernel import kernel, readable_depth
from varflow.kernels.trainability import trainability

__all__ = ["flips", "kernel", "readable_depth", "trainability"]
