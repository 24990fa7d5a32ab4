"""Surrogate neural tangent kernel of similar and different inputs: contrast of gradients, and their persistence past a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, flag, instance, real_number
from varflow.kernels.kernel import driven_by, with_inputs
from varflow.model.build import graph_of
from varflow.model.drives import ConstantCurrents, Inputs
from varflow.model.graph import covered
from varflow.model.network import Network
from varflow.model.surrogates import surrogate_of
from varflow.results import Trainability
from varflow.results.profile import spread
from varflow.theory.operations.visit import Effort, Visit, WayBack
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.gradients import readout
from varflow.theory.signals.moments import Spikes
from varflow.theory.signals.places import over_positions
from varflow.theory.walks.gradients import gradients_walk
from varflow.theory.walks.signals import Blocks, signals_walk

FIRST_STEP = 0.015  # direct change of layer 1's currents by a first step of Adam on digits, in their standard deviation
DIFFERENT = 0.4  # cosine of the different input with the first
ERRORS = 2  # of a ratio of persistences, added before the smallest is taken
ALIKE = 1e-3  # relative distance below which sampling errors tell inputs apart
SILENT = 0.01  # spikes per input: below, a batch of a hundred has none
TINY = 1e-150


def trainability(
    network: Network,
    surrogate: Any = "atan",
    inputs: Any = None,
    *,
    direct: float = FIRST_STEP,
    detach_reset: bool | None = None,
    points: int = 2**13,
    scrambles: int = 8,
    seed: int = 0,
) -> Trainability:
    r"""Contrast of gradients between a similar and a different input, and how much of them a step leaves, at infinite width.

    .. math:: \text{contrast} = \frac{K_{01} - K_{02}}{K_{00}}, \qquad
              K_{ab} = \sum_l \frac{\Theta^l_{ab}}{\sqrt{\Theta^l_{00}}}, \qquad
              \Theta^l_{ab} = n_l n_{l-1} \sum_{tt'} G^\delta_{l,ab}(t, t')\, M_{l-1,ab}(t, t')

    The sum over layers is that of Adam, which divides gradients by their norm. A step of the optimiser moves the currents of
    layer 1 by a small part ``d`` of their standard deviation. However small it is, spikes of deep layers flip, as if the input
    were another one. With ``0'`` the first input moved by ``d``, the persistence of a layer is the cosine between the gradients
    by its weights before and after the step,

    .. math:: k_l = \frac{\Theta^l_{00'}}{\sqrt{\Theta^l_{00} \Theta^l_{0'0'}}}

    Parameters
    ----------
    network : Network
        With at least one layer with weights. A readout common to all inputs and steps, ``Σ_t v·x_t``, follows its last layer.
    surrogate : str, Surrogate or callable
        ``ψ``, as for :func:`varflow.gradient_flow`.
    inputs : array of three inputs, optional
        One, a similar one and a different one, as for :func:`varflow.kernel`. By default inputs of equal norm, of the strength
        and shape of the network's drive (currents or inputs): the similar one is the first moved by ``direct``, the different
        one has a cosine of 0.4 with it.
    direct : float
        ``d``, from 0.001 to 1: 0.015 is that of Adam's first step on small images. Above five layers it hardly matters.
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
    accuracy. Persistence is what ends the depth of plain networks: below the readout it falls by a factor ``q`` per layer that
    neither learning rate nor width change, ``persistence_depth = -1/ln q`` layers. **It does not compare across structures**:
    networks with BatchNorm in train mode have almost none and train ten layers; behind shortcuts it returns with a smaller
    step. Very wide surrogates have a high contrast and persistence although gradients explode, as
    :func:`varflow.gradient_flow` shows.

    **Silence**: weights that receive less than one spike in a hundred inputs, ``n Σ_t E[x_t] < 0.01``, and those that no
    gradient reaches, have no persistence (NaN), nor has any layer of a network that sends less. In the mean over layers,
    ``mean_persistence``, and in the contrast they count as 0, so that networks can be ranked.

    **Assumes** infinite width, at initialisation; input weights that are not a layer of the network are left out; of the step,
    its effect on layer 1 only, of which deep layers of plain networks keep no trace. **Behind shortcuts persistence is an upper
    bound**, since a step also changes what the readout asks for: .94, .85, .72 and .47 in 5, 10, 20 and 50 layers, measured
    .84, .70, .49 and .02 in a pilot whose runs are not in the repository.
    **Accuracy**: ``error``; tested against autograd through real networks. Persistence against that pilot's networks of width
    100 and one step of Adam on Fashion-MNIST (plain, snnTorch's neuron, rate 0.2, 4 steps, mean over layers): .48 | .51 ± .07
    (5 layers, atan), .16 | .16 ± .03 (10), .10 | .09 ± .04 (15), .07 | .05 ± .01 (20), .40 | .42 ± .04 (10, fast_sigmoid(1)).
    Over 48 trained networks of width 100 the rank correlation with accuracy was .79 for the contrast and .69 for persistence,
    .60 and .50 given the depth, which alone has .82; ten of them are silent, on which this hangs: without them .90 and .89.
    **Source**: ``eilers2024`` for the kernel of surrogates; ``jacot2018``; in time, and persistence, derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> def contrast(slope, depth):
    ...     network = vf.Network(width=1000, depth=depth, gain=2.86, neuron=vf.neurons.snntorch_leaky(0.5), steps=4)
    ...     return round(vf.trainability(network, vf.surrogates.fast_sigmoid(slope)).contrast, 2)
    >>> contrast(1.4, 5) > contrast(25, 5), contrast(1.4, 5) > contrast(1.4, 10)
    (True, True)
    >>> network = vf.Network(width=1000, depth=20, gain=2.51, neuron=vf.Neuron(1.0))
    >>> f"{vf.trainability(network, 'atan').persistence_depth:.1f} layers"
    '1.2 layers'
    """
    psi, responses = surrogate_of(surrogate), Responses(points, scrambles, seed)
    step = real_number("direct", direct)
    if not ALIKE <= step <= 1:
        raise DomainError("direct", direct, f"must lie between {ALIKE:g}, below which inputs are not told apart, and 1")
    drawn = inputs if inputs is not None else _three(instance("network", network, Network), step, seed)
    asked = driven_by(network, drawn)
    if asked.drive.n_inputs != 3:
        raise DomainError(
            "inputs", f"array of {asked.drive.n_inputs} inputs", "must be three: one, a similar one and a different one"
        )
    if graph_of(network).over_batch:
        raise DomainError("network", network, "normalises over a batch: gradients of a common readout are not covered then")
    overlaps = _overlaps(asked.drive, network.steps)
    driven = asked if inputs is None else _with_moved(asked, step, seed)
    blocks = Blocks.of(driven, Effort(responses), np.arange(driven.drive.n_inputs))
    covered(blocks.graph.behind_last, "backward")
    ((start, batching),) = blocks
    walk = blocks.walk(batching)
    visits = signals_walk(blocks.graph, start, walk, keep=True)
    way = WayBack(walk, lambda _: psi, None if detach_reset is None else flag("detach_reset", detach_reset))
    gradients_walk(visits, {visits[-1].node_number: readout(visits[-1].sent, "shared", same_for_inputs=True)}, way)
    if not way.weights:
        raise DomainError("network", network, "must have a layer with weights")
    theta = np.stack([each[:, 0] for each in reversed(way.weights)], axis=1)  # (replicas, layers, inputs, inputs)
    norms = np.sqrt(theta[..., 0, 0].mean(axis=0))
    theta[:, ~_firing(visits)] = 0.0
    moved = 1 if inputs is None else 3
    with np.errstate(divide="ignore", invalid="ignore"):
        answers = _answers(theta.mean(axis=0), moved)
        each = [_answers(one, moved) for one in theta]
        error = {name: spread(np.array([one[name] for one in each])) / np.sqrt(len(theta)) for name in answers}
        depth, error["persistence_depth"] = _depth(answers.pop("ratio"), error.pop("ratio"))
    return Trainability(asked, str(psi), norms=norms, overlaps=overlaps, persistence_depth=depth, error=error, **answers)


def _answers(theta: np.ndarray, moved: int) -> dict[str, Any]:
    """Contrast, correlations with the other inputs and persistence, from ``Θ`` (layers, inputs, inputs)."""
    K = np.nan_to_num(theta / np.sqrt(theta[:, :1, :1])).sum(axis=0)
    persistence = _cosines(theta, moved)
    return {
        "contrast": float(np.nan_to_num((K[0, 1] - K[0, 2]) / K[0, 0])),
        "correlations": np.stack([_cosines(theta, 1), _cosines(theta, 2)], axis=1),
        "persistence": persistence,
        "mean_persistence": float(np.nan_to_num(persistence).mean()),
        "ratio": persistence[:-1] / persistence[1:],
    }


def _cosines(theta: np.ndarray, other: int) -> np.ndarray:
    """Correlation of the first input's gradients with another's, in every layer; NaN without gradients."""
    return theta[:, 0, other] / np.sqrt(theta[:, 0, 0] * theta[:, other, other])


def _depth(ratio: np.ndarray, error: np.ndarray) -> tuple[float | None, np.ndarray]:
    """Layers over which persistence falls by e where it surely falls most, and its error."""
    largest = ratio + ERRORS * error
    if not np.isfinite(largest).any():
        return None, np.array(np.nan)
    q, off = ((values[np.nanargmin(largest)]) for values in (ratio, error))
    depth = -1 / np.log(np.clip(q, 0.0, 1.0))
    return float(depth), np.array(depth**2 * off / q if np.isfinite(depth) else np.nan)


def _firing(visits: list[Visit]) -> np.ndarray:
    """True for each layer with weights, of those that gradients reach, if it receives spikes and the network sends any."""
    reached, firing = {visits[-1].node_number}, list[bool]()
    for visit in reversed(visits):
        if visit.node_number in reached:
            reached.update(visit.node.inputs)
            if "spikes" in visit.kept:
                firing.append(visit.reads_inputs or _fires(visit.received[0]))
    return np.array(firing[::-1], bool) & _fires(visits[-1].sent)


def _fires(signal: Any) -> bool:
    """True if a hundred inputs like the first make a spike, or if these are no spikes."""
    first = slice(None, signal.grid.steps)
    return not isinstance(signal, Spikes) or signal.neurons * over_positions(signal)[0][:, 0, first].mean(0).sum() >= SILENT


def _overlaps(drive: Any, steps: int) -> np.ndarray:
    """Cosines of the first input with the others; DomainError for an input that is 0, or two that are equal."""
    x = drive.frames(steps).reshape(3, -1)
    size = np.linalg.norm(x, axis=1)
    if not size.all() or np.any(np.linalg.norm(x - x[[1, 2, 0]], axis=1) < ALIKE * size):
        raise DomainError("inputs", x, "must differ from each other and from 0")
    return x[1:] @ x[0] / (size[1:] * size[0])


def _three(network: Network, direct: float, seed: int) -> Inputs:
    """Inputs of equal norm, the first moved by ``direct`` and a different one, in the strength and shape of the drive."""
    drive = network.drive
    if isinstance(drive, ConstantCurrents):
        x, scale, shape = np.eye(2), drive.std * np.sqrt(2), None
    elif isinstance(drive, Inputs) and drive.fan_in > 1:
        x = np.linalg.qr(np.random.default_rng(seed).normal(size=(drive.fan_in, 2))).Q.T
        x, scale, shape = x * np.sqrt(drive.fan_in * np.mean(drive.x**2)), drive.input_gain, drive.shape
    else:
        raise DomainError("network", network, "has a drive without inputs of several numbers: give three inputs")
    cosines = (1.0, (1 + direct**2) ** -0.5, DIFFERENT)
    return Inputs(np.stack([c * x[0] + np.sqrt(1 - c**2) * x[1] for c in cosines]), float(scale), shape)


def _with_moved(network: Network, direct: float, seed: int) -> Network:
    """The network with one input more: the first, moved in a random direction that is the same at all steps."""
    drive = network.drive
    assert isinstance(drive, Inputs)
    first = drive.x[0]
    mean = first.mean(axis=0) if first.ndim > 1 else first
    way = np.random.default_rng(seed).normal(size=mean.shape)
    way -= mean * (way @ mean) / max(mean @ mean, TINY) if len(mean) > 1 else 0.0
    moved = first + direct * way * np.linalg.norm(first) / np.sqrt(first.size / mean.size) / np.linalg.norm(way)
    return with_inputs(network, replace(drive, x=np.concatenate([drive.x, moved[None]])))
