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

from typing import Any, NamedTuple

import numpy as np

from varflow._checks import DomainError, choice, positive, positive_number
from varflow.model.neurons import Neuron
from varflow.model.resets import Reset

ALIKE = 1e-6  # relative difference up to which numbers in single precision are one


class Unread(Exception):
    """A primitive that is not known, or not by this library, in words that follow its kind."""


class Library(NamedTuple):
    """Conventions of an importer: primitives with a state that it takes, its step in seconds, and if that is its ``own`` always."""

    name: str
    takes: tuple[str, ...]
    dt: float
    own: bool = False


LIBRARIES = {
    "nir": Library("nir", ("IF", "LIF", "CubaLIF", "LI", "CubaLI", "I", "Threshold", "Delay"), 1e-4),
    "snntorch": Library("snntorch", ("LIF", "CubaLIF"), 1e-4, own=True),
    "norse": Library("norse", ("IF", "LIF", "CubaLIF"), 1e-3),
    "sinabs": Library("sinabs", ("IF", "LIF", "LI"), 1.0, own=True),
}
STATEFUL = LIBRARIES["nir"].takes


def library_of(name: Any, dt: Any) -> tuple[Library, float]:
    """The library of this name, and its step."""
    library = LIBRARIES[choice("library", name, LIBRARIES)]
    step = library.dt if dt is None else positive_number("dt", dt)
    if library.own and step != library.dt:
        raise DomainError("dt", dt, f"must be {library.dt:g}, or left out: {name} steps every file by it")
    return library, step


def filter_of(values: dict[str, Any], library: Library, dt: float) -> tuple[Any, Any, Any]:
    """``β``, ``λ`` and the decay of the synapse, each a number or an array over neurons."""
    r = 1.0 if library.name == "sinabs" or (library.name == "norse" and "tau_syn" not in values) else values["r"]
    tau = values.get("tau", values.get("tau_mem"))
    if tau is None:
        return 1.0, r, 0.0
    if library.name == "sinabs":
        return np.exp(-1 / positive("tau", tau)), 1.0, 0.0
    lost, arriving = _lost(tau, dt), _lost(values.get("tau_syn", dt), dt)
    return 1 - lost, lost * r * arriving * values.get("w_in", 1.0), 1 - arriving


def _lost(tau: Any, dt: float) -> np.ndarray:
    """``dt/τ``, the fraction lost in a step."""
    shortest = float(positive("tau", tau).min())
    if dt > shortest * (1 + ALIKE):
        raise DomainError("dt", dt, f"is longer than a time constant, {shortest:.6g}: give a shorter dt")
    return np.minimum(dt / tau, 1.0)


def rest_of(values: dict[str, Any], library: Library) -> Any:
    """The resting potential; 0 for libraries that take no other."""
    rest = values.get("v_leak", 0.0)
    if np.any(rest) and (library.own or (library.name == "norse" and "tau_syn" in values)):
        raise Unread(f"of which {library.name} takes v_leak = 0 only")
    return rest


def neuron_of(values: dict[str, Any], library: Library, dt: float) -> tuple[Neuron, dict[str, np.ndarray]]:
    """The neuron of IF, LIF, CubaLIF or Threshold; and where neurons differ, the fractions below each."""
    if values["kind"] == "Threshold":
        return Neuron(one("threshold", values["threshold"])), {}
    (decay, scale, synapse), rest = filter_of(values, library, dt), rest_of(values, library)
    start = (values["v_reset"] if library.name == "nir" else 0.0) - rest
    threshold, strength = values["v_threshold"] - rest, np.max(np.abs(scale))
    threshold, start, scale = threshold * strength / scale, start * strength / scale, strength  # H/λ in place of H
    reset = Reset(threshold=1.0, counts=True, lowest=-1.0 if values["kind"] == "IF" else None)
    if library.name != "sinabs":
        reset = Reset(membrane=1.0, threshold=one("v_reset", -start / threshold) if np.any(start) else 0.0)
    of = [np.ravel(each) for each in np.broadcast_arrays(threshold, decay)]
    numbers = [_rounded(each[0]) if np.ptp(each) <= ALIKE * np.max(np.abs(each)) else each for each in of]
    dynamics = {"input_scale": _rounded(scale), "reset": reset, "synaptic_decay": one("tau_syn", synapse)}
    neuron = Neuron(numbers[0], decay=numbers[1], strict=library.name != "sinabs", **dynamics)
    below = [(np.argsort(np.argsort(each, kind="stable")) + 0.5) / len(each) for each in of]
    return neuron, {"fractions": np.stack(below)} if neuron.heterogeneous else {}


def one(name: str, value: Any) -> float:
    """The one number that all values are."""
    if np.ptp(value) > ALIKE * np.max(np.abs(value)):
        raise Unread(f"of which {name} differs between neurons")
    return _rounded(np.ravel(value)[0])


def _rounded(number: Any) -> float:
    """A number stored in single precision, in its digits."""
    return float(f"{float(number):.7g}")
