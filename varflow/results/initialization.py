"""Gains, and what to expect with them: of one layer, of every layer of a model, and corrected gains in a table."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field, fields
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Drawn, Shown, Table, measured, plus_minus, several, without_path
from varflow.model.neurons import Neuron
from varflow.model.surrogate import Surrogate
from varflow.results.audited_layer import weights_of
from varflow.results.export import Exported, dataset, named, records
from varflow.results.learning import Learning
from varflow.results.update import LearningRate

FINITE = ("survival", "corrected_gain", "corrected_survival")  # computed for normal potentials

DIGITS = 12  # in the file: the accuracy of the gain

RATES = ("firing_rate", "firing_rate_std", "measured_rate", "fresh_rate")
NUMBERS = ("neuron_name", "fan_in", "gain", "weight_std", *RATES, "set_by")


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
        ``m``, ``|m| < 1`` (small deviations shrink from layer to layer: stable locally) and ``-1/ln|m|`` layers at that fixed
        point; None of a block over several steps.
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

    Examples
    --------
    >>> import varflow as vf
    >>> vf.lookup(threshold=1.0, fan_in=512)
    Initialization for threshold 1, fan-in 512 (normal): weights from N(0, 0.111²)
      gain               2.51057
      weight_std        0.110953
      weight_variance  0.0123105
      firing_rate       0.158655
      variance                 1
      multiplier        0.762568
      stable             locally
      critical_gain       2.4565
      margin           0.0220115
      depth_scale        3.68916
      operations         81.2315
      ! close to the edge: the gain is only 2.2 % above the critical gain, below
        which only silence is stable; narrow networks fall silent by chance (give
        width and depth to see the survival)
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

    _derived = ("operations",)

    @property
    def operations(self) -> float | None:
        """Synaptic operations of a neuron in one step, one for each spike that it receives: ``fan_in × firing_rate``."""
        return None if self.fan_in is None else self.fan_in * self.firing_rate

    def _table(self) -> Table:
        skipped = ("warnings", "threshold", "fan_in", "distribution", "width", "depth", "error", "window")
        inputs = "" if self.fan_in is None else f", fan-in {self.fan_in}"
        drawn = "" if self.weight_std is None else f": weights from N(0, {self.weight_std:.4g}²)"
        title = f"Initialization for threshold {self.threshold:g}{inputs} ({self.distribution}){drawn}"
        values = {name: getattr(self, name) for field in fields(self) if (name := field.name) not in skipped}
        values |= {"stable": "locally" if self.stable else "no", "operations": self.operations}
        rows = [
            (name, (f"{value:.6g}" if isinstance(value, float) else value) + self._beside(name))
            for name, value in values.items()
            if value is not None
        ]
        first = [] if self.input_gain is None else ["first layer: weights of standard deviation input_gain/√(fan-in · E[x²])"]
        return Table(title, rows, notes=(*first, *self.warnings), bullet="  ! ")

    def _beside(self, name: str) -> str:
        """A remark on numbers that are for normal potentials although the title names another distribution."""
        return "  (normal potentials)" if name in FINITE and self.distribution != "normal" else ""


@dataclass(frozen=True, slots=True)
class CorrectedGain(Exported, Shown):
    """One row.

    Attributes
    ----------
    threshold, width, depth, survival_target
        The arguments.
    paper_gain, survival_at_paper_gain : float
        The gain that preserves the variance at infinite width, and the fraction of networks alive with it.
    corrected_gain, corrected_survival : float
        The smallest gain that reaches the target, and the fraction alive with it. NaN if no gain does; 0 at depth 1. It is
        below ``paper_gain`` if that reaches the target too: initialise with the larger of the two.
    variance : float
        The stable fixed point of the variance at the corrected gain; 0 where only silence is stable.

    Examples
    --------
    >>> import varflow as vf
    >>> row = vf.corrected_gain_table(threshold=1.0, width=100, depth=20).rows[0]
    >>> round(row.paper_gain, 4), round(row.corrected_gain, 4)
    (2.5106, 2.7922)
    """

    threshold: float
    width: int
    depth: int
    survival_target: float
    paper_gain: float
    survival_at_paper_gain: float
    corrected_gain: float
    corrected_survival: float
    variance: float


COLUMNS = tuple(field.name for field in fields(CorrectedGain))
ARGUMENTS = COLUMNS[:4]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CorrectedGainTable(Exported, Shown):
    """Corrected gains over thresholds, widths and depths, in rows of this order.

    Examples
    --------
    >>> import varflow as vf
    >>> table = vf.corrected_gain_table(threshold=1.0, width=[100, 1000], depth=20)
    >>> [(row.width, round(row.corrected_gain, 4)) for row in table.rows]
    [(100, 2.7922), (1000, 2.4867)]
    """

    rows: tuple[CorrectedGain, ...]

    def to_csv(self) -> str:
        """Comma-separated values with a header line; empty cells where no gain reaches the target."""
        lines = [",".join(_text(value) for value in astuple(row)) for row in self.rows]
        return "\n".join([",".join(COLUMNS), *lines, ""])

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``threshold``, ``width``, ``depth`` and ``survival_target``; NaN where there is no row."""
        axes, places = {}, []
        for name in ARGUMENTS:
            values, place = np.unique([getattr(row, name) for row in self.rows], return_inverse=True)
            axes[name] = (name, values)
            places.append(place)
        variables = {}
        for name in COLUMNS[len(ARGUMENTS) :]:
            grid = np.full([len(values) for _, values in axes.values()], np.nan)
            grid[tuple(places)] = [getattr(row, name) for row in self.rows]
            variables[name] = (ARGUMENTS, grid)
        return dataset(variables, axes)

    def _table(self) -> Table:
        shown = self.rows if len(self.rows) <= 12 else (*self.rows[:6], *self.rows[-6:])
        title = f"CorrectedGainTable: {len(self.rows)} rows{'' if shown is self.rows else ', the first and last six'}"
        header = ("θ", "n", "L", "preserving g", "alive with it", "corrected g", "alive", "variance")
        names = (*ARGUMENTS[:3], *COLUMNS[len(ARGUMENTS) :])
        rows = [[f"{getattr(row, name):.6g}" for name in names] for row in shown]
        enough = sum(row.corrected_gain < row.paper_gain for row in self.rows if row.depth > 1)
        note = f"In {enough} of the rows the preserving gain already reaches the target. The corrected gain, the smallest that "
        note += "does, is then lower and would lower the variance. Initialise with the larger of the two."
        return Table(title, rows, header, [note] * (enough > 0))


