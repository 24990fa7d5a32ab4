"""Simulation of spiking networks. It shares no formula with the theory it is compared with."""

from typing import TYPE_CHECKING

from varflow._lazy import loaded_when_asked

if TYPE_CHECKING:
    from varflow.simulation.run import Interrupted, simulate
    from varflow.simulation.walk import Flow

__getattr__, __dir__ = loaded_when_asked(globals())
