"""The width of a surrogate derivative with which gradients neither vanish nor explode through the layers of a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, choice, flag, instance
from varflow._progress import Progress, check_progress, counted, reporter
from varflow.model.drives import Drive
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.surrogate import Surrogate
from varflow.model.surrogates import surrogate_of
from varflow.results import GradientFlow
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.neurons import Responses
from varflow.theory.roots import rising_root
from varflow.theory.walks.gradients import READOUTS, ForwardPass
from varflow.theory.walks.signals import Blocks

OBJECTIVES = ("range", "growth")
ACCURACY = 1e-4  # relative, of the width
MOST_WIDTHS = 60  # that a search tries
SMALLEST = 1e-300  # stands for a growth that underflows
REACH = 0.7  # of the search for the smallest range, in the logarithm of the width, on both sides of growth 1


def surrogate_width(
    network: Network,
    surrogate: Any = "atan",
    objective: str = "range",
    *,
    detach_reset: bool | None = None,
    readout: str = "shared",
    points: int = 2**11,
    scrambles: int = 8,
    seed: int = 0,
    progress: Progress = False,
) -> Surrogate:
    r"""The width of a surrogate with which gradients differ least between layers, as the library's own parameter.

    With ``E_l`` the total energy of gradients in layer ``l``, of ``L`` layers,

    .. math:: \min_a \frac{\max_l E_l}{\min_l E_l} \quad (\texttt{range}), \qquad
              \left(\frac{E_1}{E_L}\right)^{1/(L-1)} = 1 \quad (\texttt{growth})

    Parameters
    ----------
    network : Network
        Of at least two layers of neurons.
    surrogate : str or Surrogate
        One of ``vf.surrogates`` whose width can be set, or its name; the peak follows as in its library.
    objective : str
        ``range``: energies of all layers as equal as possible. ``growth``: those of the first and last layer equal; in time,
        layers between them can have many times as much.
    detach_reset, readout, points, scrambles, seed
        As in :func:`varflow.gradient_flow`.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in layers and widths, many of which may be skipped.

    Returns
    -------
    Surrogate

    Raises
    ------
    DomainError
        For values outside their domain, a surrogate whose width cannot be set, and (``growth``) where no width gives 1.

    Notes
    -----
    The forward pass does not depend on the surrogate and is solved once. Adam hides the common scale of gradients, but not
    how they differ between layers.
    **Assumes** that growth is monotone in the width, as in all networks tried (``tests/theory/deep/test_surrogate_width.py``).
    **Accuracy**: relative 1e-4 in the width, besides the sampling error of :func:`varflow.gradient_flow`.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=1000, depth=20, gain=vf.gain(threshold=1.0))
    >>> vf.surrogate_width(network, "atan", "growth")
    atan(alpha=2.62815)
    """
    choice("objective", objective, OBJECTIVES)
    psi, kind = surrogate_of(surrogate), choice("readout", readout, READOUTS)
    detached = None if detach_reset is None else flag("detach_reset", detach_reset)
    instance("network", network, Network)
    check_progress(progress)
    with reporter(progress, MOST_WIDTHS * network.depth, "layers") as report:
        solved = ForwardPass.of(Blocks.of(network, Effort(Responses(points, scrambles, seed))))
        back = {"readout": kind, "detached": detached, "report": counted(report, MOST_WIDTHS * network.depth)}
        suited = _suited(solved, psi, objective, **back)
        report(MOST_WIDTHS * network.depth)
    return suited


def _suited(solved: ForwardPass, psi: Surrogate, objective: str, accuracy: float = ACCURACY, **back: Any) -> Surrogate:
    """The width of this surrogate by the objective, from a forward pass that is solved; ``back``: how gradients go back."""
    psi.widened(1.0)  # refused for surrogates without a width
    if solved.network.depth < 2:
        raise DomainError("network", solved.network, "must have at least two layers: gradients of one do not grow")
    # narrower ones have few sampling points within them
    finest = 1e-3 * float(np.sqrt(max(state.variance.max() for state in solved.states)))

    def flow(surrogate: Surrogate) -> GradientFlow:
        if surrogate.width < finest:
            raise ConvergenceError("hardly any sampling point lies within this width")
        return solved.gradients(surrogate, **back, scatter=False)

    if objective == "growth":
        return with_unit_growth(psi, lambda wider: flow(wider).growth or 0.0, accuracy=accuracy)
    return with_smallest_range(psi, lambda wider: flow(wider).total, accuracy=accuracy)


def surrogate_beside_gain(surrogate: Any, gain: float, neuron: Neuron, steps: int, depth: int, drive: Drive) -> dict[str, Any]:
    """Growth of gradients with a surrogate beside a gain, the surrogate at the width that suits the network, and words.

    Of several steps by the range over ``depth`` layers; memoryless by growth 1, the same in every layer.
    """
    network = Network(width=1000, depth=depth, gain=gain, neuron=neuron, steps=steps, drive=drive)
    blocks = Blocks.of(network, Effort(Responses(2**10, 4, seed=0)))  # few points: the gain beside it takes a second
    psi, solved = surrogate_of(surrogate), ForwardPass.of(blocks)
    answer: dict[str, Any] = {"gradient_growth": solved.gradients(psi, scatter=False).growth, "surrogate": None, "words": []}
    try:
        objective, accuracy = ("growth", ACCURACY) if steps == 1 else ("range", 10 * ACCURACY)
        suited = _suited(solved, psi, objective, accuracy=accuracy)
    except DomainError as refusal:
        return answer | {"words": [f"surrogate: {refusal}"]}
    return answer | {"surrogate": repr(suited)}


def with_unit_growth(surrogate: Surrogate, growth: Callable[[Surrogate], float], *, accuracy: float = 1e-12) -> Surrogate:
    """The surrogate widened or narrowed until ``growth(surrogate) = 1``, to a relative accuracy of the width.

    At constant peak a growth usually rises with the width, at constant area it falls: the search follows the slope at the given
    width. DomainError where no width within a factor 1e15 of it gives 1.
    """
    logarithm = lambda width: math.log(max(growth(surrogate.widened(width)), SMALLEST))  # noqa: E731
    start = surrogate.width
    rising = logarithm(1.1 * start) > logarithm(start)
    try:
        found = rising_root(lambda width: logarithm(width) if rising else -logarithm(width), start, accuracy)
    except ConvergenceError:
        rule = "lets gradients vanish at any width: raise its peak or the gain" if rising else "reaches growth 1 at no width"
        raise DomainError("surrogate", surrogate, rule) from None
    return surrogate.widened(found)


def with_smallest_range(surrogate: Surrogate, energies: Callable[[Surrogate], np.ndarray], *, accuracy: float) -> Surrogate:
    """The surrogate with which layers differ least in energy, among widths within a factor of two of that with equal energies
    in the first and last layer, or of the given one where no width makes these equal.

    ``energies(surrogate)``: of at least two layers, in order. DomainError for surrogates whose width cannot be set.
    """
    from scipy.optimize import minimize_scalar

    energies = cache(energies)  # the searches share widths

    def growth(wider: Surrogate) -> float:
        found = energies(wider)
        return float(found[0] / found[-1]) ** (1 / (len(found) - 1)) if found[-1] else 0.0

    def log_range(log_width: float) -> float:
        found = energies(surrogate.widened(math.exp(log_width)))
        return math.log(found.max() / found.min()) if found.min() > 0 else math.inf

    middle = math.log(surrogate.widened(surrogate.width).width)
    with suppress(DomainError):
        middle = math.log(with_unit_growth(surrogate, growth, accuracy=accuracy).width)
    best = minimize_scalar(log_range, bounds=(middle - REACH, middle + REACH), method="bounded", options={"xatol": accuracy})
    return surrogate.widened(math.exp(min(middle, float(best.x), key=log_range)))  # pyright: ignore[reportAttributeAccessIssue]
