"""Survival over threshold and width at one depth: which networks a gain carries that far, and which fall silent before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, integer, nothing_if_nan, scale
from varflow._display import Shown, Table, percent
from varflow._progress import check_progress, reporter
from varflow.init.rules import RULES, gain_by_rule, number
from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.theory.chain import SpikeChain
from varflow.theory.fixed_points import saddle_node

__all__ = ["LEVELS", "PhaseDiagram", "phase_diagram"]

THRESHOLDS = tuple(np.arange(0.3, 1.301, 0.05).round(2).tolist())
WIDTHS = (10, 14, 20, 28, 40, 56, 75, 100, 140, 200, 280, 400, 600, 800, 1100, 1500, 2200, 3000)
LEVELS = (0.99, 0.5, 0.01)  # of survival: nearly sure, even, hopeless
LARGEST_LOGIT = 28.0  # what double precision tells from 1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PhaseDiagram(Shown):
    """Exact survival on a grid of thresholds and widths.

    Attributes
    ----------
    thresholds : ndarray, shape (t,)
    widths : ndarray of int, shape (w,)
    depth : int
    gain : str or float
        The rule: ``preserving``, ``kaiming`` or a number.
    survival : ndarray, shape (t, w)
        ``P(K_depth > 0)``.
    """

    thresholds: np.ndarray
    widths: np.ndarray
    depth: int
    gain: str | float
    survival: np.ndarray

    def logit(self, thresholds: Any = None, widths: Any = None) -> np.ndarray:
        """``ln(S/(1-S))``, clipped at ±28, interpolated in ``ln n`` and then θ without overshooting; shape (t, w)."""
        S = np.clip(self.survival, np.exp(-LARGEST_LOGIT), 1 - np.exp(-LARGEST_LOGIT))
        table = np.log(S / (1 - S))
        if widths is not None:
            table = _between(np.log(self.widths), table, np.log(widths), axis=1)
        return table if thresholds is None else _between(self.thresholds, table, thresholds, axis=0)

    def largest_threshold(self, width: int, survival: float) -> float:
        """The first threshold at which survival falls below a level, interpolated; NaN where it starts below or never does.

        Exactly: :func:`varflow.largest_threshold`.
        """
        thetas = np.linspace(self.thresholds[0], self.thresholds[-1], 2001)
        enough = self.logit(thetas, [width])[:, 0] >= np.log(survival / (1 - survival))
        return float(thetas[np.argmin(enough)]) if enough[0] and not enough.all() else float("nan")

    @property
    def reading(self) -> list[str]:
        """What a reader should see in the figure, in sentences."""
        within = [n for n in (100, 600) if self.widths[0] <= n <= self.widths[-1]] or [int(self.widths[-1])]
        sentences = [text for n in within if (text := self._sentence(n))]
        z_c, _ = saddle_node(distribution("normal"))
        if self.gain == "preserving" and self.thresholds[-1] > z_c:
            seen = f"{percent(self.survival[-1, -1])} are alive at θ = {self.thresholds[-1]:.4g}, width {self.widths[-1]}"
            sentences.append(f"Beyond θ = {z_c:.4g} the variance kept is an unstable fixed point; width helps little: {seen}.")
        return sentences

    def _sentence(self, width: int) -> str:
        reached = [(level, self.largest_threshold(width, level)) for level in LEVELS]
        known = [f"{100 * level:g} % up to θ = {theta:.2f}" for level, theta in reached if np.isfinite(theta)]
        return f"Alive at layer {self.depth} of networks of width {width}: {', '.join(known)}." if known else ""

    def to_dict(self) -> dict[str, Any]:
        names = ("thresholds", "widths", "depth", "gain", "survival", "reading")
        return nothing_if_nan({name: getattr(self, name) for name in names})

    def plot(self) -> Any:
        """The map, with contours and the widths that the paper shows. Returns a matplotlib Figure."""
        from varflow.plots import plot_phase_diagram

        return plot_phase_diagram(self)

    def _table(self) -> Table:
        columns, rows = _spread(len(self.widths), 8), _spread(len(self.thresholds), 11)
        title = f"PhaseDiagram: survival to layer {self.depth}, gain {self.gain}, over θ and width"
        header = ("θ", *(str(self.widths[j]) for j in columns))
        cells = [(f"{self.thresholds[i]:.4g}", *(f"{self.survival[i, j]:.3g}" for j in columns)) for i in rows]
        return Table(title, "{:>6}" + "{:>9}" * len(columns), cells, header, self.reading)


def _between(at: np.ndarray, table: np.ndarray, wanted: Any, axis: int) -> np.ndarray:
    from scipy.interpolate import PchipInterpolator

    if len(at) == 1:
        return np.repeat(table, len(wanted), axis=axis)
    return PchipInterpolator(at, table, axis=axis)(wanted)


def _spread(size: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, size - 1, most).round().astype(int).tolist()))


def phase_diagram(
    *,
    threshold: Sequence[float] | float = THRESHOLDS,
    width: Sequence[int] | int = WIDTHS,
    depth: int = 100,
    gain: str | float = "preserving",
    progress: bool | Callable[[int, int], object] = False,
) -> PhaseDiagram:
    r"""Exact survival to a depth over thresholds and widths.

    .. math:: S(\theta, n) = P(K_L > 0), \qquad K_1 \sim \mathrm{Binomial}(n, Q(\theta)), \qquad
              K_{l+1} \mid K_l \sim \mathrm{Binomial}\big(n, Q(\theta / \sqrt{g^2 K_l/n})\big)

    Parameters
    ----------
    threshold : float or sequence of float
        Put in ascending order, each once; so are the widths.
    width : int or sequence of int
    depth : int
        ``L``, the driven layer included.
    gain : str or float
        ``preserving`` (the paper's, at each threshold), ``kaiming`` (``√2``), or a number.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in networks.

    Returns
    -------
    PhaseDiagram

    Raises
    ------
    DomainError
        For values outside their domain.

    Notes
    -----
    **Assumes** normal weights, no bias and the paper's drive ``N(0, 1)``.
    **Accuracy**: that of :class:`varflow.SpikeChain`, absolute 1e-12 (tested against it). ``reading`` and ``largest_threshold``
    interpolate: within 0.003 in θ on the default grid (tested).
    **Source**: derived here; the seed paper remarks that activity is not conserved beyond θ = 0.85 at width 100
    (``micheli2024``, figure 4).

    Examples
    --------
    >>> import varflow as vf
    >>> vf.phase_diagram(threshold=[0.85, 1.0], width=[100, 600]).survival.round(4).tolist()
    [[0.5867, 1.0], [0.0171, 0.8118]]
    """
    thetas = np.unique(scale("threshold", threshold))
    widths = sorted({integer("width", n, minimum=1) for n in _listed(width)})
    depth = integer("depth", depth, minimum=1)
    if not thetas.size or not widths:
        raise DomainError("width" if thetas.size else "threshold", [], "must name at least one value")
    check_progress(progress)
    cells = [(theta, gain_by_rule(gain, theta), n) for theta in thetas.tolist() for n in widths]
    survival = []
    with reporter(progress, len(cells), "networks") as report:
        for done, (theta, g, n) in enumerate(cells, start=1):
            network = Network(width=n, depth=depth, gain=g, neuron=Neuron(theta))
            survival.append(SpikeChain(network, rare=0.0).survival())
            report(done)
    table = np.reshape(survival, (len(thetas), len(widths)))
    rule = gain if isinstance(gain, str) and gain in RULES else number(gain)
    return PhaseDiagram(frozen(thetas), frozen(widths, dtype=int), depth, rule, frozen(table))


def _listed(value: Any) -> list[Any]:
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return list(value) if isinstance(value, (list, tuple, range)) else [value]
