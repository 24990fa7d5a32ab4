"""Hypothesis strategies for thresholds, gains, distributions, neurons, drives and networks.

Every value is valid as drawn, without filtering. Examples shrink towards threshold 1, the normal distribution and small
networks. Hypothesis is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import varflow as vf
from varflow._checks import DomainError, flag, integer, non_negative, real_array, real_number, require, scalar

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def thresholds(
    min_value: float | None = None, max_value: float | None = None, *, positive: bool = True
) -> SearchStrategy[float]:
    """Thresholds ``θ``, shrinking towards 1 if that is within the bounds.

    Parameters
    ----------
    min_value, max_value : float, optional
        Inclusive bounds; by default 0.05 and 3, and -3 and 3 with ``positive=False``.
    positive : bool
        Whether all ``θ > 0``; otherwise 0 and negative thresholds are drawn too.

    Raises
    ------
    DomainError
        For bounds that are not finite, in the wrong order, or not positive with ``positive=True``.

    Examples
    --------
    >>> import varflow as vf
    >>> from hypothesis import find
    >>> find(vf.testing.thresholds(), lambda theta: True)
    1.0
    >>> find(vf.testing.thresholds(2.5, 7), lambda theta: True)
    3.0
    """
    low, high = _bounds(min_value, max_value, 0.05 if flag("positive", positive) else -3.0, 3.0)
    if positive and low <= 0:
        raise DomainError("min_value", low, "must be positive; positive=False allows other thresholds")
    return _floats(low, high, towards=1.0)


def gains(
    min_value: float | None = None,
    max_value: float | None = None,
    *,
    threshold: float = 1.0,
    distribution: Any = "normal",
    living: bool = True,
) -> SearchStrategy[float]:
    """Gains ``g = σ_w √n``, shrinking towards round numbers.

    Parameters
    ----------
    min_value, max_value : float, optional
        Inclusive bounds; by default 0.1 and four times the larger of 1 and the critical gain.
    threshold : float
        ``θ``, which sets the critical gain. To draw both: ``thresholds().flatmap(lambda t: gains(threshold=t))``.
    distribution : str or object
        Of the standardised potential.
    living : bool
        Whether gains are at least 0.1 % above the critical one, so that activity can last at infinite width; otherwise any
        positive gain.

    Raises
    ------
    DomainError
        For bounds in the wrong order or not positive, and where no gain between them is above the critical one.

    Examples
    --------
    >>> import varflow as vf
    >>> from hypothesis import find
    >>> find(vf.testing.gains(threshold=2.0), lambda gain: True)  # the critical gain is 4.913
    5.0
    """
    threshold = real_number("threshold", threshold)
    critical = float(vf.critical_gain(threshold=threshold, distribution=distribution))
    low, high = _bounds(min_value, max_value, 0.1, 4 * max(1.0, critical))
    if low <= 0:
        raise DomainError("min_value", low, "must be positive")
    if flag("living", living):
        low = max(low, (1 + 1e-3) * critical)  # nearer the critical gain every problem is ill-conditioned
        if low > high:
            raise DomainError("max_value", high, f"must exceed the critical gain {critical:.6g} by 0.1 %, or set living=False")
    return _floats(low, high, towards=low)


def distributions(*, heavy_tails: bool = True) -> SearchStrategy[Any]:
    """Distributions of the standardised potential, shrinking towards the normal one.

    Parameters
    ----------
    heavy_tails : bool
        Whether to draw Student's t with 2.5 to 50 degrees of freedom besides normal, uniform, Laplace and logistic.

    Examples
    --------
    >>> import varflow as vf
    >>> from hypothesis import find
    >>> find(vf.testing.distributions(), lambda distribution: True).name
    'normal'
    """
    st = _hypothesis()
    named = st.sampled_from([vf.distribution(name) for name in ("normal", "uniform", "laplace", "logistic")])
    student = st.floats(2.5, 50).map(vf.distributions.student_t)
    return st.one_of(named, student) if flag("heavy_tails", heavy_tails) else named


def neurons(
    thresholds: SearchStrategy[float] | None = None, *, memoryless: bool = True, max_delay: int = 0
) -> SearchStrategy[vf.Neuron]:
    """Neurons, shrinking towards ``Neuron(threshold=1)``.

    Parameters
    ----------
    thresholds : strategy, optional
        Of ``θ``; by default :func:`thresholds`, positive.
    memoryless : bool
        Whether all neurons are memoryless, with an input scale from 0.25 to 4 and ``>`` or ``≥``. Otherwise they also have a
        decay in [0, 1], a synaptic decay in [0, 0.9] and any named reset (several spikes per step only for ``θ > 0``).
    max_delay : int
        Largest delay in steps; by default none.

    Raises
    ------
    DomainError
        For a negative delay.

    Examples
    --------
    >>> import varflow as vf
    >>> from hypothesis import find
    >>> find(vf.testing.neurons(), lambda neuron: True)
    Neuron(threshold=1)
    >>> find(vf.testing.neurons(memoryless=False), lambda neuron: neuron.decay >= 0.5)
    Neuron(threshold=1, decay=1.0)
    """
    st = _hypothesis()
    drawn = _strategy("thresholds", thresholds, _thresholds())
    options = {"input_scale": _floats(0.25, 4.0, towards=1.0), "strict": st.sampled_from([True, False])}
    options["delay"] = st.integers(0, integer("max_delay", max_delay, minimum=0))
    if flag("memoryless", memoryless):
        return st.builds(vf.Neuron, drawn, **options)

    def with_memory(theta: float) -> SearchStrategy[vf.Neuron]:
        resets = st.sampled_from([name for name, rule in vf.resets.FAMILIES.items() if theta > 0 or not rule.counts])
        decays = {"decay": _floats(0.0, 1.0, towards=0.0), "synaptic_decay": _floats(0.0, 0.9, towards=0.0)}
        return st.builds(vf.Neuron, st.just(theta), **options, **decays, reset=resets)

    return drawn.flatmap(with_memory)


def drives(
    *, steps: int | None = None, width: int | None = None, max_fan_in: int = 6, max_batch: int = 3, given: bool = False
) -> SearchStrategy[vf.drives.Drive]:
    """Drives of layer 1, shrinking towards ``currents(std=1)``: also white currents, inputs and spike trains.

    Parameters
    ----------
    steps : int, optional
        Of the network; allows inputs with one vector per step.
    width : int, optional
        Of layer 1; allows given currents with one value per neuron.
    max_fan_in, max_batch : int
        Largest number of inputs per neuron, and of rows in a batch.
    given : bool
        Whether to draw given currents too, which have no covariance; needs ``steps``.

    Raises
    ------
    DomainError
        For a number that is not positive, or ``given`` without ``steps``.

    Examples
    --------
    >>> import varflow as vf
    >>> from hypothesis import find
    >>> find(vf.testing.drives(), lambda drive: True)
    currents(std=1)
    >>> find(vf.testing.drives(steps=2), lambda drive: drive.steps == 2).x.shape
    (1, 2, 1)
    """
    st = _hypothesis()
    if flag("given", given) and steps is None:
        raise DomainError("steps", steps, "must be given together with given=True")
    held = [()] if steps is None else [(), (integer("steps", steps, minimum=1),)]
    widths = [1] if width is None else [1, integer("width", width, minimum=1)]
    batches, inputs = _integers("batch", 1, max_batch), _integers("fan_in", 1, max_fan_in)
    gain, number, rate = _floats(0.25, 4.0, towards=1.0), _floats(-3.0, 3.0, towards=1.0), _floats(0.0, 1.0, towards=1.0)

    def arrays(of: Any, *axes: Any) -> Any:
        return st.tuples(*axes).flatmap(lambda lengths: _array(of, lengths))

    data = st.sampled_from(held).flatmap(lambda time: arrays(number, batches, *map(st.just, time), inputs))
    strategies = [
        st.builds(vf.drives.currents, gain),
        st.builds(vf.drives.white, gain),
        st.builds(vf.drives.inputs, data, gain),
        st.builds(vf.drives.spikes, arrays(rate, batches, inputs), gain),
    ]
    if given:
        numbers = arrays(number, batches, st.just(steps), st.sampled_from(widths))
        strategies.append(st.builds(vf.drives.given, numbers))
    return st.one_of(*strategies)


def networks(
    neurons: SearchStrategy[vf.Neuron] | None = None,
    *,
    weights: SearchStrategy[Any] | None = None,
    min_width: int = 1,
    max_width: int = 50,
    min_depth: int = 1,
    max_depth: int = 8,
    max_bias_std: float = 0.0,
    min_steps: int = 1,
    max_steps: int = 1,
    any_drive: bool = False,
    equal_layers: bool = True,
    living: bool = True,
    memoryless: bool = True,
) -> SearchStrategy[vf.Network]:
    """Networks, shrinking towards few small layers of ``Neuron(threshold=1)``.

    Parameters
    ----------
    neurons : strategy, optional
        By default :func:`neurons` with this ``memoryless``.
    weights : strategy, optional
        Of weight distributions or their names; by default ``"normal"``.
    min_width, max_width, min_depth, max_depth : int
        Inclusive bounds.
    max_bias_std : float
        Largest standard deviation of the biases; by default no biases.
    min_steps, max_steps : int
        Inclusive bounds of the number of time steps.
    any_drive : bool
        Whether layer 1 receives any of :func:`drives` that has a covariance; otherwise constant currents of variance 1.
    equal_layers : bool
        Whether all layers have the same width.
    living : bool
        Whether the gain (times the input scale) is above the critical one, so that activity can last at infinite width.
    memoryless : bool
        Of the neurons, if no strategy for them is given.

    Raises
    ------
    DomainError
        For bounds in the wrong order or not positive.

    Notes
    -----
    The critical gain is that of a memoryless neuron, also for neurons with a leak or a reset.

    Examples
    --------
    >>> import varflow as vf
    >>> from hypothesis import find
    >>> find(vf.testing.networks(min_width=10, min_depth=3), lambda network: True)
    Network(width=10, depth=3, gain=3, neuron=Neuron(threshold=1))
    """
    st = _hypothesis()
    equal_layers, living = flag("equal_layers", equal_layers), flag("living", living)
    widths, depths = _integers("width", min_width, max_width), _integers("depth", min_depth, max_depth)
    steps, any_drive = _integers("steps", min_steps, max_steps), flag("any_drive", any_drive)
    biases = _floats(0.0, scalar("max_bias_std", non_negative("max_bias_std", max_bias_std)), towards=0.0)
    cells = _strategy("neurons", neurons, _neurons(memoryless=memoryless))
    weight_distributions = _strategy("weights", weights, st.just("normal"))

    @st.composite
    def drawn(draw: Any) -> vf.Network:
        neuron, depth = draw(cells), draw(depths)
        gain = draw(gains(threshold=neuron.threshold, living=living)) / neuron.input_scale
        width = draw(widths if equal_layers else st.lists(widths, min_size=depth, max_size=depth))
        options = {"weights": draw(weight_distributions), "bias_std": draw(biases), "steps": draw(steps)}
        if any_drive:
            options["drive"] = draw(drives(steps=options["steps"]))
        return vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, **options)

    return drawn()


_thresholds, _neurons = thresholds, neurons  # parameters above have these names


def _hypothesis() -> Any:
    return require("test", "hypothesis").strategies


def _strategy(name: str, given: Any, usual: Any) -> Any:
    """The strategy given, or the default one."""
    if given is not None and not isinstance(given, _hypothesis().SearchStrategy):
        raise DomainError(name, given, "must be a Hypothesis strategy, such as vf.testing.thresholds()")
    return usual if given is None else given


def _floats(low: float, high: float, *, towards: float) -> Any:
    """Floats that shrink to the round number nearest ``towards``, preferably from above."""
    st = _hypothesis()
    pieces = [(max(low, towards), high), (max(low, min(0.0, high)), min(high, towards)), (low, min(high, 0.0))]
    held = [piece for i, piece in enumerate(pieces) if piece[0] <= piece[1] and piece not in pieces[:i]]
    # squares of smaller numbers would leave double precision
    return st.one_of(*(st.floats(*piece) for piece in held)).map(lambda x: 0.0 if abs(x) < 1e-100 else x)


def _array(of: Any, lengths: tuple[int, ...]) -> Any:
    """Arrays of floats of this shape."""
    size = int(np.prod(lengths))
    return _hypothesis().lists(of, min_size=size, max_size=size).map(lambda flat: np.reshape(flat, lengths))


def _integers(name: str, low: int, high: int) -> Any:
    low = integer(f"min_{name}", low, minimum=1)
    high = integer(f"max_{name}", high, minimum=1)
    if high < low:
        raise DomainError(f"max_{name}", high, f"is below min_{name}={low}")
    return _hypothesis().integers(low, high)


def _bounds(low: float | None, high: float | None, usual_low: float, usual_high: float) -> tuple[float, float]:
    """The given bounds; a missing one is the default, or the other bound if that lies beyond the default."""
    given_low = None if low is None else scalar("min_value", real_array("min_value", low))
    given_high = None if high is None else scalar("max_value", real_array("max_value", high))
    if given_low is None:
        given_low = usual_low if given_high is None else min(usual_low, given_high)
    if given_high is None:
        given_high = max(usual_high, given_low)
    if given_high < given_low:
        raise DomainError("max_value", given_high, f"is below min_value={given_low:g}")
    return given_low, given_high
