"""Structures in which a plain network would learn more, and what helps one that forgets: theory of a chain of its neurons, with
one thing changed, and normalisation for convolutions, which is measured.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import nan, sqrt

import numpy as np

from varflow._checks import ConvergenceError, DomainError
from varflow.kernels.trainability import trainability
from varflow.model.layers import Linear, Residual, Spike
from varflow.model.network import Network
from varflow.model.over_neurons import mean_of
from varflow.results.learning import Learning
from varflow.torch_models.tracing.modules import surrogate_of_module
from varflow.torch_models.tracing.traced import Trace

POINTS, SCRAMBLES = 2**9, 2
WIDTH = 100
SHORTCUT = sqrt(0.5)  # gain of a branch, that of the hidden layers being 1, which keeps rates near 0.2 over 50 layers


def with_remedies(learning: Learning, traced: Trace, gains: list[float]) -> Learning:
    """The verdict on a network of layers with these gains, with what would help it, best first."""
    if learning.structure != "plain":
        return learning
    if any(weight.weight.dim() > 2 for layer in traced.layers for weight in layer.weights):
        return replace(learning, remedies={"batch normalisation between its convolutions and neurons": nan})
    hidden = next((layer for layer in traced.layers if not layer.driven and layer.neuron is not None), None)
    surrogate = None if hidden is None else surrogate_of_module(hidden.module)
    if learning.shallow or hidden is None or surrogate is None:
        return learning
    spike, gain = Spike(hidden.neuron), float(np.nanmedian(gains))  # NaN for layers without weights of their own
    branch = SHORTCUT * mean_of(hidden.neuron.threshold)
    plain = [spike, *[Linear(gain=gain), spike] * (learning.depth - 1)]
    shortcuts = [*[Residual(spike, Linear(gain=branch))] * (learning.depth - 1), spike]
    tried = {"a shortcut of currents around every layer": (shortcuts, traced.steps, surrogate)}
    if learning.verdict != "learns":
        tried["a surrogate twice as wide"] = plain, traced.steps, surrogate.widened(2 * surrogate.width)
        tried[f"{2 * traced.steps} steps"] = plain, 2 * traced.steps, surrogate
    found = {}
    for remedy, (layers, steps, psi) in tried.items():
        with suppress(ConvergenceError, DomainError):
            network = Network(width=WIDTH, steps=steps, layers=layers)
            found[remedy] = trainability(network, psi, points=POINTS, scrambles=SCRAMBLES).reach
    better = {remedy: layers for remedy, layers in found.items() if layers > learning.reach}
    return replace(learning, remedies=dict(sorted(better.items(), key=lambda each: -each[1])))
