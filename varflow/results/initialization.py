"""Initialization, the result of lookup and of the inverse problems: a gain, and what to expect with it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from varflow._display import Shown, Table
from varflow.results.export import Exported

FINITE = ("survival", "corrected_gain", "corrected_survival")  # computed for normal potentials


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Initialization(Exported, Shown):
    """The gain of one layer, and what to expect with it.

    Attributes
    ----------
    gain, weight_std, weight_variance : float
        ``g``, ``g/√fan_in``, ``g²/fan_in`` (None without a fan-in).
    firing_rate, variance : float
        At the fixed point that the gain is for.
    multiplier, stable, depth_scale
        ``m``, ``|m| < 1`` and ``-1/ln|m|`` layers at that fixed point; None of a block over several steps.
    critical_gain, margin : float
        Gain below which only silence is stable, and ``gain/critical_gain - 1`` (None for ``θ ≤ 0``). Of a block whose activity
        falls with its gain the one above which it dies, and a negative margin. None in time; see
        :func:`varflow.temporal_critical_gain`.
    survival : float, optional
        With a depth: probability that the last layer is alive at ``gain``, if layer 1 has variance ``variance``.
    corrected_gain, corrected_survival : float, optional
        The smallest gain whose survival reaches the target, and that survival; it may lie below ``gain``. None if no gain does,
        or none is needed.
    input_gain : float, optional
        Standard deviation of layer 1's currents that gives its potentials the variance ``variance``, as in
        ``vf.drives.currents(input_gain)``; None for the default, 1. In time, the factor on currents of second moment 1
        (averaged over steps) that gives layer 1 the wanted late rate or variance.
    error : dict of float, optional
        In time: numerical standard errors of ``gain``, ``firing_rate`` and ``variance``.
    window : tuple of int, optional
        In time: first and last step of the mean in ``firing_rate`` and ``variance``.
    gamma : float, optional
        For a block whose last weights are normalised: the factor of the normalisation that gives the rate.
    gradient_growth : float, optional
        With a surrogate: mean factor by which gradients grow per layer with the surrogate as it was given, before it gets the
        width in ``surrogate``; see :func:`varflow.gradient_flow`.
    surrogate : str, optional
        That surrogate at the width at which gradients neither vanish nor explode, as every argument ``surrogate`` takes it; see
        :func:`varflow.surrogate_width`.
    warnings : tuple of str
        Remarks for the user.
    threshold, fan_in, distribution, width, depth
        The arguments.
    """

    gain: float
    weight_std: float | None
    weight_variance: float | None
    firing_rate: float
    variance: float
    multiplier: float | None
    stable: bool
    critical_gain: float | None
    margin: float | None
    depth_scale: float | None
    warnings: tuple[str, ...]
    threshold: float
    fan_in: int | None
    distribution: str
    width: int | None = None
    depth: int | None = None
    survival: float | None = None
    corrected_gain: float | None = None
    corrected_survival: float | None = None
    input_gain: float | None = None
    error: dict[str, float] | None = None
    window: tuple[int, int] | None = None
    gamma: float | None = None
    gradient_growth: float | None = None
    surrogate: str | None = None

    def _table(self) -> Table:
        skipped = ("warnings", "threshold", "fan_in", "distribution", "width", "depth", "error", "window")
        inputs = "" if self.fan_in is None else f", fan-in {self.fan_in}"
        title = f"Initialization for threshold {self.threshold:g}{inputs} ({self.distribution})"
        values = {name: getattr(self, name) for field in fields(self) if (name := field.name) not in skipped}
        values["stable"] = "yes" if self.stable else "no"
        rows = [
            (name, (f"{value:.8g}" if isinstance(value, float) else value) + self._beside(name))
            for name, value in values.items()
            if value is not None
        ]
        return Table(title, "  {:<18} {}", rows, notes=self.warnings, bullet="  ! ")

    def _beside(self, name: str) -> str:
        """A remark on numbers that are for normal potentials although the title names another distribution."""
        return "  (normal potentials)" if name in FINITE and self.distribution != "normal" else ""
