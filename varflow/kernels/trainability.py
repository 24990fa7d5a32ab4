"""Contrast of gradients between similar and different inputs: that of the surrogate neural tangent kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, flag, instance
from varflow.kernels.kernel import driven_by
from varflow.model.build import graph_of
from varflow.model.drives import ConstantCurrents, Inputs
from varflow.model.graph import covered
from varflow.model.network import Network
from varflow.model.surrogates import surrogate_of
from varflow.results import Trainability
from varflow.results.profile import spread
from varflow.theory.operations.visit import Effort, WayBack
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.gradients import readout
from varflow.theory.walks.gradients import gradients_walk
from varflow.theory.walks.signals import Blocks, signals_walk


def trainability(
    network: Network,
    surrogate: Any = "atan",
    inputs: Any = None,
    *,
    detach_reset: bool | None = None,
    points: int = 2**11,
    scrambles: int = 8,
    seed: int = 0,
) -> Trainability:
    r"""Contrast with which gradients of a network tell a similar input from a different one, at infinite width.

    .. math:: \text{contrast} = \frac{K_{01} - K_{02}}{K_{00}}, \qquad
              K_{ab} = \sum_l \frac{\Theta^l_{ab}}{\sqrt{\Theta^l_{00}}}, \qquad
              \Theta^l_{ab} = n_l n_{l-1} \sum_{tt'} G^\delta_{l,ab}(t, t')\, M_{l-1,ab}(t, t')

    The norms of layers enter as under Adam, which divides by them.

    Parameters
    ----------
    network : Network
        With at least one layer with weights. A readout common to all inputs and steps, ``Σ_t v·x_t``, follows its last layer.
    surrogate : str, Surrogate or callable
        ``ψ``, as for :func:`varflow.gradient_flow`.
    inputs : array of three inputs, optional
        One, a similar one and a different one, as for :func:`varflow.kernel`. By default inputs of equal norm, of the strength
        and shape of the network's drive (currents or inputs), whose cosines with the first are 0.8 and 0.4.
    detach_reset, points, scrambles, seed
        As in :func:`varflow.gradient_flow`.

    Returns
    -------
    Trainability

    Raises
    ------
    DomainError
        For values outside their domain, drives without inputs, normalisation over a batch, and as
        :func:`varflow.gradient_flow`.

    Notes
    -----
    To compare designs of plain networks, whose gradients must both arrive and differ between inputs; not a prediction of
    accuracy. Very wide surrogates have a high contrast although gradients explode, as :func:`varflow.gradient_flow` shows. Over
    48 trained networks of width 100 its rank correlation with their accuracy was 0.73 (95 %: 0.52 to 0.86); it knows nothing of
    networks that fall silent at their finite width (``docs/training.md``).

    **Assumes** infinite width, at initialisation; input weights that are not a layer of the network are left out.
    **Accuracy**: ``error``; tested against autograd through real networks.
    **Source**: ``eilers2024`` for the kernel of surrogates; ``jacot2018``; in time derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> def contrast(slope, depth):
    ...     network = vf.Network(width=1000, depth=depth, gain=2.86, neuron=vf.neurons.snntorch_leaky(0.5), steps=4)
    ...     return round(vf.trainability(network, vf.surrogates.fast_sigmoid(slope)).contrast, 2)
    >>> contrast(1.4, 5) > contrast(25, 5), contrast(1.4, 5) > contrast(1.4, 10)
    (True, True)
    """
    psi, responses = surrogate_of(surrogate), Responses(points, scrambles, seed)
    drawn = inputs if inputs is not None else _three(instance("network", network, Network), seed)
    asked = driven_by(network, drawn)
    drive = asked.drive
    if drive.n_inputs != 3:
        raise DomainError(
            "inputs", f"array of {drive.n_inputs} inputs", "must be three: one, a similar one and a different one"
        )
    if graph_of(network).over_batch:
        raise DomainError("network", network, "normalises over a batch: gradients of a common readout are not covered then")
    overlaps = _overlaps(drive, network.steps)
    blocks = Blocks.of(asked, Effort(responses), np.arange(3))
    covered(blocks.graph.behind_last, "backward")
    ((start, batching),) = blocks
    walk = blocks.walk(batching)
    visits = signals_walk(blocks.graph, start, walk, keep=True)
    way = WayBack(walk, lambda _: psi, None if detach_reset is None else flag("detach_reset", detach_reset))
    gradients_walk(visits, {visits[-1].node_number: readout(visits[-1].sent, "shared", same_for_inputs=True)}, way)
    if not way.weights:
        raise DomainError("network", network, "must have a layer with weights")
    theta = np.stack([each[:, 0] for each in reversed(way.weights)], axis=1)  # (replicas, layers, 3, 3)
    if not (np.diagonal(theta, axis1=-2, axis2=-1) > 0).all():
        raise DomainError("surrogate", psi, "lets no gradient of some input reach a layer with weights")
    contrasts, correlations = _contrast(theta), _correlations(theta)
    error = {"contrast": spread(contrasts), "correlations": spread(correlations)}
    return Trainability(
        asked,
        str(psi),
        float(_contrast(theta.mean(axis=0))),
        _correlations(theta.mean(axis=0)),
        np.sqrt(theta[..., 0, 0].mean(axis=0)),
        overlaps,
        {name: values / np.sqrt(len(theta)) for name, values in error.items()},
    )


def _overlaps(drive: Any, steps: int) -> np.ndarray:
    """Cosines of the first input with the others; DomainError for an input that is 0, or two that are equal."""
    x = drive.frames(steps).reshape(3, -1)
    size = np.linalg.norm(x, axis=1)
    # inputs so close are told apart by sampling errors
    if not size.all() or np.any(np.linalg.norm(x - x[[1, 2, 0]], axis=1) < 1e-3 * size):
        raise DomainError("inputs", x, "must differ from each other and from 0")
    return x[1:] @ x[0] / (size[1:] * size[0])


def _contrast(theta: np.ndarray) -> np.ndarray:
    """Contrast of the gradient kernel ``Θ`` (…, layers, 3, 3)."""
    K = (theta / np.sqrt(theta[..., :1, :1])).sum(axis=-3)
    return (K[..., 0, 1] - K[..., 0, 2]) / K[..., 0, 0]


def _correlations(theta: np.ndarray) -> np.ndarray:
    """Correlations of the first input with the others, (…, layers, 2)."""
    norms = np.diagonal(theta, axis1=-2, axis2=-1)
    return theta[..., 0, 1:] / np.sqrt(norms[..., :1] * norms[..., 1:])


def _three(network: Network, seed: int) -> Inputs:
    """Inputs of equal norm with the default cosines, in the strength and shape of the network's drive."""
    drive = network.drive
    if isinstance(drive, ConstantCurrents):
        x, scale, shape = np.eye(2), drive.std * np.sqrt(2), None
    elif isinstance(drive, Inputs) and drive.fan_in > 1:
        x = np.linalg.qr(np.random.default_rng(seed).normal(size=(drive.fan_in, 2))).Q.T
        x, scale, shape = x * np.sqrt(drive.fan_in * np.mean(drive.x**2)), drive.input_gain, drive.shape
    else:
        raise DomainError("network", network, "has a drive without inputs of several numbers: give three inputs")
    return Inputs(np.stack([c * x[0] + np.sqrt(1 - c**2) * x[1] for c in (1.0, 0.8, 0.4)]), float(scale), shape)
