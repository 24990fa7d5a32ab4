r"""Resets: what a spike takes from the next membrane, as data.

A :class:`Reset` holds the coefficients of one update equation and no code. Theory and each witness write their own step from
it, so a new reset needs no change in any of them: ``vf.Neuron(reset=vf.resets.Reset(threshold=0.5))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from varflow._checks import DomainError, choice, flag, probability, scalar, scale

__all__ = ["FAMILIES", "Reset"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reset:
    r"""What a spike does to the next membrane.

    .. math:: H' = \beta\,(1 - k S)\, H - \rho\, a\, \theta S + (1 - g S)\, c, \qquad
              \rho = 1 \text{ if delayed, else } \beta

    with the membrane ``H`` at the spike test, its spikes ``S`` and the next current ``c`` (input scale included); ``β`` is the
    neuron's decay and ``θ`` its threshold.

    Parameters
    ----------
    membrane : float
        ``k`` in [0, 1]: fraction of the membrane that a spike removes. 1 resets it to 0.
    threshold : float
        ``a``: thresholds that each spike subtracts, 1 for the usual soft reset. A negative number adds: with ``membrane=1``
        the membrane restarts at ``-a θ``.
    input : float
        ``g`` in [0, 1]: fraction of the next current that is lost. 1 shuts it out.
    delayed : bool
        Whether the thresholds are subtracted after the leak (one step late), undiminished by it.
    counts : bool
        Whether ``S = ⌊H/θ⌋`` for ``H ≥ θ``, several spikes in a step, instead of one. Then only thresholds can be subtracted.

    Raises
    ------
    DomainError
        For a value outside these domains, ``delayed`` without a threshold, and ``counts`` with a fraction of membrane or input.

    Examples
    --------
    A spike takes half a threshold; or it leaves 30 % of the membrane:

    >>> import varflow as vf
    >>> vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(threshold=0.5))
    Neuron(threshold=1, decay=0.9, reset=Reset(threshold=0.5))
    >>> vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(membrane=0.7)).reset
    Reset(membrane=0.7)

    What has a name goes by it:

    >>> vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(threshold=1.0)).reset
    'subtract'
    """

    membrane: float = 0.0
    threshold: float = 0.0
    input: float = 0.0
    delayed: bool = False
    counts: bool = False

    def __post_init__(self) -> None:
        checked = {name: probability(name, getattr(self, name)) for name in ("membrane", "input")}
        checked["threshold"] = scalar("threshold", scale("threshold", self.threshold))
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if flag("delayed", self.delayed) and not self.threshold:
            raise DomainError("delayed", True, "needs a threshold to subtract")
        if flag("counts", self.counts) and (self.membrane or self.input):
            raise DomainError("counts", True, "needs membrane=0 and input=0: each of several spikes subtracts thresholds only")

    @property
    def linear(self) -> bool:
        """Whether a spike changes nothing, so that membranes are linear in the currents."""
        return not (self.membrane or self.threshold or self.input)

    @property
    def absent(self) -> bool:
        """Whether there is no reset and one spike at most: membranes are normal where currents are."""
        return self.linear and not self.counts

    def __repr__(self) -> str:
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"Reset({', '.join(given)})"


FAMILIES: Mapping[str, Reset] = {
    "none": Reset(),
    "subtract": Reset(threshold=1.0),
    "delayed_subtract": Reset(threshold=1.0, delayed=True),
    "zero": Reset(membrane=1.0),
    "gate": Reset(membrane=1.0, input=1.0),
    "multi_spike": Reset(threshold=1.0, counts=True),
}
"""The resets that have a name."""

_NAMES = {rule: name for name, rule in FAMILIES.items()}


def rule_of(reset: str | Reset) -> Reset:
    """The description that a name stands for; a description itself."""
    if isinstance(reset, Reset):
        return reset
    return FAMILIES[reset] if isinstance(reset, str) and reset in FAMILIES else FAMILIES[choice("reset", reset, FAMILIES)]


def named(reset: str | Reset) -> str | Reset:
    """The name of a description that has one, else the description."""
    rule = rule_of(reset)
    return _NAMES.get(rule, rule)
