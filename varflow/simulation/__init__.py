"""Simulation of spiking networks. It shares no formula with the theory it is compared with."""

from varflow.simulation.run import Interrupted, simulate

__all__ = ["Interrupted", "simulate"]
