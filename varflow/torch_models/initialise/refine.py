r"""Scaling of each layer's currents until its late rate on the batch is the planned one.

All layers at once, then those that are left one by one, in the order in which they run. A pass measures all layers; with
``r_l`` the measured rate divided by the planned one,

.. math:: \Delta \ln g_l = -(\ln r_l - \tfrac a2 \ln r_{l-1})/a, \qquad a = z φ(z)/Q(z), \quad Q(z) = r

corrects each layer's own deviation without that caused by the layer below (which has no effect behind a normalisation). ``a``
is ``d ln r/d ln g`` of a memoryless neuron, accurate enough for convergence in a few passes. Layers that have their rate are
left alone, since each change reshuffles the spikes of all layers above: in narrow networks their rates move by a few per cent.
A single layer's rate is a rising function of ``ln g``, in small layers with steps: it is bracketed, beginning with a step of
``|ln r|``, and the bracket is cut by the secant or halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from varflow._restoring import kept
from varflow.model.library_neurons import Spiking
from varflow.results import late_steps
from varflow.torch_models.initialise.scales import LayerScale
from varflow.torch_models.tracing.measurements import PASSES as RANDOM_PASSES
from varflow.torch_models.tracing.origins import tensors_in
from varflow.torch_models.tracing.passes import copied, forward, reseed
from varflow.torch_models.tracing.traced import Trace, stacked, steps_first

HALVED = 16  # inputs from which every second one is held out, to measure rates on fresh inputs
PASSES = 12  # forward passes with all layers at once, at most
SINGLE = 10  # forward passes for a single layer, at most
MOST_PASSES, MOST_SINGLE = PASSES + 1, SINGLE + 1  # with those that go back to the best factors
REFINED = 0.02  # relative deviation from the planned rate at which refinement ends
LEFT = 0.05  # the same of a single layer, if its rate is not known better from the inputs
INDISTINCT = 0.05  # deviations in ln r that differ by less count as equal: the smaller change of weights is preferred
LARGEST_STEP, FAR_STEP = 0.3, 1.2  # of one layer in one pass, in ln g: close to its rate, and a factor of 2 or more from it
NARROW = 0.005  # of a bracket in ln g: less than the rate's own steps
FARTHEST = math.log(1e3)  # from the first gain, in ln g
SILENT = math.log(0.01)  # ln r of a layer without spikes
Rates = dict[str, np.ndarray]


def late_rates(model: Any, inputs: Any, steps: int | None, traced: Trace, axis: int = 2) -> Rates:
    """Measured late rates of every input, or with ``axis=1`` of every neuron, by name of the neuron layer; means over passes if
    the model draws random numbers.
    """
    passes = rates_of_passes(model, inputs, steps, traced, axis)
    return {name: np.mean([rates[name] for rates in passes], axis=0) for name in passes[0]}


def rates_of_passes(model: Any, inputs: Any, steps: int | None, traced: Trace, axis: int = 2) -> list[Rates]:
    """Measured late rates, pass by pass."""
    return [_of_one_pass(model, inputs, steps, traced, number, axis) for number in range(RANDOM_PASSES if traced.random else 1)]


def _of_one_pass(model: Any, inputs: Any, steps: int | None, traced: Trace, number: int, axis: int) -> Rates:
    modules = dict.fromkeys(layer.module for layer in traced.layers)
    calls = {module: iter([layer for layer in traced.calls if layer.module is module]) for module in modules}
    rates: dict[str, list[Any]] = {layer.neuron_name: [] for layer in traced.layers}

    def record(module: Any, args: Any, out: Any) -> None:
        layer = next(calls[module], None)  # one module may serve several layers
        if layer is not None:  # None if the spikes led to more calls than in the trace
            rates[layer.neuron_name] += _by_step(layer.spiking, tensors_in(out)[0], axis)

    def measured() -> None:
        reseed(number)
        for module in modules:
            module.register_forward_hook(record, prepend=True)  # before hooks that alter spikes, as in the audit
        with torch.no_grad():
            forward(model, copied(inputs), steps, list(modules))

    kept(model, measured)
    return {name: stacked(by_step)[late_steps(len(by_step))].mean(0).numpy() for name, by_step in rates.items()}


def _by_step(spiking: Spiking, spikes: Any, axis: int) -> list[Any]:
    """Mean spikes of every input, or neuron, step by step."""
    steps = steps_first(spiking, spikes)
    rates = steps.detach().float().reshape(*steps.shape[:2], -1).mean(axis) if steps.dim() > 1 else steps[:, None].float()
    return list(rates.cpu().double())


def settle(scales: list[LayerScale], aims: dict[str, float], measure: Callable[[], Rates]) -> tuple[Rates, int]:
    """Scale layers until each has the rate aimed at, or the nearest within reach; the rates then, and the number of passes.

    Every second input of a batch of at least ``HALVED`` is held out.
    """
    return _Settling([scale for scale in scales if scale.layer.neuron_name in aims and scale.scaled], aims, measure).run()


class _Settling:
    """Present factors, and the rates measured with them."""

    def __init__(self, scales: list[LayerScale], aims: dict[str, float], measure: Callable[[], Rates]):
        self.scales, self.aims, self.measure = scales, aims, measure
        self.rates: Rates = {}
        self.passes = 0

    def run(self) -> tuple[Rates, int]:
        """The rates at the end, and the number of passes."""
        self._all_at_once()
        for scale in self.scales:
            if abs(self._deviation(scale)) > self._tolerance(scale) and self._receives_spikes(scale):
                self._alone(scale)
        return self.rates, self.passes

    def _rates_of(self, name: str) -> np.ndarray:
        """The rates of the inputs that are not held out."""
        rates = self.rates[name]
        return rates[::2] if len(rates) >= HALVED else rates

    def _rate(self, name: str) -> float:
        return float(np.mean(self._rates_of(name)))

    def _deviation(self, scale: LayerScale) -> float:
        """``ln r`` of a layer."""
        name = scale.layer.neuron_name
        return max(math.log(max(self._rate(name), 1e-30) / self.aims[name]), SILENT)

    def _tolerance(self, scale: LayerScale) -> float:
        """``|ln r|`` at which a single layer is left: the standard error of its rate over inputs, within bounds."""
        name = scale.layer.neuron_name
        rates = self._rates_of(name)
        return min(max(float(np.std(rates)) / math.sqrt(len(rates)) / self.aims[name], REFINED), LEFT)

    def _receives_spikes(self, scale: LayerScale) -> bool:
        """True if any of the layers below fires."""
        origin = scale.layer.origin
        sources = scale.layer.sources or (() if origin is None else origin.sources)
        rates = [self._rate(name) for name in sources if name in self.rates]
        return len(rates) < len(sources) or any(rates)

    def _rescaled(self, scales: list[LayerScale], factors: list[float]) -> list[float]:
        """Deviations of these layers with these factors, by one pass."""
        for scale, factor in zip(scales, factors, strict=True):
            scale.to(factor)
        self.rates = self.measure()
        self.passes += 1
        return [self._deviation(scale) for scale in scales]

    def _all_at_once(self) -> None:
        factors = best = latest = [scale.factor for scale in self.scales]
        smallest = math.inf
        for _ in range(PASSES):
            deviations, latest = self._rescaled(self.scales, factors), factors
            total = sum(map(abs, deviations))
            if total < smallest:
                best, smallest = factors, total
            if max(map(abs, deviations), default=0.0) < REFINED:
                break
            steps = self._newton([deviation if abs(deviation) > REFINED else 0.0 for deviation in deviations])
            factors = [factor * math.exp(step) for factor, step in zip(factors, steps, strict=True)]
        if best is not latest:  # layers of few neurons may not converge: take the best
            self._rescaled(self.scales, best)

    def _newton(self, deviations: list[float]) -> list[float]:
        """The steps of all layers in ln g."""
        by_name = {scale.layer.neuron_name: deviation for scale, deviation in zip(self.scales, deviations, strict=True)}
        steps = []
        for scale, deviation in zip(self.scales, deviations, strict=True):
            slope = _slope(self.aims[scale.layer.neuron_name])
            below = by_name.get(scale.layer.sources[0], 0.0) if scale.by_weights and scale.layer.sources else 0.0
            step = (0.5 * slope * below - deviation) / slope if self._receives_spikes(scale) else 0.0
            largest = FAR_STEP if abs(deviation) > math.log(2) else LARGEST_STEP
            reach = FARTHEST - abs(math.log(scale.factor))
            steps.append(math.copysign(min(abs(step), largest, max(reach, 0.0)), step))
        return steps

    def _alone(self, scale: LayerScale) -> None:
        """Bracket one layer's factor, and set the one of those tried whose rate is nearest."""
        tolerance, step = self._tolerance(scale), 0.0
        tried = [(math.log(scale.factor), self._deviation(scale))]
        low, high = (tried[0], None) if tried[0][1] < 0 else (None, tried[0])
        while len(tried) < SINGLE and abs(tried[-1][1]) > tolerance:
            if low is not None and high is not None:
                if high[0] - low[0] < NARROW:
                    break
                x = _secant(low, high)
            else:
                x, deviation = tried[-1]
                step = min(max(2 * step, abs(deviation)), 4 * LARGEST_STEP + abs(deviation))
                x = x + step if deviation < 0 else x - step
                if abs(x) > FARTHEST:
                    break
            (deviation,) = self._rescaled([scale], [math.exp(x)])
            tried.append((x, deviation))
            low, high = (tried[-1], high) if tried[-1][1] < 0 else (low, tried[-1])
        nearest = _nearest(tried, tolerance)
        if nearest != tried[-1][0]:
            self._rescaled([scale], [math.exp(nearest)])


def _nearest(tried: list[tuple[float, float]], tolerance: float) -> float:
    """The ln g with the smallest deviation; of those that hardly differ, that of the smallest change of weights."""
    least = min(abs(deviation) for _, deviation in tried)
    margin = 0.0 if least <= tolerance else INDISTINCT
    return min((x for x, deviation in tried if abs(deviation) <= least + margin), key=lambda x: abs(x - tried[0][0]))


def _secant(low: tuple[float, float], high: tuple[float, float]) -> float:
    """The secant's zero, within the middle 80 % of a bracket."""
    # The rate of few neurons rises in steps, on which secants stall: each cut takes at least a tenth of the bracket.
    (a, low_value), (b, high_value) = low, high
    fraction = low_value / (low_value - high_value)
    return a + min(max(fraction, 0.1), 0.9) * (b - a)


def _slope(rate: float) -> float:
    """``d ln r/d ln g`` of a memoryless neuron at a rate."""
    normal, r = NormalDist(), min(max(rate, 1e-4), 0.4)
    z = normal.inv_cdf(1 - r)
    return z * normal.pdf(z) / r
