r"""Neurons of NIR as each library's importer steps them.

The format states equations in continuous time; a step ``dt`` makes them ``H' = β H + λ I``, with ``H`` above rest.

=========  =======================  ===============  ======================  ====================  ==================
library    LIF: β                   LIF: λ           after a spike           spike                 primitives
=========  =======================  ===============  ======================  ====================  ==================
nir        ``1 - dt/τ``             ``r dt/τ``       to ``v_reset``          ``H > θ``             all
snntorch   ``1 - dt/τ``             ``r dt/τ``       to 0                    ``H > θ``             LIF, CubaLIF
norse      ``1 - dt/τ``             ``dt/τ``         to 0                    ``H > θ``             IF, LIF, CubaLIF
sinabs     ``exp(-1/τ)``            1                ``- θ`` for each        ``⌊H/θ⌋`` of them     IF, LIF, LI
=========  =======================  ===============  ======================  ====================  ==================

IF and I have no time constant: a step adds ``r I`` (``I`` in Norse and sinabs, where IF stays above ``-θ``). CubaLIF filters
the current by ``i' = (1 - dt/τ_s) i + w_in (dt/τ_s) I`` before. ``r dt/τ`` follows snnTorch's ``r = τ/dt``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, positive, positive_number
from varflow.model.neurons import Neuron
from varflow.model.resets import Reset

ALIKE = 1e-6  # relative difference up to which numbers in single precision are one
NEURONS, INTEGRATORS = ("IF", "LIF", "CubaLIF", "Threshold"), ("LI", "CubaLI", "I", "Delay")
STEPS = {"nir": 1e-4, "snntorch": 1e-4, "norse": 1e-3, "sinabs": 1.0}  # in seconds; of sinabs the unit of τ
FIXED = ("snntorch", "sinabs")  # libraries with this step for all files
TAKES = {"snntorch": ("LIF", "CubaLIF"), "norse": ("IF", "LIF", "CubaLIF"), "sinabs": ("IF", "LIF", "LI")}  # nir: all


class Unread(Exception):
    """A primitive that is not known, or not by this library, in words that follow its kind."""


def step_of(library: str, dt: float | None) -> float:
    """The step of a library."""
    step = STEPS[choice("library", library, STEPS)]
    if library in FIXED and dt not in (None, step):
        raise DomainError("dt", dt, f"must be {step:g}, or left out: {library} steps every file by it")
    return step if dt is None else positive_number("dt", dt)


def filter_of(values: dict[str, Any], library: str, dt: float) -> tuple[Any, Any, Any, Any]:
    """``β``, ``λ``, the decay of the synapse and the resting potential, each a number or an array over neurons."""
    rest, synapse = values.get("v_leak", 0.0), "tau_syn" in values
    if np.any(rest) and (library in FIXED or (library == "norse" and synapse)):
        raise Unread(f"of which {library} takes v_leak = 0 only")
    tau, r = values.get("tau", values.get("tau_mem")), values["r"] if synapse or library in ("nir", "snntorch") else 1.0
    if tau is None:
        return 1.0, r, 0.0, 0.0
    if library == "sinabs":
        return np.exp(-1 / positive("tau", tau)), 1.0, 0.0, rest
    lost, arriving = (dt / positive("tau", each) for each in (tau, values.get("tau_syn", dt)))
    decay, left = np.clip(1 - lost, 0.0, 1.0), np.maximum(1 - arriving, 0.0)
    if (longest := float(max(np.max(lost), np.max(arriving)))) > 1 + ALIKE and library != "snntorch":  # which clamps β
        raise DomainError("dt", dt, f"is {longest:.6g} times a time constant: give a shorter dt")
    return decay, lost * r * arriving * values.get("w_in", 1.0), left, rest


def neuron_of(values: dict[str, Any], library: str, dt: float) -> tuple[Neuron, dict[str, Any]]:
    """The neuron of IF, LIF, CubaLIF or Threshold; and where neurons differ, their values and the fractions below each."""
    if values["kind"] == "Threshold":
        return Neuron(one("threshold", values["threshold"])), {}
    decay, scale, synapse, rest = filter_of(values, library, dt)
    strength = np.max(np.abs(scale))  # H times this over λ in place of H
    potentials = (values["v_reset"] if library == "nir" else 0.0, values["v_threshold"])
    start, threshold = ((potential - rest) * strength / scale for potential in potentials)
    reset = Reset(threshold=1.0, counts=True, lowest=-1.0 if values["kind"] == "IF" else None)
    if library != "sinabs":
        reset = Reset(membrane=1.0, threshold=one("v_reset", -start / threshold) if np.any(start) else 0.0)
    pairs = zip(("threshold", "decay"), map(np.ravel, np.broadcast_arrays(threshold, decay)), strict=True)
    of: dict[str, Any] = {name: each if _number(each) is None else _number(each) for name, each in pairs}
    dynamics = {"input_scale": one("r", strength), "reset": reset, "synaptic_decay": one("tau_syn", synapse)}
    neuron, size = Neuron(**of, strict=library != "sinabs", **dynamics), max(map(np.size, of.values()))
    if not neuron.heterogeneous:
        return neuron, {}
    ranks = [np.argsort(np.argsort(np.resize(each, size), kind="stable")) for each in of.values()]
    return neuron, {"fractions": (np.stack(ranks) + 0.5) / size} | {name: each for name, each in of.items() if np.ndim(each)}


def one(name: str, value: Any) -> float:
    """The one number that all values are."""
    if (number := _number(value)) is None:
        raise Unread(f"of which {name} differs between neurons")
    return number


def _number(value: Any) -> float | None:
    """The one number that all values are, in the digits of single precision; None if they differ."""
    return float(f"{np.ravel(value)[0]:.7g}") if np.ptp(value) <= ALIKE * np.max(np.abs(value)) else None
