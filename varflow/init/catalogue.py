"""The catalogue: a comparison of published initialisations by survival of activity and number of spikes.

The methods' weights come from ``published``, their consequences from theory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from varflow._checks import DomainError, choice, integer, probability, several
from varflow._progress import check_progress, reporter
from varflow.init.published import METHODS, Method, Setting, Weights
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drives import currents
from varflow.model.network import Network
from varflow.model.neurons import Neuron, equal_neurons
from varflow.model.resets import Reset
from varflow.results import Catalogue, CatalogueEntry, Profile
from varflow.results.export import CRITERIA
from varflow.theory.deep.look import ALIVE, late, sustained
from varflow.theory.finite_width.in_time.survival import drawn_survival
from varflow.theory.finite_width.profile import finite_width
from varflow.theory.mean_field import mean_field
from varflow.theory.memoryless.fixed_points import critical_gain

POINTS, SCRAMBLES = 2**12, 4  # of quasi-Monte Carlo: rates are then accurate to 1e-3
NETWORKS = 1000  # drawn for survival in time


def catalogue(
    *,
    threshold: float | None = None,
    decay: float | None = None,
    fan_in: int = 512,
    depth: int = 100,
    width: int | None = None,
    steps: int | None = None,
    reset: str | Reset | None = None,
    input_scale: float | None = None,
    neuron: Any = None,
    rate: float = 0.1,
    survival_target: float = 0.99,
    alive: str | None = None,
    methods: Sequence[Method] = METHODS,
    progress: bool | Callable[[int, int], object] = False,
) -> Catalogue:
    r"""A comparison of published initialisations: their gains, survival, firing rates and spikes.

    Parameters
    ----------
    threshold, decay, reset, input_scale
        Of the neuron, with the defaults of :class:`varflow.Neuron`.
    fan_in : int
        Inputs per neuron, for the standard deviation of a weight.
    depth : int
        Layer that activity should reach.
    width : int, optional
        Neurons per layer; by default the fan-in.
    steps : int, optional
        Time steps; by default 1 for a memoryless neuron, else 20.
    neuron : Neuron, torch module or str, optional
        As :func:`varflow.neuron` takes it; instead of threshold, decay, reset and input scale; other arguments must agree.
    rate : float
        Firing rate for methods that need one.
    survival_target : float
        Survival at which a method counts as surviving, strictly between 0 and 1.
    alive : str, optional
        In time: which steps must have spikes, as in :func:`varflow.survival`. Survival at this width is then that of 1000
        networks drawn, a method survives if it reaches the target within 3 standard errors, and ``corrected`` has a gain.
    methods : sequence of Method
        Methods to compare; ``[*vf.init.published.METHODS, mine]`` adds your own (:class:`varflow.init.published.Method`).
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in methods.

    Returns
    -------
    Catalogue
        ``.methods``, ``.surviving``, ``["micheli"]``, ``.profiles``, ``.to_dict()``, ``.plot()``, ``.plot_layers()``.

    Raises
    ------
    DomainError
        For values outside their domain, or in conflict with the neuron's.

    Notes
    -----
    **Assumes** dense layers of equal width, independent normal weights of each method's gain, and a drive that gives layer 1
    potentials of variance 1 at step 1. Memoryless neurons: exact at this width (:func:`varflow.finite_width`). In time:
    infinite width (:func:`varflow.mean_field`), ``firing_rate`` is the mean over steps, and there is no survival without
    ``alive``; a step is then alive as in :func:`varflow.temporal_critical_gain`, in every scramble. Steps count from the first
    arrival, so a delay has no effect. Only the fluctuation-driven gain accounts for synaptic filters.
    **Accuracy** in time with a reset: rates within 7e-4 per step (θ = 1, β = 0.5, zero, 20 steps, layer 100).
    A bias common to all neurons shifts the threshold of a memoryless neuron, in layer 1 too; in time it is not predicted.
    Formulas and sources of the methods are in ``vf.init.published``.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.catalogue(threshold=1.0, fan_in=512)
    >>> [(key, round(found[key].gain, 4), found[key].survives) for key in ("kaiming", "micheli", "corrected")]
    [('kaiming', 1.4142, False), ('micheli', 2.5106, False), ('corrected', 2.5606, True)]

    For a library's neuron, in time:

    >>> found = vf.catalogue(neuron=vf.neurons.snntorch_leaky(0.5, reset_mechanism="none"), depth=20, steps=8)
    >>> [(entry.key, round(entry.firing_rate, 3)) for entry in found.surviving[:2]]
    [('micheli_finite_size', 0.3), ('micheli', 0.316)]
    """
    n, L = integer("fan_in", fan_in, minimum=1), integer("depth", depth, minimum=1)
    cell = _neuron(neuron, threshold=threshold, decay=decay, reset=reset, input_scale=input_scale)
    T = (1 if cell.memoryless else 20) if steps is None else integer("steps", steps, minimum=1)
    setting = Setting(
        neuron=cell,
        fan_in=n,
        width=n if width is None else integer("width", width, minimum=1),
        depth=L,
        rate=probability("rate", rate, open_ends=True),
        survival_target=probability("survival_target", survival_target, open_ends=True),
        steps=T,
        alive=None if alive is None else choice("alive", alive, CRITERIA),
    )
    if T == 1 and cell.reset_rule.counts:
        raise DomainError("steps", T, f"is too few for reset={cell.reset!r}, with several spikes per step: give more steps")
    compared = _methods(methods)
    check_progress(progress)
    predicted: dict[Weights, Any] = {}
    entries, profiles = [], {}
    with reporter(progress, len(compared), "methods") as report:
        for done, method in enumerate(compared, start=1):
            entry, profile = _entry(method, setting, predicted)
            entries.append(entry)
            if profile is not None:
                profiles[method.key] = profile
            report(done)
    critical = float(critical_gain(threshold=cell.threshold)) / cell.input_scale if T == 1 else float("nan")
    shape = (n, setting.width, L, T, setting.rate, setting.survival_target)
    return Catalogue(tuple(entries), cell, *shape, critical_gain=critical, profiles=profiles, alive=setting.alive)


def _methods(methods: Any) -> list[Method]:
    compared = list(several("methods", methods, Method, empty=True))
    repeated = sorted({method.key for method in compared if sum(method.key == other.key for other in compared) > 1})
    if repeated:
        raise DomainError("methods", repeated, "occur more than once: keys must differ")
    return compared


def _neuron(neuron: Any, **parts: Any) -> Neuron:
    """The given neuron, or one made from threshold, decay, reset and input scale."""
    named = {name: value for name, value in parts.items() if value is not None}
    given = Neuron(**named) if neuron is None else as_neuron(neuron)
    completed = replace(given, **named)
    for name, value in named.items():
        if getattr(completed, name) != getattr(given, name):
            raise DomainError(name, value, f"conflicts with the neuron's {getattr(given, name)}: give one of them")
    if equal_neurons(completed, "vf.finite_width or vf.mean_field for each gain").threshold <= 0:
        argument, value = ("threshold", completed.threshold) if neuron is None else ("neuron", neuron)
        rule = "must be positive: at θ ≤ 0 activity never dies, and gains scale with θ"
        raise DomainError(argument, value, rule if neuron is None else f"has a threshold that {rule}")
    return completed


def _entry(method: Method, setting: Setting, predicted: dict[Weights, Any]) -> tuple[CatalogueEntry, Profile | None]:
    entry = CatalogueEntry(method.key, method.name, method.needs, method.ignores, method.citation, colour=method.colour)
    if method.weights is None:
        return entry, None
    try:
        weights = method.weights(setting)
        if weights.gain > 1e19:  # above it, squares of weights overflow in single precision
            rule = f"is too large: a gain of {weights.gain:.2g} would be needed"
            raise DomainError("threshold", setting.neuron.threshold, rule)
    except DomainError as refusal:
        return replace(entry, remark=str(refusal)), None
    std = weights.gain / math.sqrt(setting.fan_in)
    entry = replace(entry, gain=weights.gain, weight_std=std, bias=weights.bias, bias_std=weights.bias_std)
    if weights.bias and setting.steps > 1:
        return replace(entry, remark="a bias common to all neurons is not predicted in time"), None
    if weights not in predicted:  # several methods may have the same weights
        profile = _profile(weights, setting)
        predicted[weights] = profile, _last_layer(profile, setting)
    profile, numbers = predicted[weights]
    return replace(entry, **numbers), profile


def _profile(weights: Weights, setting: Setting) -> Profile:
    neuron, steps = replace(setting.neuron, delay=0), setting.steps
    if steps == 1:  # the first step is memoryless with any reset; a common bias shifts the threshold
        neuron = Neuron(neuron.threshold - neuron.input_scale * weights.bias, input_scale=neuron.input_scale)
    shape: dict[str, Any] = {"width": setting.width, "depth": setting.depth, "steps": steps, "neuron": neuron}
    network = Network(gain=weights.gain, bias_std=weights.bias_std, drive=currents(1 / neuron.input_scale), **shape)
    return finite_width(network) if steps == 1 else mean_field(network, points=POINTS, scrambles=SCRAMBLES)


def _last_layer(profile: Profile, setting: Setting) -> dict[str, Any]:
    survival, error, rate = None, 0.0, float(profile.firing_rate[-1].mean())
    if setting.steps == 1:
        survival = float(profile.survival[-1])
    elif setting.alive is not None:
        drawn = drawn_survival(profile.network, setting.alive, NETWORKS)
        survival, error = float(drawn.value[-1]), float(drawn.error[-1])
    enough = survival is not None and survival >= setting.survival_target - 3 * error
    alive = _in_time(profile) if survival is None else "yes" if enough else "no"
    spikes = setting.width * rate
    numbers = {"survival": survival, "firing_rate": rate, "spikes": spikes, "synaptic_operations": spikes * setting.width}
    return {"alive": alive, "survives": alive in ("yes", "late")} | numbers


def _in_time(profile: Profile) -> str:
    """The steps at which the last layer is alive in all r scrambles: only then the mean can exceed r - 1 standard errors."""
    rate, error = profile.firing_rate[-1], profile.error.get("firing_rate")
    safe = rate if error is None else rate - (SCRAMBLES - 1) * error[-1]
    living = sustained(profile.network.neuron, safe > ALIVE)
    if living.all():
        return "yes"
    if late(living).all():
        return "late"
    return "volleys" if (rate > ALIVE).any() else "no"
