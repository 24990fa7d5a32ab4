"""The gains of a traced model: deep layers from a fixed point, input-driven ones from the batch, all corrected for their
widths; with notes on what cannot be attained.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError
from varflow.init.fans import fan_in
from varflow.model.neurons import Neuron
from varflow.results import LayerPlan, late_steps
from varflow.theory.roots import first_to_hold
from varflow.torch_models.initialise import layer_gains
from varflow.torch_models.initialise.layer_gains import LOWEST, MANY, RATE, REPEATING, Deep
from varflow.torch_models.initialise.scales import why_kept
from varflow.torch_models.prediction.signals import MOST_INPUTS, Prediction, at_infinite_width, at_own_width, plain, uncovered
from varflow.torch_models.tracing.traced import Trace, TracedLayer, by_step
from varflow.torch_models.tracing.weights import Moments, moments_of, padding_factor

BY_DEFAULT = "firing_rate", RATE

CORRECTIONS = 6  # largest number of corrections of the gain for finite width
ON_TARGET = 0.015  # relative deviation from the wanted rate that needs no correction: below the scatter of networks
SURVIVAL = 0.99  # below, a note is given
WIDER = 16, 2  # largest and smallest factor on all widths with which activity must survive to advise wider layers
NEURONS = 2**16  # largest number in a layer, over all inputs, for a factor above the smallest
GROWN = 1.5  # ratio of the spread of the last layer to that of the first, above which layers drift
DRIFTED = 0.25  # relative deviation (rms over networks and inputs) of a late rate up to which it counts as kept
UNBOUNDED = 1e6  # spikes per step, far above any use, from which rates count as growing without bound
LARGEST_STEP = 0.1  # of a correction, in ln g
TRIED, EDGE = 64.0, 1.3  # largest factor on the rate, and accuracy as a ratio, in the search for a rate that survives


class Planner:
    """Gains of a traced model."""

    def __init__(self, traced: Trace, quantity: str, value: float):
        self.trace, self.quantity, self.value = traced, quantity, value
        self.notes: list[str] = []
        self.survival = self.arriving = math.nan
        # Without the output, whose few neurons scatter and may be silent for single inputs: gains are corrected by it if alone.
        self.hidden = [l for l, layer in enumerate(traced.layers) if layer.neuron_name not in traced.outputs]
        self.fans = [fan_in(layer.weights[0]) for layer in traced.layers]
        self.numbers: dict[Neuron, list[int]] = {}  # of the layers of each neuron
        for l, layer in enumerate(traced.layers):
            self.numbers.setdefault(layer.neuron, []).append(l)
        self.aims = {neuron: self._aim(neuron, len(numbers)) for neuron, numbers in self.numbers.items()}

    @cached_property
    def gains(self) -> list[float]:
        """Gains of all layers, corrected in the end."""
        return [self._first_gain(layer) if layer.driven else self._deep_gain(l) for l, layer in enumerate(self.trace.layers)]

    @property
    def sustains(self) -> bool:
        """False for few layers, of which each can be scaled to a rate on the batch, but no gains keep it for other inputs."""
        few = self.quantity == "firing_rate" and len(self.trace.layers) < REPEATING
        return not few or all(aim.on_target for aim in self.aims.values())

    def plan(self, to_be_scaled: bool = False) -> list[LayerPlan]:
        """The rows of the plan. Layers that will be scaled to their rates on the batch are not predicted at their widths."""
        if to_be_scaled:
            return self._rows([self.aims[layer.neuron].firing_rate for layer in self.trace.layers])
        predicted = self.predict()
        if self.quantity != "gain":
            for _ in range(CORRECTIONS):
                if not self._correct(predicted):
                    break
                predicted = self.predict()
        self._finite(predicted)
        self.survival, self.arriving = float((predicted.late_rates[:, -1] > 0).mean()), self._arriving(predicted)
        drifts = (self._drift(neuron, predicted) for neuron, aim in self.aims.items() if not aim.settles)
        self.notes += filter(None, drifts)
        return self._rows(predicted.rates.tolist(), predicted.late_rates.std(0).tolist())

    def _rows(self, rates: list[float], stds: list[float] | None = None) -> list[LayerPlan]:
        rows = zip(self.trace.layers, self.fans, self.gains, rates, stds or [math.nan] * len(rates), strict=True)
        plan = [LayerPlan(layer.name, layer.neuron_name, layer.neuron, fan, g, p, std) for layer, fan, g, p, std in rows]
        by_name = {row.neuron_name: row.firing_rate for row in plan}
        return plan + [readout_plan(*readout, by_name) for readout in self.trace.readouts]

    def note_losses(self) -> None:
        """Note the inputs that do not reach the last layer: those that are zero, and those lost at these widths."""
        received = [by_step(layer).movedim(1, 0).flatten(1) for layer in self.trace.layers if layer.driven]
        active = float(np.any([x.any(1).cpu().numpy() for x in received], axis=0).mean())
        if active < 1:
            self.notes.append(f"{100 * (1 - active):.3g} % of the inputs are all zero and cannot activate any layer")
        if self.hidden and self.arriving < SURVIVAL * active:  # NaN if not predicted
            self.notes.append(self._lost(active))

    def _lost(self, active: float) -> str:
        """A note on activity lost at these widths, with a rate that would survive; ``active``: fraction of inputs not zero."""
        # Maps have any width: their theory is that of many channels.
        widest = max(getattr(layer.weights[0], "out_features", 1) for layer in self.trace.layers)
        wider = min(max(NEURONS // (widest * MOST_INPUTS), WIDER[1]), WIDER[0])
        low = max(aim.firing_rate for aim in self.aims.values())
        limit = min(layer_gains.attainable_rates(neuron, self.trace.steps, len(self.trace.layers))[1] for neuron in self.aims)
        high = low * ((limit if limit < math.inf else TRIED * low) / low) ** 0.9
        if low < high and self._carries(high, active):
            _, high = first_to_hold(lambda rates: [self._carries(float(rates[0]), active)], low, high, EDGE, at_once=1)
            end = f"rate={high:.2g} does"
        elif self._arriving(self.predict(wider)) >= SURVIVAL * active:
            end = "make the layers wider: higher rates do not survive either"
        else:
            end = f"neither higher rates nor {wider} times the width do: are some inputs much weaker than others?"
        where = "before the last layer" if len(self.trace.layers) > 1 else "in the only layer"
        dead = f"{100 * (1 - self.arriving / active):.3g} % of networks and inputs fall silent {where}"
        return f"{dead}: at these widths activity does not survive at this {self.quantity.removeprefix('firing_')}; {end}"

    def _carries(self, rate: float, active: float) -> bool:
        """True if activity survives at these widths when layers are planned with this rate."""
        try:
            planner = Planner(self.trace, "firing_rate", float(f"{rate:.2g}"))
        except DomainError:
            return False
        return planner._arriving(planner.predict()) >= SURVIVAL * active

    def _arriving(self, predicted: Prediction) -> float:
        """The fraction of networks and inputs that fire the last hidden layer; 0 if none fires the last one."""
        fires = (predicted.late_rates > 0).mean(0)
        return float(fires[self.hidden[-1] if self.hidden and fires[-1] else -1])

    def _aim(self, neuron: Neuron, depth: int) -> Deep:
        """The state that the layers of one neuron, ``depth`` in number, are to have."""
        if self.quantity == "gain":
            deep = layer_gains.run_deep(neuron, self.trace.steps, self.value, depth)
            return deep if 0 < deep.firing_rate < MANY else replace(deep, firing_rate=RATE)  # silent, or growing
        if self.quantity == "firing_rate" and self.value < LOWEST:
            raise self._out_of_reach(neuron, depth)
        try:
            deep = layer_gains.deep_layer(neuron, self.trace.steps, self.quantity, self.value, depth)
        except ConvergenceError:
            raise self._out_of_reach(neuron, depth) from None
        if not deep.on_target:
            self.notes.append(self._unsustained(neuron, deep, depth))
        return replace(deep, firing_rate=self.value) if deep.on_target and self.quantity == "firing_rate" else deep

    def _out_of_reach(self, neuron: Neuron, depth: int) -> DomainError:
        """The error for a value that is too high or too low, with the attainable range."""
        name, steps = self.quantity.removeprefix("firing_"), self.trace.steps
        least, limit = layer_gains.attainable_rates(neuron, steps, depth)
        lowest = layer_gains.deep_layer(neuron, steps, "firing_rate", max(least, LOWEST), depth)
        upwards = f"to below {_rounded_down(limit)}" if limit < math.inf else "upwards"
        words = f"late rates from about {lowest.firing_rate:.2g} {upwards}"
        words += f" and late variances from about {lowest.variance:.2g}" if name == "variance" else ""
        return DomainError(name, self.value, f"is not attainable by {neuron} over {depth} wide layers: attainable are {words}")

    def _unsustained(self, neuron: Neuron, nearest: Deep, depth: int) -> str:
        wanted = f"a late {self.quantity.replace('_', ' ')} of {self.value:g}"
        value = nearest.firing_rate if self.quantity == "firing_rate" else nearest.variance
        how = "sustained" if nearest.settles else "sustained in the mean over networks"
        limit = layer_gains.attainable_rates(neuron, self.trace.steps, depth)[1]
        below = f" (late rates stay below {_rounded_down(limit)})" if limit < math.inf else ""
        gains = "no constant gain sustains" if len(nearest.gains) == 1 < depth else "no gains of layers sustain"
        why = f"over {depth} layers of {neuron}, where activity dies or deviations grow"
        return f"{gains} {wanted} {why}; the nearest above that is {how} is {value:.3g}{below}"

    def _finite(self, predicted: Prediction) -> None:
        lost = np.flatnonzero(~(predicted.firing_rate < UNBOUNDED).all(1))
        if lost.size:
            layer = self.trace.layers[lost[0]]
            gain = layer_gains.deep_layer(layer.neuron, self.trace.steps, "firing_rate", RATE, len(self.trace.layers)).gain
            rule = f"lets rates of {layer.neuron} grow from layer to layer, in {layer.name} without bound"
            words = f"{rule}; gain={gain:.3g} keeps them in the mean"
            raise DomainError(self.quantity.removeprefix("firing_"), self.value, words)

    def _drift(self, neuron: Neuron, predicted: Prediction) -> str | None:
        """A note on the number of layers over which single networks keep the late rate of the first."""
        numbers = self.numbers[neuron]
        rates = predicted.late_rates[:, numbers].astype(float)
        spread = np.sqrt(np.mean((rates / rates[:, 0].mean() - 1) ** 2, axis=0))
        keeping = int(np.argmin([*(spread <= DRIFTED), False]))  # number of layers before the first that does not
        if keeping == len(numbers) or spread[-1] < GROWN * spread[0]:
            return None
        first, last = rates[:, 0].mean(), rates[:, -1]
        span = f"keep {first:.3g} to within {100 * DRIFTED:g} % (rms) over {keeping} of {len(numbers)} layers"
        end = f"the last has {last.mean():.3g} ± {last.std():.2g}"
        return f"layers of {neuron} have no stable rate: single networks and inputs {span}; {end}"

    def _deep_gain(self, l: int) -> float:
        layer = self.trace.layers[l]
        gain = self.aims[layer.neuron].gain_of(self.numbers[layer.neuron].index(l))
        return gain if self.quantity == "gain" else gain * padding_factor(layer.weights[0], layer.input_shape)

    def _first_gain(self, layer: TracedLayer) -> float:
        """Gain of an input-driven layer, for the late rate of deep layers."""
        try:
            return layer_gains.layer_gain(self.trace, layer, self.aims[layer.neuron].firing_rate)
        except ConvergenceError as error:
            words = "; ".join(["cannot drive it to its rate", str(error), *self.notes])
            raise DomainError("inputs", f"those of {layer.name}", words) from None

    def predict(self, wider: int = 1) -> Prediction:
        """The prediction at these gains; of chains of dense layers also so many times wider."""
        rows = zip(self.trace.layers, self.fans, self.gains, strict=True)
        moments = {layer.name: Moments(fan, gain / math.sqrt(fan)) for layer, fan, gain in rows}
        return at_own_width(self.trace, moments, wider) if plain(self.trace) else at_infinite_width(self.trace, moments)

    def _correct(self, predicted: Prediction) -> bool:
        """Correct the gains once towards the wanted rate at these widths; True if any changed."""
        changed = False
        for neuron, aim in self.aims.items():
            inner = [l for l in self.numbers[neuron] if not self.trace.layers[l].driven]
            hidden = [l for l in inner if l in self.hidden] or inner
            deepest = hidden[-max(len(hidden) // 3, 1) :]
            if not deepest:
                continue
            rate = float(np.mean(predicted.firing_rate[deepest, late_steps(self.trace.steps)]))
            # Currents have variance g² r, so one layer has d ln r/d ln g = 2m; deep ones, each fed by the others, 2m/(1 - m).
            m = min(max(aim.multiplier, 0.2), 0.9)
            inverse = 1 / m if len(inner) < 3 else (1 - m) / m
            step = 0.5 * inverse * math.log(aim.firing_rate / max(rate, 0.1 * aim.firing_rate))
            if abs(rate / aim.firing_rate - 1) < ON_TARGET or (rate > aim.firing_rate and not aim.on_target):
                continue
            factor = math.exp(min(max(step, -LARGEST_STEP), LARGEST_STEP))
            for l in inner:
                self.gains[l] *= factor
            changed = True
        return changed


def planned_gains(traced: Trace) -> list[float]:
    """The gains that ``init_model`` would set in a plain chain, of maps before they are scaled."""
    planner = Planner(traced, *BY_DEFAULT)
    planner.plan(to_be_scaled=has_maps(traced))
    return planner.gains


def has_maps(traced: Trace) -> bool:
    """True if weights are convolutions."""
    return any(not hasattr(layer.weights[0], "in_features") for layer in traced.layers if layer.weights)


def readout_plan(
    name: str, weight: Any, sources: tuple[str, ...], shape: tuple[int, ...], rates: dict[str, float], why: str | None = None
) -> LayerPlan:
    """Outputs of variance 1 at every step, from spikes at the planned rates; the present weights if they cannot be drawn, or
    ``why`` they are kept.
    """
    if (why := why or why_kept(name, weight, {})) is not None:
        return LayerPlan(name, "", None, fan_in(weight), moments_of(weight).gain, set_by=f"kept: {why}")
    power = max(sum(rates.get(source, 1.0) for source in sources), 1e-3)
    return LayerPlan(name, "", None, fan_in(weight), padding_factor(weight, shape) / math.sqrt(power))


def beyond_a_chain(trace: Trace) -> list[str]:
    """Names of all by which a model is more than a plain chain of weights and known neurons; empty if theory plans it."""
    unknown = [
        f"{layer.neuron_name} is a neuron that theory does not know" for layer in trace.layers if not layer.spiking.neuron
    ]
    return unknown or uncovered(trace)


def _rounded_down(rate: float) -> str:
    """The rate rounded down to three decimals."""
    return f"{math.floor(1000 * rate) / 1000:g}"
