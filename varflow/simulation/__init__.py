"""Simulation: what real spiking networks do, measured. It knows nothing of the theory it is compared with."""

from varflow.simulation.run import Interrupted, simulate

__all__ = ["Interrupted", "simulate"]
