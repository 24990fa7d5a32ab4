"""The neuron: threshold, leak and reset.

Notation: ``H`` membrane at the spike test, ``S`` spike, ``c = input_scale × current``. The named resets are special cases of
the general equation of :mod:`varflow.resets`:

=================  ===================================
reset              next membrane
=================  ===================================
none               ``β H + c``
subtract           ``β (H - θ S) + c``
delayed_subtract   ``β H - θ S + c``
zero               ``β H (1 - S) + c``
gate               ``(β H + c) (1 - S)``
multi_spike        ``β (H - θ S) + c``, ``S = ⌊H/θ⌋₊``
=================  ===================================

At the first step every reset but multi_spike gives the memoryless layer ``S = 1(c > θ)``.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any

from varflow._checks import DomainError, flag, instance, integer, positive_number, probability, put, real_number, scale
from varflow._display import Shown
from varflow._hints import hinting
from varflow.model.over_neurons import OverNeurons, differs, over_neurons, values_of
from varflow.model.preset_arguments import below_one
from varflow.model.resets import Reset, named, rule_of


@dataclass(frozen=True, slots=True)
class Neuron(Shown):
    """A threshold neuron, ``S = 1(H > threshold)``.

    Parameters
    ----------
    threshold : float, frozen scipy.stats distribution, or array
        ``θ``, in units of the membrane potential. Any sign; positive for ``multi_spike``. A distribution is one over the
        neurons of a layer: each draws its own value, independent of all else, and keeps it (on a map, each channel). An array
        of values, such as those that a network has learned, is a distribution with equal weight on each. Averages over one step
        use all of them; several steps without reset, several inputs, and weights of which no sum has a closed form use Gauss
        rules (accuracies: :func:`varflow.mean_field`, :func:`varflow.finite_width`).
    decay : float, frozen scipy.stats distribution, or array
        ``β`` in [0, 1]: fraction of the membrane kept from step to step. 0 is the memoryless neuron. A distribution
        must have its support in [0, 1].
    input_scale : float
        ``λ > 0``: factor on the input current (``1/τ`` in some libraries).
    reset : str or Reset
        One of ``none subtract delayed_subtract zero gate multi_spike`` (see the module's table), or any
        :class:`varflow.resets.Reset`; a Reset that has a name is stored by name.
    strict : bool
        Spike at ``H > θ`` (True) or ``H ≥ θ`` (False). They differ only if the potential has atoms. The spike count
        ``⌊H/θ⌋`` is never strict.
    synaptic_decay : float
        Decay of an exponential synaptic filter, in [0, 1); 0 is no filter.
    synaptic_delay : int
        Steps between a current and its arrival at the membrane.
    kernel : array, optional
        Any other filter of the currents over time, instead of these two: weights ``K_i`` of the current ``i`` steps ago, or a
        matrix over all steps, ``c_t = λ Σ_s K_ts I_s``, which may look ahead (fewer steps have its first rows and columns).
    delay : int
        Steps between a spike and its arrival in the next layer.
    detach_reset : bool, optional
        Whether gradients ignore the reset, as if it did not depend on the membrane. By default (None) as the reset says
        (``Reset.detached``), of the named ones only ``delayed_subtract``, as in snnTorch; a value equal to the default is
        stored as None. Spikes do not depend on it, and neurons that differ in it only are equal.

    Raises
    ------
    DomainError
        For a value outside these domains.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.Neuron(0.7)
    Neuron(threshold=0.7)
    >>> vf.Neuron(1.0, decay=0.9, reset="subtract").memoryless
    False

    Thresholds between 0.7 and 1.5, different in every neuron:

    >>> import scipy.stats
    >>> vf.Neuron(scipy.stats.uniform(0.7, 0.8))
    Neuron(threshold=uniform(0.7, 0.8))
    >>> vf.Neuron(1.0, decay=[0.5, 0.8, 0.9], reset="zero")
    Neuron(threshold=1, decay=3 values from 0.5 to 0.9, reset='zero')
    """

    threshold: Any = 1.0
    _: KW_ONLY
    decay: Any = 0.0
    input_scale: float = 1.0
    reset: str | Reset = "none"
    strict: bool = True
    synaptic_decay: float = 0.0
    synaptic_delay: int = 0
    kernel: Any = None
    delay: int = 0
    detach_reset: bool | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        put(self, threshold=_threshold(self.threshold))
        put(self, decay=_decay(self.decay))
        put(self, input_scale=positive_number("input_scale", self.input_scale))
        put(self, reset=named(self.reset))
        put(self, strict=flag("strict", self.strict) and not self.reset_rule.counts)
        put(self, synaptic_decay=below_one("synaptic_decay", self.synaptic_decay))
        put(self, synaptic_delay=integer("synaptic_delay", self.synaptic_delay, minimum=0))
        put(self, delay=integer("delay", self.delay, minimum=0))
        if self.kernel is not None:
            put(self, kernel=_kernel(self.kernel))
            if self.synaptic_decay or self.synaptic_delay:
                raise DomainError("kernel", self.kernel, "is the whole filter: leave out synaptic_decay and synaptic_delay")
        if self.detach_reset is not None:
            detached = flag("detach_reset", self.detach_reset)
            default = self.reset_rule.linear or detached == self.reset_rule.detached
            put(self, detach_reset=None if default else detached)
        rule = self.reset_rule
        (low, _), (least, most) = map(_range, (self.threshold, self.decay))
        if (rule.counts or rule.lowest is not None or rule.adaptation is not None) and low <= 0:
            words = f"must be positive for reset={self.reset!r}, which is in multiples of the threshold"
            raise DomainError("threshold", self.threshold, words)
        if rule.adaptation is not None and rule.adaptation.coupling:
            rho = rule.adaptation.decay
            bounds = -(1 - most) * (1 - rho), (1 + least) * (1 + rho)
            if not bounds[0] < rule.adaptation.coupling < bounds[1]:
                words = "has a coupling outside ({:g}, {:g}), within which membranes between spikes are stable"
                raise DomainError("reset", self.reset, words.format(*bounds))

    @property
    def reset_rule(self) -> Reset:
        """The reset's coefficients."""
        return rule_of(self.reset)

    @property
    def reset_detached(self) -> bool:
        """True if gradients ignore the reset."""
        return self.reset_rule.detached if self.detach_reset is None else self.detach_reset

    @property
    def memoryless(self) -> bool:
        """True if spikes depend on the present input only: no decay, no reset, no filter, at most one spike a step."""
        return self.decay == 0 and not self.filters and self.reset_rule.absent

    @property
    def filters(self) -> bool:
        """True if currents are filtered over time before they reach the membrane."""
        return self.synaptic_decay > 0 or self.longer_filter

    @property
    def longer_filter(self) -> bool:
        """True if that filter is no exponential."""
        return self.synaptic_delay > 0 or self.kernel is not None

    @property
    def differing(self) -> int:
        """Number of parameters that differ between the neurons of a layer."""
        return isinstance(self.threshold, OverNeurons) + isinstance(self.decay, OverNeurons)

    @property
    def heterogeneous(self) -> bool:
        """True if neurons of a layer differ in threshold or decay."""
        return self.differing > 0

    def members(self, points: int) -> list[tuple[float, Neuron]]:
        """Neurons of one threshold and decay each, whose mixture with these weights is the layer, by Gauss rules."""
        points = integer("points", points, minimum=1)
        if not self.heterogeneous:
            return [(1.0, self)]
        return [
            (weight * other, replace(self, threshold=threshold, decay=decay))
            for threshold, weight in values_of(self.threshold, points)
            for decay, other in values_of(self.decay, points)
        ]

    def fires_at(self, membrane: float) -> bool:
        """True if a membrane of exactly this value spikes (``>`` or ``≥``, by ``strict``) in any neuron."""
        membrane = real_number("membrane", membrane)
        if isinstance(self.threshold, OverNeurons):
            return membrane > self.threshold.smallest
        return membrane > self.threshold or (membrane == self.threshold and not self.strict)

    def __repr__(self) -> str:
        changed = [f"threshold={self.threshold:g}"]
        others = ((field.name, getattr(self, field.name), field.default) for field in fields(self)[1:])
        words = (
            (name, _words(value) if name == "kernel" else repr(value)) for name, value, default in others if value != default
        )
        changed += [f"{name}={text}" for name, text in words]
        return f"Neuron({', '.join(changed)})"


Neuron.__init__ = hinting(Neuron.__init__)


def equal_neurons(neuron: Any, instead: str) -> Neuron:
    """The neuron, if it is the same for a whole layer; else DomainError, with what to call ``instead``."""
    if instance("neuron", neuron, Neuron).heterogeneous:
        raise DomainError("neuron", neuron, f"differs between neurons: give numbers, or call {instead}")
    return neuron


def one_threshold(value: Any) -> float | OverNeurons:
    """A number or a distribution over neurons. An array is none, as elsewhere it means several thresholds."""
    return OverNeurons.of("threshold", value) if over_neurons(value) else real_number("threshold", value)


def _threshold(value: Any) -> float | OverNeurons:
    return OverNeurons.of("threshold", value) if differs(value) else one_threshold(value)


def _decay(value: Any) -> float | OverNeurons:
    if not differs(value):
        return probability("decay", value)
    decays = OverNeurons.of("decay", value)
    low, high = decays.support
    if low < 0 or high > 1:
        raise DomainError("decay", decays, f"has values from {low:g} to {high:g}: they must lie between 0 and 1, 1 excluded")
    return decays


def _kernel(value: Any) -> tuple[Any, ...]:
    kernel = scale("kernel", value)
    if kernel.ndim not in (1, 2) or not kernel.any() or (kernel.ndim == 2 and len(set(kernel.shape)) > 1):
        raise DomainError("kernel", value, "must be weights by lag, or a square matrix over steps, and not all 0")
    return tuple(kernel.tolist() if kernel.ndim == 1 else map(tuple, kernel.tolist()))


def _range(value: float | OverNeurons) -> tuple[float, float]:
    return value.support if isinstance(value, OverNeurons) else (value, value)


def _words(kernel: tuple[Any, ...]) -> str:
    return f"<{len(kernel)} × {len(kernel)} weights>" if isinstance(kernel[0], tuple) else f"<{len(kernel)} weights>"
