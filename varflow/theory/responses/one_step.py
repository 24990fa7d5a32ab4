"""One step of neurons that spike at most once, at several sequences: bivariate orthants of all pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from varflow.model.distributions import distribution
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.theory.layer import standardised_threshold
from varflow.theory.responses.bivariate_tail import orthant
from varflow.theory.responses.layer_state import LayerState, mixed
from varflow.theory.responses.orthants import within
from varflow.theory.responses.stepping import MEMBERS, averaging_error
from varflow.theory.signals.shared_scale import SharedScale


def one_step(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, shared: SharedScale | None = None) -> LayerState:
    r"""One step of neurons that spike at most once, at several sequences.

    .. math:: e_i = Q(h_i), \qquad M_{ij} = P(H_i > \theta, H_j > \theta) = L(h_i, h_j; \rho_{ij}), \qquad
              h_i = (\theta - \mu_i)/\sigma_i

    ``shared``: by which the currents were divided; ``h`` is then the threshold above which equally many normal ones lie.
    """
    variance, size = np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0), mean.shape[-1]
    if size == 1 and shared is None:
        rate = _rate(neuron, mean, variance)
        return LayerState(variance, mean, rate, rate[..., None])
    if neuron.heterogeneous:
        memoryless = replace(neuron, decay=0.0)
        members = memoryless.members(MEMBERS)
        state = mixed([(weight, one_step(member, mean, covariance, shared)) for weight, member in members])
        return replace(state, point_fraction=averaging_error(memoryless))
    h = standardised_threshold(neuron.threshold, mean, variance, neuron.strict)
    h, std = within(h if shared is None else shared.passed(h)), np.sqrt(variance)
    rate = ndtr(-h)
    own = np.arange(size)
    M = rate[..., :, None] * rate[..., None, :]
    M[..., own, own] = rate
    i, j = np.triu_indices(len(own), 1)
    between = covariance[..., i, j]
    if between.any():  # else independent
        both = std[..., i] * std[..., j]
        rho = np.clip(np.divide(between, both, out=np.zeros(both.shape), where=both > 0), -1, 1)
        M[..., i, j] = M[..., j, i] = orthant(h[..., i], h[..., j], rho)
    return LayerState(variance, mean, rate, M)


def _rate(neuron: Neuron, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """``P(H > θ)``, averaged over neurons."""
    if not isinstance(neuron.threshold, OverNeurons):
        return distribution("normal").sf(standardised_threshold(neuron.threshold, mean, variance, neuron.strict))
    mean, rate = np.broadcast_to(mean, variance.shape), np.zeros(variance.shape)
    for which, values, weights in neuron.threshold.rules_for(np.sqrt(variance)):
        h = standardised_threshold(values, mean[which], variance[which], neuron.strict)
        rate[which] += distribution("normal").sf(h) @ weights
    return rate