def _text(value: float) -> str:
    return "" if value != value else f"{value:.{DIGITS}g}"


@dataclass(frozen=True, slots=True, repr=False)
class LayerPlan(Shown):
    """One weight layer, or a neuron layer without weights of its own.

    Attributes
    ----------
    name, neuron_name : str
        Qualified names of the weight module and of the spiking module after it; ``neuron_name`` is empty for a readout, both
        are the spiking module's without weights.
    neuron : Neuron, optional
        None for a readout, and for a neuron that is only measured.
    fan_in : int
        Inputs of a neuron, as torch counts them; 0 without weights.
    gain, weight_std : float
        ``g`` and ``g/√fan_in``; a convolution's gain compensates for zero padding.
    firing_rate : float
        Planned late rate: predicted by theory for networks of these widths, or the one that the layer was scaled to; NaN for
        a readout.
    firing_rate_std : float
        Its standard deviation over networks and inputs, or as measured over inputs.
    set_by : str
        ``"theory"``; ``"measured: weights"`` or ``"measured: γ of bn1"`` if these were scaled to the rate; ``"kept: …"`` with
        the reason.
    measured_rate, fresh_rate : float
        Late rate with the weights that were drawn: on the batch, and on inputs that were held out for this (every second one
        of 16 or more, else NaN). NaN if nothing was drawn.
    surrogate : Surrogate or None
        The surrogate derivative that its neurons are given; None if theirs is left as it is.
    classes : dict of str to str
        The class of both modules, by name.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> layer = vf.init.init_model(model, torch.rand(8, 64), steps=4, gain=2.0, dry_run=True).layers[0]
    >>> layer.name, layer.neuron_name, layer.fan_in, layer.classes
    ('0', '1', 64, {'0': 'Linear', '1': 'Leaky'})
    """

    name: str
    neuron_name: str
    neuron: Neuron | None
    fan_in: int
    gain: float
    firing_rate: float = math.nan
    firing_rate_std: float = math.nan
    set_by: str = "theory"
    measured_rate: float = math.nan
    fresh_rate: float = math.nan
    surrogate: Surrogate | None = None
    classes: dict[str, str] = field(default_factory=dict)

    @property
    def weight_std(self) -> float:
        return self.gain / math.sqrt(self.fan_in) if self.fan_in else math.nan

    def to_dict(self) -> dict[str, Any]:
        return nan_to_none(named(self, "name", *NUMBERS, "neuron", "surrogate"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModelPlan(Exported, Drawn):
    """Gains of a model's layers, in the order in which they run.

    Attributes
    ----------
    layers : tuple of LayerPlan
    steps : int
        Time steps of one forward pass.
    survival : float
        Predicted probability, over networks and inputs, that the last neuron layer spikes late.
    filled : bool
        True if weights were set: not after ``dry_run``, nor of a healthy network, which is left as it is.
    notes : tuple of str
        Remarks for the user.
    learning : Learning or None
        Will it learn, with these weights? None if none were drawn, and as in audits.
    learning_rate : LearningRate or None
        Of Adam, if asked for and covered.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> plan = vf.init.init_model(model, torch.rand(8, 64), steps=4, rate=0.2)
    >>> plan.filled, [layer.name for layer in plan.layers]
    (True, ['0'])
    """

    layers: tuple[LayerPlan, ...]
    steps: int
    survival: float
    filled: bool
    notes: tuple[str, ...] = ()
    learning: Learning | None = None
    learning_rate: LearningRate | None = None

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``, the names of the weight modules."""
        variables = records(self.layers, NUMBERS, "layer") | {"survival": ((), self.survival)}
        names = {"layer": ("layer", [layer.name for layer in self.layers])}
        return dataset(variables, names, steps=self.steps, filled=self.filled, notes="; ".join(self.notes))

    def _table(self) -> Table:
        rows = [
            (
                weights_of(layer),
                f"{layer.fan_in:g}" if layer.fan_in else "–",
                *(measured(value, ".5g") for value in (layer.gain, layer.weight_std)),
                f"{layer.firing_rate:.4f}{plus_minus(layer.firing_rate_std)}" if layer.neuron_name else "readout",
                *(measured(value, ".4f") for value in (layer.measured_rate, layer.fresh_rate)),
                layer.set_by,
            )
            for layer in self.layers
        ]
        where, rows = without_path(rows, 1)
        given = dict.fromkeys(repr(layer.surrogate) for layer in self.layers if layer.surrogate is not None)
        advice = [found.words for found in (self.learning, self.learning_rate) if found is not None]
        notes = [*advice, *(f"neurons have the surrogate {psi}" for psi in given), *self.notes]
        unset = "" if self.filled else " (no weights set)"
        title = f"ModelPlan{where}, {several(self.steps, 'step')}, survival {self.survival:.3g}{unset}"
        header = ("layer", "fan-in", "gain", "weight std", "late rate", "batch", "fresh", "set by")
        return Table(title, rows, header, notes, "  ! ", ("fan-in", "weight std", "fresh"))
