"""Learning rate of Adam, from the changes of currents that its first step makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from varflow._checks import DomainError, integer
from varflow.kernels.flips import flips
from varflow.kernels.kernel import driven_by, with_inputs
from varflow.model.drives import Inputs
from varflow.model.graph import Graph
from varflow.model.layers import Conv, Linear, Spike, Sum
from varflow.model.network import Network
from varflow.model.signals import Source
from varflow.results import LearningRate
from varflow.theory.operations.update import coherence
from varflow.theory.operations.visit import Effort, Visit
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.places import over_positions
from varflow.theory.walks.signals import Blocks, signals_walk
from varflow.torch_models.tracing.door import read

CHANGE = 0.147  # D of the first step at the best rate, fixed on 8 settings
PIXELS = 0.75  # κ of the first layer, whose inputs are numbers; .69 to .79 measured
DEEP = 10  # plain layers above which half the rate is advised
INPUTS = 8  # of which overlaps and rates are computed
OCTAVES, FIRST_OCTAVES = 0.30, 1.03  # rms of log₂ of the best rate over this one, and where the first layer dominates
SWEEP = (
    "try rates a factor of 2 apart; vf.audit(model, inputs, loss, targets=…, optimizer=…) measures what a step of each changes"
)
UNCOVERED = {
    "sgd": f"has no rule: in six settings best rates were 0.24 to 1.2, which no rule gave within a factor of 1.6: {SWEEP}",
    "adamw": "was run in two settings, in which Adam's rate was within 0.43 octaves of the best: ask for 'adam' and try",
    "lion": "was not measured: its first step is Adam's; ask for 'adam' and try",
}
UNMEASURED = {  # what a layer does to the change of currents, by a test of the layer
    "adds up the changes at all positions, which share its weights": lambda layer: isinstance(layer, Conv),
    "has recurrent weights, whose changes act again at all later steps": lambda layer: getattr(layer, "recurrent", False),
    "normalises, which takes out a part of the change": lambda layer: getattr(layer, "normalises", False),
}


def learning_rate(
    network: Any,
    inputs: Any = None,
    *,
    optimizer: str = "adam",
    batch: int | None = None,
    steps: int | None = None,
    neurons: Mapping[Any, Any] | None = None,
    points: int = 2**11,
    seed: int = 0,
) -> LearningRate:
    r"""Learning rate of Adam at which its first step changes all currents together by 0.147 of their standard deviation.

    .. math:: \eta = \frac{0.147}{D_1}, \qquad D_1^2 = \sum_l d_l^2, \qquad
              d_l = \frac{\kappa_l\, n_{l-1}\, p_{l-1}}{\sqrt{V_l}}, \qquad d_1 = \frac{0.75 \sum_j |x_j|}{\sqrt{V_1}}

    with ``V`` the variance of the whole current of a neuron, ``n p`` the spikes that it receives in a step and ``κ`` how alike
    the signs of their gradients are: 1 for a single example, else

    .. math:: \kappa^2 = \kappa_\infty^2 + \frac{1 - \kappa_\infty^2}{n p}, \qquad \kappa_\infty^2 = E_Y\,
              \mathrm{erf}^2\!\Big(\frac{\rho Y}{\sqrt{2 p (1 - \rho + (\rho - p) Y^2)}}\Big), \qquad Y \sim N(0, 1)

    whatever the size of the batch; ``ρ``: overlap of the spikes of two inputs.

    Parameters
    ----------
    network : Network or torch.nn.Module
        Of ``Linear`` and ``Spike`` layers, with or without membrane shortcuts. A module is read by :func:`varflow.read`.
    inputs : array, or batch as the model takes it
        At least two inputs, as for :func:`varflow.kernel`; by default those of the network's drive.
    optimizer : str
        ``adam``. Others are refused, with what is known of them.
    batch : int, optional
        Examples of a step: only a single one differs from many.
    steps, neurons : optional
        Of a module, as for :func:`varflow.read`.
    points, seed : int
        Of quasi-Monte Carlo.

    Returns
    -------
    LearningRate
        ``.rate``, and where the first layer of a plain network dominates ``.first_layer_rate`` with ``.other_rate``;
        ``.direct .flips .error``.

    Raises
    ------
    DomainError
        For other optimisers, networks with other layers, a silent layer, and drives without two inputs of numbers.

    Notes
    -----
    The value 0.147 is empirical: it was fixed on 8 settings of a pilot whose runs are not in the repository (digits, 64 to
    256 × 3 to 10, batch 50, 174 steps, snnTorch's neuron, rate 0.2, biases 0). In 16 other settings
    (``docs/training_predicted.md``) the best rate was within 0.47 octaves rms, accuracy lost 0.7 % (worst 1.5 %); with rates
    proportional to 1/n, 1/(n L) and 1/√(n L) and constants of the pilot it was within 0.52, 0.53 and 0.62 octaves, with one
    rate for all within 1.03. In the ten settings of digits with Adam, 174 steps and no plain chain above ten layers it was
    within 0.30. Twelve plain layers needed twice the returned rate, six plain layers with 580 steps half of it, eight with
    shortcuts 1.4 times as much: let it decay. On Fashion-MNIST, where the first layer dominates, one rate for all was 1.5 to
    3 times too small in three settings of the pilot, 1.2 times in the new one; two rates, with which the first layer changes
    as much as the others, were within 0.29 octaves (pilot). **It fails for plain networks of more than ten layers**: for
    these half the rate is returned, which is not fitted. Accuracy hardly changes within a factor of 2 of the best rate,
    except in deep plain networks.

    **Assumes** initialisation, Adam's default β, gradients well above its ε, and a batch of independent signs.
    **Accuracy**: ``D`` by formula over that of real first steps, six networks each: mean .98, sd .05 over 12 settings, from
    .90 (128 × 6 on Fashion-MNIST) to 1.06 (192 × 10 with shortcuts, β = 0.8).
    **Source**: derived here; ``yang2021`` for rates ∝ 1/width.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> x = np.random.default_rng(0).random((8, 64))
    >>> leaky = vf.neurons.snntorch_leaky(0.5)
    >>> network = vf.Network(width=128, depth=6, gain=2.86, neuron=leaky, steps=4)
    >>> found = vf.learning_rate(network, x)
    >>> f"{found.rate:.1g} {found.first_layer_rate}"
    '0.004 None'
    """
    if not isinstance(optimizer, str) or optimizer.lower() != "adam":
        rule = UNCOVERED.get(optimizer.lower() if isinstance(optimizer, str) else "", "is not covered: 'adam' is")
        raise DomainError("optimizer", optimizer, rule)
    single = batch is not None and integer("batch", batch, minimum=1) == 1
    if not isinstance(network, Network | nn.Module):
        raise DomainError("network", network, "must be a Network or a torch.nn.Module")
    driven = network if isinstance(network, Network) else read(network, inputs, steps=steps, neurons=neurons)
    driven = driven_by(driven, inputs) if driven is network and inputs is not None else driven
    drive = driven.drive
    if not isinstance(drive, Inputs) or drive.n_inputs < 2:
        raise DomainError("inputs", drive, "must be at least two inputs of numbers")
    few = with_inputs(driven, drive.of_rows(np.arange(min(drive.n_inputs, INPUTS))))
    size = np.abs(drive.frames(driven.steps)).sum(axis=-1).mean()
    per_unit, plain = _per_unit_rate(few, Responses(points, 8, seed), size, single)
    share = per_unit**2 / np.sum(per_unit**2)
    dominated = int(share.argmax()) + 1 if share.max() > 0.5 else None
    rate, other, first = advised(per_unit, plain)
    two = with_inputs(driven, drive.of_rows(np.arange(2)))
    return LearningRate(
        driven,
        "adam",
        rate,
        other,
        first,
        rate * per_unit,
        flips(two, direct=rate * per_unit, points=points, seed=seed).flips,
        dominated,
        np.nan if plain and driven.depth > DEEP else FIRST_OCTAVES if dominated == 1 else OCTAVES,
    )


def advised(direct: np.ndarray, plain: bool) -> tuple[float, float | None, float | None]:
    """Factors on the learning rate that changes layers by ``direct``: one for all layers, half as large in deep plain networks;
    and where the first layer of a plain one dominates, one for the others and one for the first.
    """
    depth = len(direct)
    factor, hidden = CHANGE / float(np.sqrt(np.sum(direct**2))), float(np.sqrt(np.sum(direct[1:] ** 2) / max(depth - 1, 1)))
    if plain and depth > DEEP:
        return factor / 2, None, None
    if not plain or not 2 * direct[0] ** 2 > np.sum(direct**2) or not hidden:
        return factor, None, None
    other = CHANGE / (hidden * depth**0.5)
    return factor, other, other * hidden / float(direct[0])


def _per_unit_rate(network: Network, responses: Responses, size: float, single: bool) -> tuple[np.ndarray, bool]:
    """``d_l`` of every layer of neurons at rate 1, and True for a plain network; ``size``: ``Σ_j |x_j|``."""
    blocks = Blocks.of(network, Effort(responses), np.arange(network.drive.n_inputs))
    _covered(blocks.graph)
    ((start, batching),) = blocks
    visits = signals_walk(blocks.graph, start, blocks.walk(batching), keep=True)
    change = np.zeros(network.depth)
    change[0] = PIXELS * size
    for visit in visits:
        if isinstance(visit.node.operation, Linear) and not visit.reads_inputs and (l := visit.layer_number) < network.depth:
            change[l] = np.hypot(change[l], _spikes_in_step(visit, single))
    variances = [np.diagonal(v.kept["received"].covariance, axis1=-2, axis2=-1).mean() for v in visits if "state" in v.kept]
    return change / np.sqrt(variances), not any(len(node.inputs) > 1 for node in blocks.graph)


def _spikes_in_step(visit: Visit, single: bool) -> float:
    """``κ n p`` of a layer with weights that receives spikes."""
    signal = visit.received[0]
    M, inputs, steps = over_positions(signal)[1].mean(axis=(0, 1)), signal.grid.inputs, signal.grid.steps
    raster = np.einsum("atbt->ab", M.reshape(inputs, steps, inputs, steps)) / steps
    rate = float(np.diagonal(raster).mean())
    active = signal.neurons * rate
    if active < 1:
        rule = "receives less than one spike in a step: make its neurons fire; vf.init.init_model does so in a model"
        raise DomainError("network", visit.node.name, rule)
    overlap = float(raster[~np.eye(inputs, dtype=bool)].mean()) / rate
    return active * (1.0 if single else coherence(rate, overlap, active))


def _covered(graph: Graph) -> None:
    """DomainError for networks whose learning rates were not measured."""
    for node in graph:
        alone = isinstance(node.operation, Spike | Linear | Source) and not getattr(node.operation, "recurrent", False)
        if not alone and not (type(node.operation) is Sum and all(graph[s].operation.spikes is False for s in node.inputs)):
            why = next(
                (words for words, holds in UNMEASURED.items() if holds(node.operation)), "is neither weights nor neurons"
            )
            rule = f"{why}: rates were measured only for Linear and Spike layers and membrane shortcuts; {SWEEP}"
            raise DomainError(node.name, node.operation, rule)
