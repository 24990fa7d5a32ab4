"""The depth whose spikes a linear readout can use: kernel ridge classification on the Gram matrix of each layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, flag, integer, positive, probability, scalar
from varflow._progress import Progress, check_progress
from varflow.kernels.kernel import POINTS, SCRAMBLES, driven_by, kernel, sampled_grams
from varflow.model.network import Network
from varflow.results import ReadableDepth
from varflow.results.kernel import READOUTS
from varflow.theory.responses.neurons import Responses


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
