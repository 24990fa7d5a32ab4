r"""Second moments of the spikes of many inputs in every layer, at infinite width or at the network's own, and the depth whose
spikes a linear readout can use: kernel ridge classification on the Gram matrix of each layer.

.. math:: M(i, j) = E[S_i S_j], \qquad i, j \in (\text{input}, \text{step}), \qquad C = g^2 M + \sigma_b^2

At infinite width each pair of inputs closes, so that a batch too large for one index is walked two parts at a time; a BatchNorm
over the batch needs all of it at once. On maps, averages over positions.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, flag, instance, integer, positive, probability, require, scalar
from varflow._memory import room
from varflow._progress import Progress, Report, beyond, check_progress, reporter
from varflow.model.build import graph_of
from varflow.model.drives import Inputs
from varflow.model.drives import inputs as drive_of_inputs
from varflow.model.network import Network
from varflow.model.signals import has_own_gain
from varflow.results import Kernel, ReadableDepth
from varflow.results.kernel import READOUTS
from varflow.results.profile import spread
from varflow.theory.operations.spike import LONGEST
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.moments import Spikes
from varflow.theory.signals.places import Grid, over_positions, standard_error
from varflow.theory.walks.signals import Blocks, signals_walk

POINTS, SCRAMBLES = 2**12, 8


def kernel(
    network: Network,
    inputs: Any = None,
    *,
    repeats: int | None = None,
    seed: int = 0,
    points: int = POINTS,
    scrambles: int = SCRAMBLES,
    progress: Progress = False,
) -> Kernel:
    r"""Second moments ``M`` of the spikes of every two inputs (and steps), in every layer of neurons.

    .. math:: M_{l+1} = E[S S^T], \quad S \text{ the spikes under currents } N(m_g e,\, g^2 M_l + \sigma_b^2), \qquad
              \text{one step: } M_{ab} = P(u_a > \theta_a,\, u_b > \theta_b)

    With ``repeats`` layers have the network's own width: ``n`` samples of the currents stand for ``n`` neurons.

    Parameters
    ----------
    network : Network
        Any that :func:`varflow.mean_field` covers. Its drive is replaced.
    inputs : array, shape (batch, n_in) or (batch, steps, n_in), maps (batch[, steps], channels, height, width), or a drive
        As for :func:`varflow.drives.inputs`, which an array is given to, with the gain of the network's own inputs or first
        ``Linear`` if it has one, else with currents of variance 1 on average over the batch. A drive has its own gain. By
        default the network's own drive.
    repeats : int, optional
        Networks to sample. By default the kernel is that of infinite width, which is **only an upper bound** on what can be
        read from real networks: their kernels differ from it by O(1/√n) in each entry, and one layer's noise is the next one's
        input. Sampled kernels agree with real ones.
    seed : int
        Of sampled networks, and of quasi-Monte Carlo.
    points, scrambles : int
        Of quasi-Monte Carlo, at infinite width for neurons with a reset over several steps; by default 2¹² and 8.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in layers, or sampled networks.

    Returns
    -------
    Kernel
        ``.moments .error .samples .overlap(layer) .raster_overlap(layer) .to_gram(layer)``.

    Raises
    ------
    DomainError
        For inputs that do not fit the network; for two inputs of more than 2048 steps × positions, or a batch of more that a
        BatchNorm normalises; for kernels larger than the free memory.
    MissingExtraError
        With ``repeats``, without torch.

    Notes
    -----
    **Infinite width**: each pair of inputs closes, so that any number of them can be computed. One step: a bivariate orthant
    per pair, exact to 1e-15 per layer. Several steps without reset: orthants; with
    reset: quasi-Monte Carlo, with ``error``. Equal inputs stay equal; of different ones, inputs whose correlation is within
    rounding of 1 are told apart by rounding, since the map has infinite slope there.

    **Sampled**: given the spikes of a layer, the currents of the next are independent rows of a normal distribution, drawn
    without weight matrices at a cost of ``n B²``: equal in distribution to real networks with normal weights (other weights
    are drawn). Different inputs whose spikes coincide in a whole layer of a narrow network then differ again by ``10⁻⁶ √B``
    standard deviations.

    **Speed**: 1000 inputs and 20 layers take 4 CPU seconds in one step, and 5 per sampled network of width 1000.

    **Assumes** random weights: these are kernels of what layers represent, not of how they train (``jacot2018``).
    **Source**: ``lee2018``, ``matthews2018``, ``cho2009`` for smooth or one-sided units; in time derived here.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> x = np.random.default_rng(0).normal(size=(3, 50))
    >>> kernel = vf.kernel(vf.Network(width=500, depth=20, gain=vf.gain(threshold=1.0)), x)
    >>> kernel.to_gram(20).shape
    (3, 3)
    """
    driven = driven_by(network, inputs)
    repeats = None if repeats is None else integer("repeats", repeats, minimum=1)
    responses = Responses(points, scrambles, seed)
    check_progress(progress)
    different, place = _different(driven)
    size = 8 * driven.depth * ((repeats or 0) + 2) * (driven.drive.n_inputs * driven.steps) ** 2
    room("inputs", driven.drive, size, "second moments of every layer: take fewer inputs, steps, layers or repeats")
    if repeats is None:
        moments, error = second_moments(different, responses, progress)
        error_of_inputs = None if not error.any() else _each(error, place, driven)
        return Kernel(driven, _each(moments, place, driven), error_of_inputs, seed=responses.seed)
    require("torch", "torch")
    from varflow.simulation.kernels import sampled_moments

    samples = _each(sampled_moments(different, repeats=repeats, seed=responses.seed, progress=progress), place, driven)
    return Kernel(driven, samples.mean(axis=0), spread(samples) / np.sqrt(repeats), samples, responses.seed)


def sampled_grams(
    network: Network, *, repeats: int, seed: int, readout: str = "counts", progress: Progress = False
) -> np.ndarray:
    """``Kernel.to_gram`` of every sampled network and layer, shape (repeats, depth, B, B), without moments of all steps."""
    require("torch", "torch")
    from varflow.simulation.kernels import sampled_moments

    room("inputs", network.drive, 16 * repeats * network.depth * network.drive.n_inputs**2, "Gram matrices: take fewer inputs")
    different, place = _different(network)
    grams = sampled_moments(different, repeats=repeats, seed=seed, seen=readout, progress=progress)
    return grams[..., place[:, None], place]


def driven_by(network: Network, inputs: Any) -> Network:
    """The network with these inputs as its drive; without any, with its own."""
    default = instance("network", network, Network).drive
    gain = default.input_gain if isinstance(default, Inputs) and has_own_gain(default) else None
    try:
        drive = default if inputs is None else inputs
        drive = drive if isinstance(drive, Inputs) else drive_of_inputs(inputs, input_gain=gain)
    except DomainError as error:
        raise DomainError("inputs", error.value, error.rule) from None
    return replace(network, drive=drive)


def _different(network: Network) -> tuple[Network, np.ndarray]:
    """The network with each different input once, and the place of every input among them."""
    drive, graph = network.drive, graph_of(network)
    if graph.over_batch:
        return network, np.arange(drive.n_inputs)
    assert isinstance(drive, Inputs)
    rows = drive.x.reshape(drive.n_inputs, -1)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as given
    if len(order) == drive.n_inputs:
        return network, np.arange(drive.n_inputs)
    return with_inputs(network, drive.of_rows(first[order])), np.argsort(order)[place.ravel()]


def with_inputs(network: Network, drive: Inputs) -> Network:
    """The network with other inputs in place of its own; where layers receive the numbers, their gain stays the default."""
    numbers = next(graph_of(network).shapes()).kind == "input"
    return replace(network, drive=replace(drive, input_gain=drive.unit_gain) if numbers else drive)


def _each(moments: np.ndarray, place: np.ndarray, network: Network) -> np.ndarray:
    """Moments (…, inputs × steps, inputs × steps) of every input, in the layout of ``Kernel.moments``."""
    steps, leading = network.steps, moments.shape[:-2]
    if (place != np.arange(len(place))).any():
        index = (place[:, None] * steps + np.arange(steps)).ravel()
        moments = moments[..., index[:, None], index]
    one = (len(place), steps) if steps > 1 else (len(place),)
    return moments.reshape(*leading, *one, *one)


IN_TIME = 512  # inputs × positions × steps walked together without reset: beyond, filtering costs more than the orthants


def second_moments(network: Network, responses: Responses, progress: Progress = False) -> tuple[np.ndarray, np.ndarray]:
    """``M`` of every layer of neurons and its numerical standard error, shape (depth, inputs × steps, inputs × steps)."""
    inputs, steps = network.drive.n_inputs, network.steps
    parts = _parts(network, responses)
    size = inputs * steps
    moments, error = (np.empty((network.depth, size, size)) for _ in range(2))
    walks = list(combinations(parts, 2)) if len(parts) > 1 else [(parts[0],)]
    with reporter(progress, len(walks) * network.depth, "layers") as report:
        for number, some in enumerate(walks):
            together = np.concatenate(some)
            index = (together[:, None] * steps + np.arange(steps)).ravel()
            of_layers = _walked(network, together, responses, beyond(report, number * network.depth))
            for layer, (M, M_error) in enumerate(of_layers):
                moments[layer][np.ix_(index, index)], error[layer][np.ix_(index, index)] = M, M_error
    for array in (moments, error):
        array.flags.writeable = False  # results then hold views, not copies
    return moments, error


def _parts(network: Network, responses: Responses) -> list[np.ndarray]:
    """The inputs in parts, any two of which are walked together."""
    inputs, normalised = network.drive.n_inputs, graph_of(network).over_batch
    entries = network.steps * max(int(np.prod(shape[1:])) for shape in network.shapes)
    sampled = any(responses.samples(neuron, network.steps) for neuron in network.neurons)
    largest = LONGEST if sampled or network.steps == 1 else IN_TIME
    if normalised or inputs * entries <= largest:
        return [np.arange(inputs)]
    return np.array_split(np.arange(inputs), -(-inputs // max(largest // (2 * entries), 1)))


def _walked(network: Network, inputs: np.ndarray, responses: Responses, report: Report) -> list[tuple[np.ndarray, np.ndarray]]:
    blocks = Blocks.of(network, Effort(responses), inputs)
    ((start, batching),) = blocks
    walk = blocks.walk(batching, report, record=_averaged)
    signals_walk(blocks.graph, start, walk)
    return walk.records


def _averaged(state: LayerState, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Mean over replicas, and its standard error, at least that of one sampling point."""
    M = over_positions(Spikes(state.firing_rate, state.second_moments, grid, 1))[1][:, 0]
    mean = M.mean(axis=0)
    root = np.sqrt(np.maximum(np.diagonal(mean), 1.0))
    return mean, standard_error(M, state.point_fraction * np.outer(root, root))


