"""Initialise a whole spiking model: one forward pass says what follows what, the theory in time says the gains."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, flag, positive_scale, probability, require, scalar
from varflow.init.fans import fan_in
from varflow.init.models.plan import LayerPlan, ModelPlan, notes_on_steps
from varflow.init.models.prediction import Prediction, input_moments, late, predict, uncovered
from varflow.init.models.refine import refined
from varflow.init.models.target import RATE, Deep, deep_layer, layer_gain, run_deep, settles
from varflow.init.models.walker import Trace, TracedLayer, trace
from varflow.init.models.wiring import Moments, currents_from, mean_fan_in
from varflow.model.neurons import Neuron

__all__ = ["init_model", "planned_gains"]

CORRECTIONS = 6  # most steps by which the gain is corrected for finite width
CLOSE = 0.015  # of the wanted rate, relative: no correction is needed
SURVIVAL = 0.99
KEPT = 0.25  # relative, rms over networks and inputs: what the late rate of a layer may be off by
LARGEST_STEP = 0.1  # of a correction, in ln g
LARGEST = 1e4  # gain, in thresholds, at which rates no longer rise


def init_model(
    model: Any,
    inputs: Any,
    *,
    rate: float | None = None,
    variance: float | None = None,
    gain: float | None = None,
    steps: int | None = None,
    refine: bool | None = None,
    dry_run: bool = False,
    generator: Any = None,
) -> ModelPlan:
    r"""Set every weight of a spiking model so that its layers keep firing; biases are set to 0.

    Weights are drawn from ``N(0, g²/n)`` with ``n`` the fan-in. The layers that the input drives get a gain of their own, from
    the second moments of the given batch over the steps; all others the gain at which a deep layer repeats

    .. math:: \mathrm{Cov}[I_t, I_{t'}] = g^2\, \mathrm{E}[S_t S_{t'}]

    at the wanted late rate ("late": the second half of the steps), corrected for the widths of the layers.

    Parameters
    ----------
    model : torch.nn.Module
        Linear layers and convolutions followed by spiking modules of snnTorch (Leaky, Synaptic), SpikingJelly (IFNode,
        LIFNode, ParametricLIFNode), Norse (LIFBoxCell, LIFCell, LIF) or sinabs (LIF, IAF). The loop in time is in its forward,
        in multi-step modules, or with the caller (``steps``).
    inputs : tensor, tuple or dict
        A batch as the model takes it: positional arguments as a tuple, keyword arguments as a dict.
    rate : float, optional
        Wanted late firing rate of every layer, in spikes per neuron and step. By default 0.2, or the nearest above it that a
        constant gain keeps.
    variance : float, optional
        Instead: the wanted late variance of the membranes at the spike test.
    gain : float, optional
        Instead: the gain of all layers but the driven ones.
    steps : int, optional
        For a model that does one step per call: how many times it is called, with the same inputs.
    refine : bool, optional
        Measure the network that was drawn on the given batch, and scale each layer's weights until its late rate is the planned
        one; a few forward passes. By default for models with convolutions, where single networks deviate from the mean, unless
        a gain is given.
    dry_run : bool
        Only plan; nothing is changed.
    generator : torch.Generator, optional

    Returns
    -------
    ModelPlan

    Raises
    ------
    DomainError
        For a model that is no chain of known layers, by name, and inputs that do not fit it; the model is then unchanged.

    Notes
    -----
    **Assumes** independent weights; convolutions at many channels, as long as ``refine`` does not measure. Layers that no
    neuron follows (readouts) are set so that their outputs have variance 1 at every step. Dropout is off while the model is
    watched.
    **Source**: derived here.

    Examples
    --------
    >>> import torch, varflow as vf, snntorch
    >>> layers = [torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True), torch.nn.Linear(64, 10)]
    >>> plan = vf.init.init_model(torch.nn.Sequential(*layers), torch.ones(4, 64), steps=6)
    >>> [layer.name for layer in plan.layers], round(plan.layers[0].firing_rate, 1)
    (['0', '2'], 0.2)
    """
    torch = require("torch", "torch")
    wanted = _wanted(rate, variance, gain)
    flag("dry_run", dry_run)
    if refine is not None:
        flag("refine", refine)
    traced = trace(model, inputs, steps)
    _fillable(torch, traced)
    planner = _Planner(traced, *wanted)
    planner.notes += notes_on_steps(traced, steps)
    plan = planner.plan()
    if not dry_run:
        fill(torch, traced, plan, generator)
        if refine is None:
            refine = gain is None and _has_maps(traced)  # a gain that is given stays as it is
        if refine:
            plan, left = refined(torch, model, inputs, steps, traced, plan)
            planner.notes.append(f"weights are scaled to these rates on the given batch, to within {100 * left:.3g} %")
    return ModelPlan(tuple(plan), traced.steps, planner.survival, not dry_run, tuple(planner.notes))


def planned_gains(traced: Trace) -> list[float]:
    """Gains that ``init_model`` would give the layers of a plain chain."""
    planner = _Planner(traced, *_wanted(None, None, None))
    planner.plan()
    return planner.gains


def _has_maps(traced: Trace) -> bool:
    return any(not hasattr(layer.weights[0], "in_features") for layer in traced.layers)


def _wanted(rate: Any, variance: Any, gain: Any) -> tuple[str, float, bool]:
    """Quantity, value, and whether it was asked for."""
    given = [(name, v) for name, v in (("rate", rate), ("variance", variance), ("gain", gain)) if v is not None]
    if len(given) > 1:
        raise DomainError(
            given[1][0], given[1][1], f"contradicts {given[0][0]}={given[0][1]:g}: give one of rate, variance, gain"
        )
    if not given:
        return "firing_rate", RATE, False
    name, value = given[0]
    if name == "rate":
        return "firing_rate", probability("rate", value, open_ends=True), True
    return name, scalar(name, positive_scale(name, value)), True


def _fillable(torch: Any, traced: Trace) -> None:
    words = uncovered(traced)
    if words:
        raise DomainError("model", "; ".join(words), "is beyond a plain chain of weight layers and neurons: set these by hand")
    seen: set[Any] = set()
    for layer in traced.layers:
        weight = layer.weights[0]
        if weight in seen:
            raise DomainError("model", layer.name, "feeds several neuron layers: each needs weights of its own")
        seen.add(weight)
    named = [(layer.name, layer.weights[0]) for layer in traced.layers] + [
        (name, weight) for name, weight, *_ in traced.readouts
    ]
    for name, weight in named:
        if not isinstance(dict(weight.named_parameters(recurse=False)).get("weight"), torch.nn.Parameter):
            raise DomainError("model", name, "computes its weight from other parameters: initialise before that is set up")
        if not weight.weight.is_floating_point():
            raise DomainError("model", name, f"has weights of {weight.weight.dtype}: only floating-point weights can be drawn")
    for layer in traced.layers:
        if layer.driven and not any(bool(given.any()) for given in layer.weight_inputs):
            raise DomainError("inputs", "zero throughout", f"drives nothing through {layer.name}: give a batch of data")


def fill(torch: Any, traced: Trace, plan: list[LayerPlan], generator: Any) -> None:
    """Every layer from a generator of its own, seeded by the given one: so as many at a time as torch has threads, and the
    weights do not depend on their number.
    """
    weights = [layer.weights[0] for layer in traced.layers] + [weight for _, weight, *_ in traced.readouts]
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**63 - 1, (len(weights),), generator=generator, device=device).tolist()

    def one(weight: Any, layer: LayerPlan, seed: int) -> None:
        with torch.no_grad():  # which holds for one thread
            own = torch.Generator(weight.weight.device).manual_seed(seed)
            weight.weight.normal_(0.0, layer.weight_std, generator=own)
            if weight.bias is not None:
                weight.bias.zero_()

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(one, weights, plan, seeds))


@dataclass(slots=True)
class _Aim:
    """What the layers of one kind of neuron are to do."""

    gain: float
    rate: float
    multiplier: float
    exactly: bool  # or at least: beside an edge below which activity dies, a little more is no error
    settles: bool  # whether deep layers return to it


class _Planner:
    """Gains of a traced model."""

    def __init__(self, traced: Trace, quantity: str, value: float, asked: bool):
        self.trace, self.quantity, self.value, self.asked = traced, quantity, value, asked
        self.notes: list[str] = []
        self.survival = math.nan
        self.fans = [mean_fan_in(layer.weights[0], layer.input_shape) for layer in traced.layers]
        self.aims = {neuron: self._aim(neuron) for neuron in dict.fromkeys(layer.neuron for layer in traced.layers)}
        self.gains = [self._first_gain(layer) if layer.driven else self.aims[layer.neuron].gain for layer in traced.layers]

    def plan(self) -> list[LayerPlan]:
        predicted = self._predict()
        if self.quantity != "gain":
            for _ in range(CORRECTIONS):
                if not self._correct(predicted):
                    break
                predicted = self._predict()
        self.survival = float(predicted.survival[-1])
        if self.survival < SURVIVAL:
            dead = f"{100 * (1 - self.survival):.3g} % of networks and inputs fall silent before the last layer"
            self.notes.append(f"{dead}: these widths do not carry this rate; ask for a higher one")
        self.notes += [note for neuron, aim in self.aims.items() if not aim.settles and (note := self._drift(neuron, predicted))]
        spread = predicted.late_rates.std(0)
        rates = predicted.late_rates.mean(0)
        rows = zip(self.trace.layers, self.fans, self.gains, rates.tolist(), spread.tolist(), strict=True)
        plan = [LayerPlan(layer.name, layer.neuron_name, layer.neuron, *numbers) for layer, *numbers in rows]
        return plan + [
            self._readout(*readout, dict(zip((r.neuron_name for r in plan), rates, strict=True)))
            for readout in self.trace.readouts
        ]

    def _aim(self, neuron: Neuron) -> _Aim:
        depth = sum(layer.neuron == neuron for layer in self.trace.layers)
        if self.quantity == "gain":
            kept = run_deep(neuron, self.trace.steps, self.value, depth)
            return _Aim(self.value, kept["firing_rate"] or RATE, 0.5, True, settles(neuron))
        try:
            found = deep_layer(neuron, self.trace.steps, self.quantity, self.value, depth)
        except ConvergenceError as error:
            words = f"cannot be had with {neuron}: {error}"
            if self.quantity == "firing_rate":
                strong = LARGEST * max(neuron.threshold, 1.0) / neuron.input_scale
                words += f"; the largest gains give {run_deep(neuron, self.trace.steps, strong, depth)['firing_rate']:.2g}"
            raise DomainError(self.quantity.removeprefix("firing_"), self.value, words) from None
        if not found.on_target:
            self.notes.append(self._unsustained(neuron, found))
        exactly = found.on_target and self.quantity == "firing_rate"
        return _Aim(found.gain, self.value if exactly else found.firing_rate, found.multiplier, found.on_target, found.settles)

    def _unsustained(self, neuron: Neuron, found: Deep) -> str:
        wanted = f"a late {self.quantity.replace('_', ' ')} of {self.value:g}"
        kept = found.firing_rate if self.quantity == "firing_rate" else found.variance
        how = "kept" if found.settles else "kept in the mean over networks"
        return f"no constant gain keeps {wanted} in {neuron}; the nearest above that is {how} is {kept:.3g}"

    def _drift(self, neuron: Neuron, predicted: Prediction) -> str | None:
        """Over how many layers single networks keep the late rate of the first one, and what becomes of it."""
        of_kind = [l for l, layer in enumerate(self.trace.layers) if layer.neuron == neuron]
        rates = predicted.late_rates[:, of_kind].astype(float)
        off = np.sqrt(np.mean((rates / rates[:, 0].mean() - 1) ** 2, axis=0))
        lost = np.flatnonzero(~(off <= KEPT))
        if not lost.size:
            return None
        return (
            f"layers of {neuron} return to no rate: single networks and inputs keep {rates[:, 0].mean():.3g} to within {100 * KEPT:g} % "
            f"(rms) over {lost[0]} of {len(of_kind)} layers; the last has {rates[:, -1].mean():.3g} ± {rates[:, -1].std():.2g}"
        )

    def _first_gain(self, layer: TracedLayer) -> float:
        """Gain of an input-driven layer, from the moments of its input; what it shall do is what deep layers do."""
        weight, fan = layer.weights[0], self.fans[self.trace.layers.index(layer)]
        moments, _ = currents_from(weight, _unit(weight, fan), *input_moments(layer, self.trace.steps))
        try:
            return layer_gain(layer.neuron, moments, self.aims[layer.neuron].rate)
        except ConvergenceError as error:
            raise DomainError("inputs", f"those of {layer.name}", f"cannot drive it to its rate: {error}") from None

    def _predict(self) -> Prediction:
        rows = zip(self.trace.layers, self.fans, self.gains, strict=True)
        return predict(self.trace, [_unit(layer.weights[0], fan, gain) for layer, fan, gain in rows])

    def _correct(self, predicted: Prediction) -> bool:
        """One step of the gains towards the wanted rate at these widths; whether anything was changed."""
        changed = False
        for neuron, aim in self.aims.items():
            of_kind = [l for l, layer in enumerate(self.trace.layers) if layer.neuron == neuron and not layer.driven]
            deepest = of_kind[-max(len(of_kind) // 3, 1) :]
            if not deepest:
                continue
            rate = float(np.mean(predicted.firing_rate[deepest, late(self.trace.steps)]))
            m = min(max(aim.multiplier, 0.2), 0.9)
            share = 1 / m if len(of_kind) < 3 else (1 - m) / m
            step = 0.5 * share * math.log(aim.rate / max(rate, 0.1 * aim.rate))
            if abs(rate / aim.rate - 1) < CLOSE or (rate > aim.rate and not aim.exactly):
                continue
            factor = math.exp(min(max(step, -LARGEST_STEP), LARGEST_STEP))
            for l in of_kind:
                self.gains[l] *= factor
            changed = True
        return changed

    def _readout(
        self, name: str, weight: Any, sources: tuple[str, ...], shape: tuple[int, ...], rates: dict[str, float]
    ) -> LayerPlan:
        """Outputs of variance 1 at every step, from spikes at the predicted rate."""
        power = max(sum(rates.get(source, 1.0) for source in sources), 1e-3)
        return LayerPlan(name, "", None, mean_fan_in(weight, shape), 1 / math.sqrt(power))


def _unit(weight: Any, fan: float, gain: float = 1.0) -> Moments:
    """Moments of weights ``N(0, gain²/fan)``, with ``fan`` the mean number of inputs over a map."""
    return Moments(fan_in(weight), gain / math.sqrt(fan))
