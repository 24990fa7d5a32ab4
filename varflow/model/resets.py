r"""Resets as data: the coefficients of what a spike does to the next membrane, and, by :class:`Adaptation`, to all later ones;
and the :class:`Register` that holds the membrane on a chip.

A :class:`Reset` holds coefficients, no code; theory, simulation and symbolic derivations each write their own update from
them, so a new reset needs no change there: ``vf.Neuron(reset=vf.resets.Reset(threshold=0.5))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from varflow._checks import DomainError, choice, flag, instance, integer, positive_number, probability, put, real_number

__all__ = ["FAMILIES", "Adaptation", "Register", "Reset"]


class _Written:
    """A dataclass that prints as a call with the arguments that are not at their defaults."""

    __slots__ = ()

    def __repr__(self) -> str:
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)  # pyright: ignore[reportArgumentType]
        return f"{type(self).__name__}({', '.join(given)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Adaptation(_Written):
    r"""A second state ``w`` of a neuron, which spikes and the membrane raise and which holds later spikes back.

    .. math:: w_t = \rho\, w_{t-1} + j\, \theta\, S_{t-1} + \kappa V_{t-1}, \qquad V = (1 - kS) H - a \theta S

    from ``w = 0``, with ``V`` what the reset leaves of the membrane (``a`` 0 here if it is delayed). Either ``w_t`` is a
    current that is taken from the membrane ``H_t`` at every step (adLIF), or it is added to the threshold (ALIF, LSNN).
    Potentials are then measured from the moving part: the membrane is ``H + w``, and there is a spike at ``H > θ``.

    Parameters
    ----------
    decay : float
        ``ρ`` in [0, 1].
    jump : float
        ``j``: what a spike adds, in thresholds. Negative values facilitate.
    coupling : float
        ``κ``: what the membrane adds; 0 for a moving threshold. Membranes between spikes are stable for
        ``-(1 - β)(1 - ρ) < κ < (1 + β)(1 + ρ)``, which :class:`varflow.Neuron` requires.
    moves_threshold : bool
        Whether ``w`` is added to the threshold.
    reset_moves : bool
        Whether a spike that subtracts thresholds subtracts the moving part too, ``a (θ + w)``.
    detached : bool
        Whether gradients of spikes ignore that the threshold moves.

    Raises
    ------
    DomainError
        For a value outside these domains, and for a moving threshold with a coupling.

    Examples
    --------
    Each spike raises the threshold by half of it, which decays by a tenth per step:

    >>> import varflow as vf
    >>> moving = vf.resets.Adaptation(decay=0.9, jump=0.5, moves_threshold=True)
    >>> vf.Neuron(1.0, decay=0.8, reset=vf.resets.Reset(threshold=1.0, adaptation=moving)).memoryless
    False
    """

    decay: float
    jump: float
    coupling: float = 0.0
    moves_threshold: bool = False
    reset_moves: bool = False
    detached: bool = False

    def __post_init__(self) -> None:
        put(self, decay=probability("decay", self.decay), jump=real_number("jump", self.jump))
        put(self, coupling=real_number("coupling", self.coupling))
        if flag("moves_threshold", self.moves_threshold) and self.coupling:
            raise DomainError("coupling", self.coupling, "must be 0 where the threshold moves")
        for name in ("reset_moves", "detached"):
            if flag(name, getattr(self, name)) and not self.moves_threshold:
                raise DomainError(name, True, "needs moves_threshold=True")


ROUNDED = {"shift": "ceil", "nearest": "round", "zero": "trunc"}  # by the function of numpy and torch


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Register(_Written):
    r"""The membrane as a signed integer of so many bits, in units of the threshold over ``Θ``, the threshold's own integer.

    .. math:: v' = \min(\max(⌊R(\ell) + Θ c/θ⌉, -2^{b-1}), 2^{b-1} - 1), \qquad H' = θ v'/Θ

    with ``R(ℓ)`` what the leak leaves of ``v``, rounded, after the reset (or before it, if that is delayed), and ``c`` the next
    current, which the reset may block.

    Parameters
    ----------
    bits : int
        ``b``, from 2 to 24.
    threshold : int, optional
        ``Θ``, from 1 to ``2^(b-1) - 2``; by default ``2^(b-4)``, with which the register ends at 8 thresholds.
    rounding : str
        ``R``: ``"shift"`` rounds up, as ``v - (v >> k)`` does for a decay of ``1 - 2⁻ᵏ``; ``"nearest"``, half to even; or
        ``"zero"``, towards 0, as lava does.

    Raises
    ------
    DomainError
        For values outside these domains.

    Examples
    --------
    A membrane of 8 bits, whose threshold is 16:

    >>> import varflow as vf
    >>> vf.Neuron(1.0, decay=1 - 2**-3, reset=vf.resets.Reset(threshold=1.0, register=vf.resets.Register(bits=8)))
    Neuron(threshold=1, decay=0.875, reset=Reset(threshold=1.0, register=Register(bits=8, threshold=16)))
    """

    bits: int
    threshold: int | None = None
    rounding: str = "shift"

    def __post_init__(self) -> None:
        put(self, bits=integer("bits", self.bits, minimum=2))
        if self.bits > 24:
            raise DomainError("bits", self.bits, "must be at most 24, the integers of single precision")
        threshold = 2 ** max(self.bits - 4, 0) if self.threshold is None else integer("threshold", self.threshold, minimum=1)
        if threshold > self.end - 2:
            raise DomainError("threshold", threshold, f"must be at most {self.end - 2} in {self.bits} bits, to be passed")
        put(self, threshold=threshold)
        choice("rounding", self.rounding, ROUNDED)

    @property
    def end(self) -> int:
        """``2^(b-1)``, the first integer beyond the register."""
        return 2 ** (self.bits - 1)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reset(_Written):
    r"""The effect of a spike on the next membrane.

    .. math:: H' = \beta\,(1 - k S)\, H - \varrho\, a\, \theta S + (1 - g_S S)\, c, \qquad
              \varrho = 1 \text{ if delayed, else } \beta

    with the membrane ``H`` at the spike test, its spikes ``S`` and the next current ``c`` (input scale included); ``β`` is the
    neuron's decay and ``θ`` its threshold.

    Parameters
    ----------
    membrane : float
        ``k`` in [0, 1]: fraction of the membrane that a spike removes. 1 resets it to 0.
    threshold : float
        ``a``: each spike subtracts ``a θ``; 1 is the usual soft reset. Negative values add: with ``membrane=1`` the
        membrane restarts at ``-a β θ`` (``-a θ`` if delayed).
    input : float
        ``g_S`` in [0, 1]: fraction of the next current that is lost; 1 blocks it.
    delayed : bool
        Whether ``a θ`` is subtracted after the leak (one step late) and so does not decay.
    counts : bool
        Whether a step can have several spikes, ``S = 1 + ⌊(H/θ - 1)/d⌋`` for ``H ≥ θ``. ``membrane`` and ``input`` must then be
        0.
    spacing : float
        ``d > 0``: thresholds from the level of one spike to that of the next; by default 1, so that ``S = ⌊H/θ⌋``.
    most : int, optional
        The most spikes in one step; by default there is no limit.
    lowest : float, optional
        ``b ≤ 0``: after the reset the membrane is at least ``b θ``, whether there was a spike or not. The next one is then
        ``H' = β max((1 - k S) H - a θ S, b θ) + (1 - g_S S) c``. Not with ``delayed``.
    rectified : bool
        Whether the bound holds at the spike test already. Spikes are the same; gradients do not pass below it.
    adaptation : Adaptation, optional
        A second state. Not with ``counts`` or ``lowest``.
    register : Register, optional
        The membrane is an integer. Gradients pass the rounding as if there were none. Not with ``counts``, ``lowest`` or
        ``adaptation``.
    refractory : int
        Steps after a spike in which the membrane is held at 0, as by ``membrane=1, input=1``, which are needed, and nothing
        else. 1 has the spikes of ``gate``; gradients pass the membrane that is held, but not the gate.
    detached : bool
        Whether gradients ignore the reset, as if it did not depend on the membrane, unless ``Neuron.detach_reset`` says. Of the
        named ones only ``delayed_subtract`` does, as in snnTorch.

    Raises
    ------
    DomainError
        For a value outside these domains, ``delayed`` without ``threshold`` or with ``lowest``, ``counts`` with ``membrane`` or
        ``input``, and what only counts (``spacing``, ``most``), bounds (``rectified``) or neither (``adaptation``) have.

    Examples
    --------
    A spike subtracts half a threshold; or it leaves 30 % of the membrane:

    >>> import varflow as vf
    >>> vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(threshold=0.5))
    Neuron(threshold=1, decay=0.9, reset=Reset(threshold=0.5))
    >>> vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(membrane=0.7)).reset
    Reset(membrane=0.7)

    Named resets are stored by name:

    >>> vf.Neuron(1.0, decay=0.9, reset=vf.resets.Reset(threshold=1.0)).reset
    'subtract'
    """

    membrane: float = 0.0
    threshold: float = 0.0
    input: float = 0.0
    delayed: bool = False
    counts: bool = False
    spacing: float = 1.0
    most: int | None = None
    lowest: float | None = None
    rectified: bool = False
    adaptation: Adaptation | None = None
    register: Register | None = None
    refractory: int = 0
    detached: bool = False

    def __post_init__(self) -> None:
        put(self, membrane=probability("membrane", self.membrane), input=probability("input", self.input))
        put(self, threshold=real_number("threshold", self.threshold))
        if flag("delayed", self.delayed) and not self.threshold:
            raise DomainError("delayed", True, "needs a threshold to subtract")
        if flag("counts", self.counts) and (self.membrane or self.input):
            raise DomainError("counts", True, "needs membrane=0 and input=0: each of several spikes subtracts thresholds only")
        put(self, spacing=positive_number("spacing", self.spacing))
        if self.most is not None:
            put(self, most=integer("most", self.most, minimum=1))
        for name, given in (("spacing", self.spacing != 1), ("most", self.most is not None)):
            if given and not self.counts:
                raise DomainError(name, getattr(self, name), "needs counts=True")
        if flag("rectified", self.rectified) and self.lowest is None:
            raise DomainError("rectified", True, "needs the lower bound lowest")
        if self.adaptation is not None:
            instance("adaptation", self.adaptation, Adaptation)
            if self.counts or self.lowest is not None:
                raise DomainError("adaptation", self.adaptation, "cannot be combined with counts or lowest")
        if self.register is not None:
            instance("register", self.register, Register)
            if self.counts or self.lowest is not None or self.adaptation is not None:
                raise DomainError("register", self.register, "cannot be combined with counts, lowest or adaptation")
        put(self, refractory=integer("refractory", self.refractory, minimum=0))
        if self.refractory and replace(self, refractory=0, detached=False) != Reset(membrane=1.0, input=1.0):
            raise DomainError("refractory", self.refractory, "needs membrane=1, input=1 and nothing else")
        flag("detached", self.detached)
        if self.lowest is not None:
            put(self, lowest=real_number("lowest", self.lowest))
            if self.lowest > 0 or self.delayed:
                rule = "cannot be combined with delayed=True" if self.delayed else "must not be positive: neurons start at 0"
                raise DomainError("lowest", self.lowest, rule)

    @property
    def linear(self) -> bool:
        """True if spikes leave the membrane unchanged, and nothing bounds it, so that it is linear in the currents."""
        bounded = self.lowest is not None or self.adaptation is not None or self.register is not None
        return not (self.membrane or self.threshold or self.input or bounded)

    @property
    def lasting(self) -> bool:
        """True if spikes act for longer than one step, other than by the membrane, or the membrane is an integer."""
        return self.adaptation is not None or self.register is not None or self.refractory > 0

    @property
    def absent(self) -> bool:
        """True if there is no reset and at most one spike a step."""
        return self.linear and not self.counts


FAMILIES: Mapping[str, Reset] = {
    "none": Reset(),
    "subtract": Reset(threshold=1.0),
    "delayed_subtract": Reset(threshold=1.0, delayed=True, detached=True),
    "zero": Reset(membrane=1.0),
    "gate": Reset(membrane=1.0, input=1.0),
    "multi_spike": Reset(threshold=1.0, counts=True),
}
"""The named resets."""

_NAMES = {rule: name for name, rule in FAMILIES.items()}


def rule_of(reset: str | Reset) -> Reset:
    """The Reset of this name; a Reset unchanged."""
    if isinstance(reset, Reset):
        return reset
    return FAMILIES[reset] if isinstance(reset, str) and reset in FAMILIES else FAMILIES[choice("reset", reset, FAMILIES)]


def named(reset: str | Reset) -> str | Reset:
    """The name of a Reset that has one, else the Reset."""
    rule = rule_of(reset)
    return _NAMES.get(rule, rule)
