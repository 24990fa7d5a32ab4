"""Survival of neurons with memory: the fraction of networks that are alive in each layer, by a criterion that is named."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from varflow._checks import DomainError, choice, frozen, instance, integer
from varflow.model.network import Network
from varflow.results import Estimate
from varflow.results.export import CRITERIA, alive_by, late_steps
from varflow.theory.finite_width.chain import SpikeChain
from varflow.theory.finite_width.in_time.drawn import DrawnChain
from varflow.theory.finite_width.in_time.escape import EscapeByStep, escape_by_step, silence

FEW = 10  # deaths in the last layer, below which they are too rare for the networks drawn


def survivors(chain: DrawnChain, alive: str, networks: int, seed: int) -> np.ndarray:
    """Numbers of networks drawn that are alive in each layer, shape (depth,)."""
    counts = np.zeros(len(chain.widths))
    for part, size in enumerate(chain.chunks(networks)):
        for layer, moments in enumerate(chain.layers(size, (seed, part))):
            counts[layer] += alive_by(alive, np.diagonal(moments, axis1=1, axis2=2) > 0).sum()
    return counts


def survival(network: Network, *, alive: str, networks: int = 4000, seed: int = 0) -> Estimate:
    r"""The probability that each layer of a network in time is alive.

    .. math:: M_{l+1} = \frac1n \sum_i s_i s_i^T, \qquad s_i \text{ the spikes under } N(0, \lambda^2 (g^2 M_l + \sigma_b^2))

    Parameters
    ----------
    network : Network
        A plain chain with normal weights of mean 0, any reset with at most one spike per step; driven by normal currents or
        inputs. Layers may differ.
    alive : str
        Which steps of a layer must have spikes: ``"every step"``, ``"every late step"``, ``"a late step"`` (late: the second
        half) or ``"any step"``. They differ by orders of magnitude, so none is the default.
    networks : int
        Networks that are drawn. Where fewer than 10 of them die, ``"every step"`` and ``"every late step"`` of equal layers
        without bias are answered by the reduced chain of each step (:func:`varflow.escape_by_step`, .3 s a step), if its
        error is smaller.
    seed : int

    Returns
    -------
    Estimate
        ``.value`` and ``.error`` of shape (depth,), and ``.method``.

    Raises
    ------
    DomainError
        For other networks; :func:`varflow.simulate` measures them.

    Notes
    -----
    **Assumes** nothing but normal weights: the chain of second moments is exact at any width. A layer is judged by itself:
    with most resets a silent step can spike again. One step is :class:`varflow.SpikeChain`, without error, and step 1 of
    any network is that chain.
    **Accuracy**: ``error`` is binomial, ``√(P(1-P)/networks)``, with one more death and one more survivor. Normal numbers have
    2¹⁶ levels: probabilities of a spike are off by at most 8e-6. Against the tabulated chain of two steps at width 24 within
    3 errors (tested). Of the reduced chain ``error`` is a bound, the probability that any step dies: deaths of "every step" are
    1.3 to 1.7 times the exact ones of two steps, and .65 to 4 times those of 3·10⁴ to 10⁵ networks drawn (9 designs of 4 and 8
    steps, widths 60 to 150); those of "every late step" .3 to 8 times, 15 times where steps revive, as silent first steps
    change the others. For ``"a late step"`` and ``"any step"`` steps must die in turn, which only drawing covers.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=64, depth=20, gain=2.7, neuron=vf.neurons.snntorch_leaky(0.5), steps=8)
    >>> late = vf.survival(network, alive="a late step")
    >>> every = vf.survival(network, alive="every late step")
    >>> print(f"{late.value[-1]:.2f} ± {late.error[-1]:.3f}, {every.value[-1]:.2f}")
    0.99 ± 0.002, 0.29
    """
    choice("alive", alive, CRITERIA)
    networks, seed = integer("networks", networks, minimum=1), integer("seed", seed, minimum=0)
    if instance("network", network, Network).steps == 1:
        value = frozen([law.survival for law in SpikeChain(network).propagate()])
        return Estimate("survival", value, frozen(0 * value), alive, "exact chain of spike counts")
    drawn = drawn_survival(network, alive, networks, seed)
    if networks * (1 - drawn.value[-1]) < FEW and alive.startswith("every") and network.drive.n_inputs == 1:
        with suppress(DomainError):  # unequal layers, biases, steps that are silent at infinite width
            return _of_rare_deaths(escape_by_step(network, points=2**9), drawn)  # ln r to some hundredths
    return drawn


def drawn_survival(network: Network, alive: str, networks: int, seed: int = 0) -> Estimate:
    """The fraction of networks drawn that are alive in each layer."""
    P = survivors(DrawnChain.of(network), alive, networks, seed) / networks
    method = f"{networks} networks drawn from the exact chain"
    return Estimate("survival", frozen(P), frozen(binomial_error(P, networks)), alive, method)


def _of_rare_deaths(found: EscapeByStep, drawn: Estimate) -> Estimate:
    """The survival by the reduced chain of each step, if its error is smaller than that of networks drawn."""
    silent = silence(found)
    error = silent.sum(axis=1)
    if error[-1] > drawn.error[-1]:
        return drawn
    dead = error if drawn.alive == "every step" else silent[:, late_steps(silent.shape[1])].sum(axis=1)
    method = f"reduced chain of each step, since fewer than {FEW} of {drawn.method} died"
    return replace(drawn, value=frozen(1 - dead), error=frozen(error), method=method)


def binomial_error(P: np.ndarray, networks: int) -> np.ndarray:
    """Standard error of a fraction of networks, with one more death and one more survivor."""
    P = (P * networks + 1) / (networks + 2)
    return np.sqrt(P * (1 - P) / networks)
