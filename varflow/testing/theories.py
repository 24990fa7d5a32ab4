"""An assertion about a theory of your own, that its variance map agrees with Monte Carlo; and the statistical test behind it.

The test, of other assertions too: does the mean of independent repeats agree with an expected value?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, called, integer, non_negative, positive_scale, probability, scalar, scale

POTENTIALS = 2**16  # per batch
FEWEST = 20  # active neurons in a batch, for its mean to be nearly normal as the t test assumes


def assert_variance_map(
    function: Callable[[float], float],
    *,
    gain: float,
    threshold: float = 1.0,
    bias_std: float = 0.0,
    activation: Callable[[np.ndarray], np.ndarray] | None = None,
    sampler: Callable[[np.random.Generator, int], np.ndarray] | None = None,
    variances: Sequence[float] | None = None,
    repeats: int = 32,
    seed: int = 0,
    false_alarm: float = 1e-3,
) -> None:
    r"""Assert that a function is the variance map of a neuron.

    .. math:: F(V) = \sigma_b^2 + g^2\, E[\phi(\sqrt V z)^2]

    Parameters
    ----------
    function : callable
        ``F``: from a variance to that of the next layer.
    gain, bias_std : float
        ``g`` and ``σ_b``.
    threshold : float
        ``θ`` of the default neuron.
    activation : callable, optional
        ``φ``: the outputs of neurons from an array of their potentials; by default ``1(u > θ)``.
    sampler : callable, optional
        ``sampler(generator, size)`` draws ``z``; by default from N(0, 1).
    variances : sequence of float, optional
        Where to compare; by default ``θ²`` (1 at θ = 0) times 1/4, 1/2, 1, 2, 4.
    repeats : int
        Batches of 65536 potentials per variance; at least 10.
    seed : int
        Of the potentials.
    false_alarm : float
        Probability of rejecting the right map, over all variances together.

    Raises
    ------
    AssertionError
        If the map is wrong.
    DomainError
        For values outside their domain, or a variance at which fewer than 20 neurons in 65536 are active.

    Notes
    -----
    **Method**: a two-sided t test of batch means at each variance, with Bonferroni correction. Uses none of varflow's theory.
    **Accuracy**: with the defaults a map 1 % off at θ = 1, g = 2 was rejected with all of 60 seeds. Small rates need more
    batches.

    Examples
    --------
    A theory of neurons that spike with either sign:

    >>> import numpy as np, varflow as vf
    >>> ternary = lambda u: np.sign(u) * (np.abs(u) > 1.0)
    >>> theory = lambda V: 2 * vf.variance_map(V, threshold=1.0, gain=1.8)
    >>> vf.testing.assert_variance_map(theory, gain=1.8, activation=ternary)
    >>> vf.testing.assert_variance_map(lambda V: 1.02 * theory(V), gain=1.8, activation=ternary)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: the variance map is wrong at V = ...: it gives ..., sampling ... ± ... (z = ...; ...)
    """
    called("function", function)
    g = scalar("gain", positive_scale("gain", gain))
    bias = scalar("bias_std", non_negative("bias_std", scale("bias_std", bias_std)))
    theta = scalar("threshold", scale("threshold", threshold))
    spikes = called("activation", activation) if activation is not None else lambda u: u > theta
    draw = called("sampler", sampler) if sampler is not None else lambda generator, size: generator.normal(size=size)
    repeats, alpha = integer("repeats", repeats, minimum=10), probability("false_alarm", false_alarm, open_ends=True)
    places = np.atleast_1d((theta**2 or 1.0) * 2.0 ** np.arange(-2, 3) if variances is None else variances)
    generator = np.random.default_rng(integer("seed", seed, minimum=0))
    for V in positive_scale("variances", places).tolist():
        means = [_mean_square(spikes(np.sqrt(V) * draw(generator, POTENTIALS)), V) for _ in range(repeats)]
        verdict = judged(bias**2 + g**2 * np.array(means), float(function(V)), alpha / len(places))
        if not verdict.passed:
            raise AssertionError(_message(V, verdict, repeats))


def _mean_square(outputs: Any, V: float) -> float:
    outputs = np.asarray(outputs, dtype=float)
    if np.count_nonzero(outputs) < FEWEST:
        raise DomainError("variances", V, f"leaves fewer than {FEWEST} of {POTENTIALS} neurons active: take a larger one")
    return float(np.mean(outputs**2))


def _message(V: float, verdict: Judged, repeats: int) -> str:
    return (
        f"the variance map is wrong at V = {V:.6g}: it gives {verdict.expected:.6g}, sampling {verdict.text} "
        f"(z = {verdict.z:.3g}; {repeats} batches of {POTENTIALS} potentials; false alarm {verdict.false_alarm:.2g} at this V)"
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """Mean of the repeats, its standard error, the expected value, and whether they agree at a false-alarm rate."""

    mean: float
    stderr: float
    expected: float
    passed: bool
    false_alarm: float

    @property
    def z(self) -> float:
        """Deviation in standard errors; infinite where all repeats equal one wrong value."""
        gap = self.mean - self.expected
        return gap / self.stderr if self.stderr > 0 else (0.0 if self.passed else float(np.copysign(np.inf, gap)))

    @property
    def text(self) -> str:
        return f"{self.mean:.6g} ± {self.stderr:.2g}"


def judged(values: np.ndarray, expected: float, false_alarm: float, *, bias: Callable[[float], float] | None = None) -> Judged:
    """Two-sided t test of ``E[value] = expected``: ``|mean - expected| ≤ t·stderr + bias(t)``, ``t`` the critical value.

    NaN fails.
    """
    from scipy.special import stdtrit

    t = float(stdtrit(len(values) - 1, 1 - false_alarm / 2))
    mean, stderr = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    tolerance = t * stderr + (bias(t) if bias is not None else 0.0)
    return Judged(mean, stderr, expected, bool(abs(mean - expected) <= tolerance), false_alarm)