def readable_depth(
    network: Network,
    inputs: Any,
    labels: Any,
    *,
    repeats: int = 4,
    held_out: float = 0.5,
    ridge: float = 1e-3,
    readout: str = "counts",
    infinite_width: bool = False,
    seed: int = 0,
    points: int = POINTS,
    scrambles: int = SCRAMBLES,
    progress: Progress = False,
) -> ReadableDepth:
    r"""The depth at which the held-out accuracy of a linear readout has fallen half way from layer 1's to chance.

    .. math:: \hat y = K_{*}\,(K + r \bar K\, 1)^{-1} Y, \qquad Y_{ac} = \frac{1(a \in c)}{f_c} - 1

    with ``K`` the Gram matrix of a layer, ``K̄`` the mean of its diagonal and ``f_c`` the frequency of class ``c``.

    Parameters
    ----------
    network : Network
        Its drive is replaced by the inputs.
    inputs : array or drive
        As for :func:`varflow.kernel`, ``B`` of them.
    labels : sequence of B values
        The class of each input: numbers, strings or anything that can be sorted. At least two classes, of at least two inputs.
    repeats : int
        Networks to sample, each with its own split; with ``infinite_width`` splits only.
    held_out : float
        Fraction of each class that is predicted, from the rest.
    ridge : float
        ``r > 0``. From 1e-4 to 1e-1 it hardly matters: the gap ``p (1 - ρ*)`` below which no two inputs come acts as a ridge.
    readout : str
        ``counts``, ``raster`` or ``last``, over several steps: see :meth:`varflow.Kernel.to_gram`.
    infinite_width : bool
        Use the kernel of infinite width: **only an upper bound**, which does not agree with real networks.
    seed : int
        Of networks and splits.
    points, scrambles, progress
        As for :func:`varflow.kernel`.

    Returns
    -------
    ReadableDepth
        ``.depth .depth_error .deepest .accuracy .error .chance``.

    Raises
    ------
    DomainError
        For labels of another number than the inputs, of one class only, or a class with one input; else as
        :func:`varflow.kernel`.

    Notes
    -----
    Accuracies are averaged over classes, so that chance is ``1/classes`` and two classes are judged as ten are. Splits keep the
    frequencies of the classes, and the readout is corrected for them: at infinite width, where all inputs become alike, they
    alone would decide in deep layers. On 600 of scikit-learn's digits, 200 of them for training (θ = 1, preserving gain, 4
    networks), depths are 4.33 ± 0.06, 5.19 ± 0.08 and 5.83 ± 0.06 layers at width 1000, 2000 and 4000: less than one layer per
    doubling. At infinite width the accuracy in layer 10 is still 0.90.

    **Assumes** one training of a linear readout on random features; trained weights can carry more. **Accuracy**: sampled
    kernels agree with real networks, within ``depth_error``. **Source**: derived here; ``lee2018`` and ``schoenholz2017`` for
    smooth activations.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> x = rng.normal(size=(3, 40))[labels] + 0.7 * rng.normal(size=(60, 40))
    >>> network = vf.Network(width=200, depth=12, gain=vf.gain(threshold=1.0))
    >>> 1 < vf.readable_depth(network, x, labels).depth < 12
    True
    """
    repeats, seed = integer("repeats", repeats, minimum=1), Responses(points, scrambles, seed).seed
    held_out, ridge = probability("held_out", held_out, open_ends=True), scalar("ridge", positive("ridge", ridge))
    choice("readout", readout, READOUTS)
    infinite, classes = flag("infinite_width", infinite_width), _classes(labels)
    driven = driven_by(network, inputs)
    check_progress(progress)
    if len(classes) != driven.drive.n_inputs:
        raise DomainError("labels", f"{len(classes)} labels", f"must have one for each of the {driven.drive.n_inputs} inputs")
    if infinite:
        computed = kernel(network, inputs, seed=seed, points=points, scrambles=scrambles, progress=progress)
        grams = [[computed.to_gram(layer, readout) for layer in range(1, computed.depth + 1)]] * repeats
    else:
        grams = sampled_grams(driven, repeats=repeats, seed=seed, readout=readout, progress=progress)
    accuracies = []
    for repeat, layers in enumerate(grams):
        test = _split(classes, held_out, np.random.default_rng([seed, 4, repeat]))
        accuracies.append([held_out_accuracy(gram, classes, test, ridge) for gram in layers])
    return ReadableDepth(driven, np.array(accuracies), 1 / (classes.max() + 1), infinite, readout, seed)


