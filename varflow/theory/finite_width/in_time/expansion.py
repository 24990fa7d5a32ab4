r"""The series in ``1/n`` over several steps, of deep layers or of each from the drive on; see :func:`varflow.expansion`.

Deep layers have a shift and a variance of second moments of spikes about their fixed point, to first order in ``1/n``. With
``δ`` the deviation of ``M`` from its fixed point, and ``ξ`` the noise of ``n`` neurons, of covariance ``C``,

.. math:: δ' = J δ + \tfrac12 H[δ, δ] + ξ/\sqrt n, \qquad V = J V J^T + C, \qquad c = (1 - J)^{-1} \tfrac12 (H{:}V)

The currents of non-normal weights have a fourth cumulant ``κ g⁴ E[ssss]/n``, which adds ``(κ/3) E[ssss]`` to ``V`` in ``H:V``.
Scrambles are replicas that enter linearly, so that the mean over them has a bias of second order only.

The variance over networks of one linear observable of long runs needs no matrices over pairs of entries: with the response
``J`` of a layer transposed, ``A_{k+1} = Jᵀ A_k``,

.. math:: n \operatorname{Var}\langle A, M \rangle = \sum_{k \ge 0} \operatorname{Var}[s^T A_k s], \qquad
          J^T A = K^T \tfrac12 E[(s^T A s)(e e^T - 1)] K

The noise of ``A_k`` would add to its variance, so each term is the covariance of two estimates from independent points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._display import Shown, Table
from varflow._shared import one_thread
from varflow.model.drive_kinds import SpikeTrains
from varflow.model.network import Network
from varflow.results.export import Exported
from varflow.theory.finite_width.in_time.flow import LayerWeights, flow, weights_between
from varflow.theory.finite_width.in_time.kernels import Trains, changes, curvature, fourth_moments, jacobian, matrix, vector
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import Grid, standard_error
from varflow.theory.threads import in_threads


def stationary(
    weights: LayerWeights, before: np.ndarray, after: np.ndarray, sampling: QuasiMonteCarlo
) -> tuple[np.ndarray, ...]:
    """Fixed point, ``c`` and ``V`` of deep layers by replica, and the multiplier of each step.

    ``before``, ``after``: second moments near the fixed point, and those of the layer above, (replicas, size, size).
    """
    L = weights.factor(before.mean(axis=0))
    unit_changes, replicas = changes(weights.in_innovations(L)), len(before)

    def derivatives(scramble: int) -> tuple[np.ndarray, ...]:
        trains = Trains.at(sampling, L, scramble)
        return jacobian(trains, unit_changes), *noise_and_fourth(trains)

    def bend(scramble: int) -> np.ndarray:
        return curvature(Trains.at(sampling, L, scramble), unit_changes, spread[scramble])

    Js, noise, fourth = map(np.array, zip(*in_threads(derivatives, replicas), strict=True))
    J = Js.mean(axis=0)
    largest = multipliers(J, len(L))
    if largest.max() >= 1:
        raise DomainError("network", weights.neuron, f"has no stable fixed point: a multiplier is {largest.max():.3g}")
    resolvent = np.linalg.inv(np.eye(len(J)) - J)
    other = (Js - J) @ stein(J, noise.mean(axis=0)) @ J.T
    V = stein(J, noise + other + other.swapaxes(-1, -2))
    spread = V + weights.kurtosis / 3 * fourth
    # means over the other replicas: at the same points the noise of V and that of H are correlated
    spread = (spread.sum(axis=0) - spread) / (replicas - 1)
    bends = np.array(in_threads(bend, replicas))
    c = (bends + (Js - J) @ (resolvent @ bends.mean(axis=0))) @ resolvent.T
    return before + matrix(vector(after - before) @ resolvent.T), c, V, largest


def along_layers(
    sampling: QuasiMonteCarlo, factors: list[np.ndarray], weights: list[LayerWeights], widths: list[int]
) -> list[tuple[np.ndarray, ...]]:
    """``c`` and ``V`` of every layer, (replicas, entries[, entries]), from the factors of the currents into each."""
    entries = len(vector(factors[0]))

    def one(scramble: int) -> list[tuple[np.ndarray, ...]]:
        shift, (spread, below), found = np.zeros(entries), np.zeros((2, entries, entries)), []
        for layer, (L, n) in enumerate(zip(factors, widths, strict=True)):
            # other points in each layer, whose noise is independent of that of the covariance so far
            trains = Trains.at(sampling, L, (scramble + layer) % len(sampling.normals), layer)
            if layer:
                into = weights[layer - 1]
                unit_changes = changes(into.in_innovations(L))
                J = jacobian(trains, unit_changes)
                shift = J @ shift + curvature(trains, unit_changes, spread + into.kurtosis / 3 * below)
                spread = J @ spread @ J.T
            noise, below = (each / n for each in noise_and_fourth(trains))
            spread = spread + noise
            found.append((n * shift, n * spread))
        return found

    by_layer = zip(*in_threads(one, len(sampling.normals)), strict=True)
    return [tuple(map(np.array, zip(*layer, strict=True))) for layer in by_layer]


def noise_and_fourth(trains: Trains) -> tuple[np.ndarray, np.ndarray]:
    """``C = Cov[s sᵀ]`` and ``E[ssss]`` over entries."""
    F, fourth = vector(trains.second_moments), fourth_moments(trains)
    return fourth - np.outer(F, F), fourth


def stein(J: np.ndarray, C: np.ndarray) -> np.ndarray:
    """``V = J V Jᵀ + C``, by doubling; C of shape (…, entries, entries)."""
    V, step = C, C
    while np.abs(step).max() > 1e-15 * np.abs(V).max():
        step = J @ V @ J.T
        V, J = V + step, J @ J
    return V


def multipliers(J: np.ndarray, size: int) -> np.ndarray:
    """Largest modulus of the eigenvalues of each step's block."""
    ends = np.cumsum(np.arange(size + 1))
    blocks = (slice(*pair) for pair in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    return np.array([np.abs(np.linalg.eigvals(J[of, of])).max() for of in blocks])


NEGLIGIBLE = 1e-3  # of the sum: later layers add no more than a few times this
MOST = 60  # layers


def variance_over_networks(weights: LayerWeights, M: np.ndarray, sampling: QuasiMonteCarlo, A: np.ndarray) -> np.ndarray:
    """``n Var⟨A, M⟩`` of deep layers, by replica; ``A`` symmetric."""
    L = weights.factor(M)
    K, number = weights.in_innovations(L), len(sampling.normals)
    observables = [A] * number
    total = np.zeros(number)

    def one(scramble: int, layer: int) -> tuple[float, np.ndarray]:
        trains = Trains.at(sampling, L, scramble, layer)
        others = (observables[(scramble + shift) % number] for shift in (1, 2))
        one, other = (np.einsum("tp,tp->p", trains.spikes, _weights(trains, A)) for A in others)
        return float(np.mean(one * other) - one.mean() * other.mean()), K.T @ _response(trains, observables[scramble]) @ K

    for layer in range(MOST):
        terms, observables = zip(*in_threads(partial(one, layer=layer), number), strict=True)
        total += terms
        if abs(np.mean(terms)) < NEGLIGIBLE * total.mean():
            break
    return total


def _weights(trains: Trains, A: np.ndarray) -> np.ndarray:
    """``w_t = 2 Σ_{s<t} A_ts S_s + A_tt``, with which ``sᵀ A s = Σ_t S_t w_t``."""
    return 2 * np.tril(A, -1) @ trains.spikes + np.diagonal(A)[:, None]


def _response(trains: Trains, A: np.ndarray) -> np.ndarray:
    """``½ E[(sᵀ A s)(e eᵀ - 1)]``, each newest innovation averaged exactly."""
    e, w, (Q, phi, first, *_) = trains.innovations, _weights(trains, A), trains.newest
    spiking = w * Q
    later = np.cumsum(spiking[::-1], axis=0)[::-1] - spiking
    above = np.triu(e @ (later * e + w * phi).T, 1)
    own = np.einsum("tp,tp->t", later, e**2 - 1) + np.einsum("tp,tp->t", w, first)
    return (above + above.T + np.diag(own)) / (2 * e.shape[1])


LARGEST_PARAMETER = 0.25  # above, the first correction is half the leading term and more terms do not help
DEPTH, WINDOW = 48, 16  # layers that are followed, and of these the last, which are averaged
WHOLE = 24  # inputs × steps whose pairs are all followed: the work grows as their fourth power
SETTLED = slice(8, 16)  # steps whose mean stands for those beyond: settled, and with less noise than later ones


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TemporalExpansion(Exported, Shown):
    """Second moments ``M = (1/n) Σ s sᵀ`` of the spikes of a wide network over several steps, to first order in ``1/n``.

    Arrays are over an index ``i = (input, step)``. With ``per_layer`` the first axis is the layer.

    Attributes
    ----------
    network : Network
    fixed_point : ndarray, shape (i, i)
        ``M*``, at infinite width; with ``per_layer`` the ``M`` of each layer there.
    mean_coefficients, variance_coefficients : ndarray, shape (i, i)
        ``E[M] = M* + mean_coefficients/n``, and ``Var[M] = variance_coefficients/n`` over networks: of firing rates on the
        diagonal, else of overlaps. NaN for overlaps beyond step 24 of long runs.
    second_moments : ndarray, shape (i, i)
        ``E[M]`` at the width of the network.
    firing_rate, firing_rate_std : ndarray, shape (i,)
        Mean and standard deviation over networks.
    late_rate, late_rate_std : float
        Of the rate averaged over the late steps and all inputs.
    late_coefficients : ndarray, shape (2,)
        ``n`` times the shift of the mean late rate, and ``n`` times its variance over networks.
    small_parameter : ndarray, shape (i,)
        ``max(4c²/(n v), 1/(n p (1 - p)))`` of each step, with ``c`` and ``v`` the coefficients of its rate ``p``.
    multipliers : ndarray, shape (i,), optional
        Of a deviation in step ``i`` from layer to layer at the fixed point; not ``per_layer``.
    error : dict of ndarray
        Standard errors, from the scatter of independent scrambles, by quantity.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=300, depth=2, gain=2.8, neuron=vf.neurons.snntorch_leaky(0.5), steps=2)
    >>> found = vf.expansion(network, points=2**10)
    >>> f"{found.late_rate:.2f} ± {found.late_rate_std:.3f}"
    '0.20 ± 0.028'
    """

    network: Network
    fixed_point: np.ndarray
    mean_coefficients: np.ndarray
    variance_coefficients: np.ndarray
    second_moments: np.ndarray
    firing_rate: np.ndarray
    firing_rate_std: np.ndarray
    late_rate: Any
    late_rate_std: Any
    late_coefficients: np.ndarray
    small_parameter: np.ndarray
    multipliers: np.ndarray | None
    error: dict[str, np.ndarray]

    def _table(self) -> Table:
        if self.multipliers is None:
            name, small = "layer", self.small_parameter.max(axis=-1)
            columns = self.late_rate, self.late_rate_std, *self.late_coefficients.T, small
        else:
            name, coefficients = "step", map(_rates, (self.mean_coefficients, self.variance_coefficients))
            columns = self.firing_rate, self.firing_rate_std, *coefficients, self.small_parameter
        rows = [(str(i), *map("{:.4g}".format, row)) for i, row in enumerate(zip(*columns, strict=True), 1)]
        header = (name, "late rate" if name == "layer" else "firing rate", "std", "n shift", "n variance", "small parameter")
        return Table(f"TemporalExpansion of {self.network!r}", rows, header)


def temporal_expansion(network: Network, per_layer: bool, responses: Responses) -> TemporalExpansion:
    """The series over several steps, of deep layers or ``per_layer``."""
    weights, size = weights_between(network), network.drive.n_inputs * network.steps
    if size > WHOLE and (per_layer or network.drive.n_inputs > 1):
        raise DomainError(
            "steps", network.steps, f"must be at most {WHOLE}/inputs for a series of each layer or of several inputs"
        )
    with one_thread():  # scrambles are in threads
        return (_of_layers if per_layer else _of_deep_layers)(network, weights, responses)


def _of_layers(network: Network, weights: list[LayerWeights], responses: Responses) -> TemporalExpansion:
    start, layers = flow(network, responses)
    if not isinstance(start, Currents) or isinstance(network.drive, SpikeTrains):
        raise DomainError("drive", network.drive, "must send Gaussian currents, or be made by vf.drives.inputs")
    drive = network.neuron.input_scale**2 * start.covariance[0, 0]
    factors = [weights[0].factor_of(drive)]
    factors += [into.factor(M.mean(axis=0)) for into, M in zip(weights, layers[:-1], strict=True)]
    found = along_layers(_sampling(network, len(drive), responses), factors, weights, network.widths.tolist())
    return _described(network, network.widths, *(np.stack(each, axis=1) for each in (layers, *zip(*found, strict=True))))


def _of_deep_layers(network: Network, weights: list[LayerWeights], responses: Responses) -> TemporalExpansion:
    if len(set(network.gains[1:].tolist())) > 1 or len(set(network.widths.tolist())) > 1:
        raise DomainError("network", network, "has layers that differ: give per_layer=True")
    n = int(network.widths[0])
    layers = flow(replace(network, depth=DEPTH, width=n, gain=float(network.gains[-1])), responses)[1][-WINDOW - 1 :]
    before, after = np.mean(layers[:-1], axis=0), np.mean(layers[1:], axis=0)
    size, whole = after.shape[-1], min(after.shape[-1], WHOLE)
    some = before[:, :whole, :whole], after[:, :whole, :whole]
    M, *coefficients = stationary(weights[0], *some, _sampling(network, whole, responses))
    late_v = None
    if size > whole:
        M, observable = after, np.diag(_late(network, size))
        late_v = variance_over_networks(weights[0], M.mean(axis=0), _sampling(network, size, responses), observable)
    return _described(network, n, M, *coefficients, late_v=late_v)


def _sampling(network: Network, size: int, responses: Responses) -> QuasiMonteCarlo:
    steps = min(network.steps, size)
    return responses.sampling(network.neuron, Grid(size // steps, 1, 1, steps))


def _late(network: Network, size: int) -> np.ndarray:
    """Weights of the rates in the late rate."""
    late = np.arange(size) % network.steps >= network.steps // 2
    return late / late.sum()


def _described(
    network: Network, widths: Any, M: np.ndarray, c: np.ndarray, V: np.ndarray, multipliers: Any = None, late_v: Any = None
) -> TemporalExpansion:
    """The result, from second moments and their coefficients by replica (and layer)."""
    size, n = M.shape[-1], np.asarray(widths, dtype=float)[..., None]
    shift, variance = (_extended(matrix(x), size) for x in (c, np.diagonal(V, 0, -2, -1)))
    late = _late(network, size)
    if late_v is None:
        rates = np.cumsum(np.arange(1, size + 1)) - 1  # their places among the entries
        late_v = V[..., rates[:, None], rates] @ late @ late
    replicas = {
        "fixed_point": M,
        "mean_coefficients": shift,
        "variance_coefficients": variance,
        "second_moments": M + shift / n[..., None],
        "late_coefficients": np.stack([_rates(shift) @ late, late_v], axis=-1),
    }
    mean = {name: values.mean(axis=0) for name, values in replicas.items()}
    p, std = _rates(mean["fixed_point"]), np.sqrt(_rates(mean["variance_coefficients"]) / n)
    small = np.maximum((2 * _rates(mean["mean_coefficients"]) / n / std) ** 2, 1 / (n * p * (1 - p)))
    _check(network, small, n)
    rate = _rates(mean["second_moments"])
    return TemporalExpansion(
        network,
        **mean,
        firing_rate=rate,
        firing_rate_std=std,
        late_rate=rate @ late,
        late_rate_std=np.sqrt(mean["late_coefficients"][..., 1] / n[..., 0]),
        small_parameter=small,
        multipliers=multipliers,
        error={name: standard_error(values) for name, values in replicas.items()},
    )


def _rates(moments: np.ndarray) -> np.ndarray:
    return np.diagonal(moments, 0, -2, -1)


def _extended(values: np.ndarray, size: int) -> np.ndarray:
    """Coefficients (…, steps, steps) of more steps: those of rates settle, those of overlaps are left open."""
    known = values.shape[-1]
    if size == known:
        return values
    longer, later = np.full((*values.shape[:-2], size, size), np.nan), np.arange(known, size)
    longer[..., :known, :known] = values
    longer[..., later, later] = _rates(values)[..., SETTLED].mean(axis=-1, keepdims=True)
    return longer


def _check(network: Network, small: np.ndarray, n: np.ndarray) -> None:
    """DomainError where the series is of no use, with the width that is needed."""
    if small.max() >= LARGEST_PARAMETER:
        *layer, i = np.unravel_index(np.argmax(small), small.shape)
        place = f"step {i % network.steps + 1}" + "".join(f" of layer {l + 1}" for l in layer)
        rule = (
            f"is too small for a series in 1/n: the small parameter of {place} is {small.max():.3g}, below {LARGEST_PARAMETER}"
        )
        needed = f"only above {(small * n).max() / LARGEST_PARAMETER:.0f} neurons; use vf.simulate(network)"
        raise DomainError("width", network.width, f"{rule} {needed}")