def _classes(labels: Any) -> np.ndarray:
    """Classes as numbers from 0."""
    try:
        array = np.asarray(labels)
        _, classes, sizes = np.unique(array, return_inverse=True, return_counts=True)
    except Exception:  # ragged lists, objects that cannot be sorted
        raise DomainError("labels", labels, "must be a sequence of classes: numbers or strings") from None
    if array.ndim != 1 or array.dtype.kind not in "iufbUS" or (array.dtype.kind == "f" and np.isnan(array).any()):
        raise DomainError("labels", labels, "must be a sequence of classes: numbers or strings")
    if len(sizes) < 2 or sizes.min() < 2:
        raise DomainError("labels", labels, "must have at least two classes, of at least two inputs each")
    return classes


def _split(classes: np.ndarray, held_out: float, rng: np.random.Generator) -> np.ndarray:
    """True for inputs that are held out: of each class this fraction, at least one and not all."""
    test = np.zeros(len(classes), bool)
    for members in (np.flatnonzero(classes == one) for one in range(classes.max() + 1)):
        number = min(max(round(held_out * len(members)), 1), len(members) - 1)
        test[rng.permutation(members)[:number]] = True
    return test


def held_out_accuracy(gram: np.ndarray, classes: np.ndarray, test: np.ndarray, ridge: float) -> float:
    """Fraction of held-out inputs recognised, averaged over classes, by kernel ridge regression on ``1(class)/frequency - 1``.

    That estimates ``p(x | class)/p(x) - 1``, so that the frequencies of the classes do not decide where a kernel says little.
    """
    members = np.eye(classes.max() + 1)[classes]
    K, seen = gram[np.ix_(~test, ~test)], members[~test]
    size = np.diagonal(K).mean() or 1.0
    weights = np.linalg.solve(K / size + ridge * np.eye(len(K)), seen / seen.mean(axis=0) - 1)
    guessed = (gram[np.ix_(test, ~test)] / size @ weights).argmax(axis=1)
    right = guessed == classes[test]
    return float(np.mean(members[test].T @ right / members[test].sum(axis=0)))
