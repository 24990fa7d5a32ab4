"""The exact distribution of a layer of any width: the spike count is a Markov chain.

Given the spikes of one layer, the rows of the next weight matrix are independent, so the next potentials are i.i.d. and
``K' | K ~ Binomial(n', π_K)`` without approximation. Moments per layer are in ``finite_width``, metastable states in
``quasi_stationary`` and ``stationary``, draws of ensembles in ``sampling``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, instance, integer, positive, probability, scalar
from varflow._display import Drawn, Table, plus_minus
from varflow._memory import room
from varflow.model.network import Network, plain_chain
from varflow.model.neurons import Neuron, equal_neurons
from varflow.theory.finite_width import stationary
from varflow.theory.finite_width.binomial import TAIL, WHOLE_TAIL, DenseTransition, Transition, merged
from varflow.theory.finite_width.counts import STEP, CountGrid, CountLaw, count_grid, counts_of
from varflow.theory.finite_width.firing import firing
from varflow.theory.finite_width.stationary import Lifetime, QuasiStationary, Stationary
from varflow.theory.layer import CountedLayer, layers, one_step, tails
from varflow.theory.signals.counted import Count

RARE = 1e-3  # survival below which the chain keeps its whole tails, where rare survivors come from
WIDEST_MERGE = 2000  # 32 MB for each transition matrix
FINEST, COARSEST = 0.05, 1.0  # steps of the grid of wide layers: finer gains nothing, coarser loses digits (1e-9 at 1)


class SpikeChain(Drawn):
    r"""The Markov chain of the spike count from layer to layer, for any weights and one time step.

    .. math::
        K_{l+1} \mid K_l \sim \mathrm{Binomial}(n_{l+1}, \pi_{K_l}), \qquad
        \pi_K = P\Bigl(\sum_{i \le K} w_i + b > \theta\Bigr)

    and for normal weights ``π_K = Q((θ - m K/n)/√(g² K/n + σ_b²))``.

    Parameters
    ----------
    network : Network
        Any widths, gains, threshold, weights, bias, weight mean and input scale; ``steps=1``. Of layers: ``Linear`` with any
        rows, ``Spike``, and ``Residual`` with ``and`` or ``iand`` merges.
    step : float
        Step of the count grid used above width 10⁴, in standard deviations of a binomial count: from 0.05 to 1, by default ½.
        Moments change by less than 1e-13 up to 0.8 and by 1e-9 at 1 (measured).
    rare : float
        Survival, from 0 to 1 (default 10⁻³), below which tails are kept down to the smallest double, since rare survivors come
        from there. 0 is faster, but a survival of 5e-77 at width 1000 then comes out 50 times too small (measured).

    Raises
    ------
    DomainError
        For values outside these domains; for several time steps, multi-spike neurons or delays; for input vectors through
        weights that are not normal; for lattice, sparse and fixed in-degree weights in layers wider than 10⁴.
    ConvergenceError
        If the tail of a sum of weights is not accurate to 1e-10.

    Notes
    -----
    **Assumes** only independent rows of weights, independent from layer to layer.
    **Accuracy**: total variation at most 1e-12 against the full matrix (n = 2000, 99 transitions), relative accuracy about
    1e-12 also for tiny survivals. Above width 10⁴ counts are kept on a grid; its error is measured, see
    :func:`varflow.finite_width`.
    **Source**: ``cayco2013`` treat the spike count of feedforward binary neurons as a Markov chain; ``π_K`` is derived here.
    ``micheli2024`` show the effect in their figure 4, without the distribution.

    Examples
    --------
    >>> import varflow as vf
    >>> chain = vf.SpikeChain(vf.Network(width=100, depth=100, gain=vf.gain(threshold=1.0)))
    >>> f"{chain.survival(100):.4f}"
    '0.0171'
    """

    def __init__(self, network: Network, *, step: float = STEP, rare: float = RARE):
        self.network = network
        step, self._rare = scalar("step", positive("step", step)), probability("rare", rare)
        if not FINEST <= step <= COARSEST:
            rule = f"must lie between {FINEST:g} and {COARSEST:g} standard deviations of a binomial count"
            raise DomainError("step", step, rule)
        grids = {width: count_grid(width, step) for width in set(instance("network", network, Network).widths.tolist())}
        needed = 8.0 * sum(len(grids[width]) for width in network.widths.tolist())
        room("depth", network.depth, needed, "the distributions of the spike count in all layers: take fewer layers or neurons")
        self.start, self.counts, self._leaving = counts_of(network)
        self.all_grids = [grids[count.width] for count in self.counts]
        if wide := [count.width for count in self.counts if count.merge and count.width > WIDEST_MERGE]:
            raise DomainError("width", wide[0], f"must be at most {WIDEST_MERGE} for merges, whose transition matrix is kept")
        self._propagate_with(TAIL)
        if min(mass[1:].sum() for mass in self._masses) < self._rare:
            self._propagate_with(WHOLE_TAIL)

    def __repr__(self) -> str:
        depth, widths = self.network.depth, self.network.widths
        width = f"width {widths[0]}" if len(set(widths.tolist())) == 1 else f"widths {widths.min()} to {widths.max()}"
        alive = f"alive at layer {depth} with probability {self.survival():.4g}"
        return f"SpikeChain of {depth} layer{'s' * (depth > 1)} of {width}: {alive}"

    def _table(self) -> Table:
        shown = np.unique(np.linspace(0, self.network.depth - 1, 5).round().astype(int)).tolist()
        laws = self.propagate()
        rates = [f"{laws[l].firing_rate:.5g}{plus_minus(laws[l].firing_rate_std)}" for l in shown]
        rows = [(str(l + 1), rate, f"{laws[l].survival:.5g}") for l, rate in zip(shown, rates, strict=True)]
        return Table(repr(self), rows, ("layer", "firing rate", "survival"))

    @property
    def neurons(self) -> list[int]:
        """Places of the counts of layers of neurons, in their order."""
        return [place for place, count in enumerate(self.counts) if count.of_neurons]

    @property
    def sent(self) -> list[int]:
        """Places of the counts of every layer's spikes; for the last, of the spikes that leave the network."""
        return [*self.neurons[:-1], self._leaving]

    @property
    def grids(self) -> list[CountGrid]:
        """Counts that are kept of the spikes of every layer."""
        return [self.all_grids[place] for place in self.sent]

    @property
    def layers(self) -> list[CountedLayer]:
        """The layers of neurons after the first."""
        return [count.layer for count in self.counts if count.layer is not None]

    @property
    def kernels(self) -> list[Any]:
        """Transition to each count but the first from the one it is drawn from."""
        return self.transitions[1:]

    def _propagate_with(self, tail: float) -> None:
        """Build the kernels (equal layers share one) and the distribution of every count."""
        self.starts = frozen(self.driven_kernel(self.all_grids[0]).dense())  # one row per input
        self.transitions: list[Any] = [None]
        self.all_masses = [self.starts.mean(axis=0)]
        distinct: dict[Any, Any] = {}
        keys: list[Any] = [None]
        for count, grid in zip(self.counts[1:], self.all_grids[1:], strict=True):
            key = count.layer if count.of_neurons else (count.merge, *self._path(keys, count.branch, count.below))
            if key not in distinct:
                distinct[key] = self._transition(count, grid, tail)
            keys.append(key)
            self.transitions.append(distinct[key])
            self.all_masses.append(distinct[key].push(self.all_masses[count.below]))
        self._masses = [self.all_masses[place] for place in self.sent]

    def _transition(self, count: Count, grid: CountGrid, tail: float) -> Transition | DenseTransition:
        if count.layer is not None:
            return Transition(grid, *firing(count.layer, self.all_grids[count.below].counts), tail)
        branch = self.transitions[count.branch]
        p, q = (branch.p, branch.q) if count.merge == "and" else (branch.q, branch.p)
        inner = [kernel.dense() for kernel in self._path(self.transitions, self.counts[count.branch].below, count.below)]
        return merged(p, q, np.linalg.multi_dot([*inner, np.eye(len(p))]) if inner else None, count.width, tail)

    def _path(self, values: list[Any], last: int, first: int) -> list[Any]:
        """The values of the counts between two, the first excluded."""
        passed = []
        while last != first:
            passed.append(values[last])
            last = self.counts[last].below
        return passed[::-1]

    def law(self, place: int) -> CountLaw:
        """The distribution of a count."""
        grid = self.all_grids[place]
        return CountLaw(grid.counts, frozen(self.all_masses[place]), grid.width)

    def propagate(self, depth: int | None = None) -> tuple[CountLaw, ...]:
        """The distribution of the spike count in layers 1 … ``depth`` (default: the network's); of the last, after a merge.

        Raises
        ------
        DomainError
            For a depth beyond the network's if its layers differ.
        """
        masses = self.masses(depth)
        grids = self.grids + self.grids[-1:] * (len(masses) - len(self.grids))
        return tuple(CountLaw(grid.counts, frozen(mass), grid.width) for mass, grid in zip(masses, grids, strict=False))

    def survival(self, depth: int | None = None) -> float:
        """``P(K_depth > 0)``: the probability that layer ``depth`` has at least one spike; the last, after a merge.

        Beyond the network's own depth, layers are not stored: a network of one layer serves for any depth of equal ones.

        Raises
        ------
        DomainError
            For a depth beyond the network's if its layers differ, or if depth and width are both so large that this would take
            minutes.
        """
        wanted = self.network.depth if depth is None else integer("depth", depth, minimum=1)
        if wanted <= self.network.depth or not self.homogeneous:
            return min(float(self.masses(wanted)[-1][1:].sum()), 1.0)
        last, deeper = self._masses[-1], wanted - self.network.depth
        if deeper > 1e10 / len(last):  # spike counts × layers: more can take minutes
            rule = f"is too large at width {self.network.widths[-1]}: take fewer layers or neurons"
            raise DomainError("depth", wanted, rule)
        alive = stationary.alive_after(self.kernel, last, deeper)
        if alive < self._rare and self.kernel.tail < WHOLE_TAIL:
            alive = stationary.alive_after(self.kernel.with_tail(WHOLE_TAIL), last, deeper)
        return min(alive, 1.0)

    def masses(self, depth: int | None = None) -> list[np.ndarray]:
        """The distributions of layers 1 … ``depth`` as vectors on the layers' count grids."""
        wanted = self.network.depth if depth is None else integer("depth", depth, minimum=1)
        masses = self._masses[:wanted]
        if wanted > self.network.depth and not self.homogeneous:
            rule = f"exceeds the network's {self.network.depth}, and its layers differ: give a deeper network"
            raise DomainError("depth", wanted, rule)
        while len(masses) < wanted:
            masses.append(self.kernel.push(masses[-1]))
        return masses

    def driven_kernel(self, grid: CountGrid) -> Transition:
        """The distribution of layer 1 on a grid, one row per input."""
        return Transition(grid, *tails(*self.start), WHOLE_TAIL)

    @property
    def homogeneous(self) -> bool:
        """True if all layers are the same, with neurons of one width and one transition between them."""
        alike = len({count.width for count in self.counts}) == 1 and len(set(self.layers)) <= 1
        return alike and len(self.neurons) == len(self.counts)

    @property
    def kernel(self) -> Transition:
        """The one transition kernel of a homogeneous network."""
        if not self.homogeneous:
            rule = "has layers that differ: a stationary state needs equal widths and gains"
            raise DomainError("network", self.network, rule)
        return self.transitions[1] if self.layers else Transition(self.grids[0], *firing(self.layer, self.grids[0].counts))

    @property
    def silence_is_absorbing(self) -> bool:
        """True if silence is absorbing."""
        return self.layer.bias_variance == 0 and float(self.kernel.p[0]) == 0

    @property
    def layer(self) -> CountedLayer:
        """The one layer of a homogeneous network."""
        return self.layers[0] if self.layers else layers(self._one_deeper())[0]

    def quasi_stationary(self) -> QuasiStationary:
        """The state of a deep network that is still alive, and its escape rate to silence (probability per layer).

        Returns
        -------
        QuasiStationary
            ``.distribution .variance .variance_std .firing_rate .firing_rate_std .escape_rate .relaxation_depth``

        Raises
        ------
        DomainError
            If layers differ; if silence is not absorbing (a bias, or neurons that fire at rest; use :meth:`stationary`); if no
            live network survives even one layer.
        ConvergenceError
            If the distribution does not settle within 100000 layers.

        Notes
        -----
        **Accuracy** of the escape rate: relative 1e-9 against the full matrix (n = 500 … 2000), down to 1e-79 (tested); at
        n = 10⁵ and 2.6e-218 it follows the trend of :func:`varflow.escape_asymptotics` to 1e-5 (tested).
        An escape rate below about 1e-300 is reported as 0.
        **Source**: ``darroch1965``.

        Examples
        --------
        >>> import varflow as vf
        >>> network = vf.Network(width=800, depth=2, gain=vf.gain(threshold=0.85), neuron=vf.Neuron(0.85))
        >>> f"{vf.SpikeChain(network).quasi_stationary().escape_rate:.1e}"
        '6.2e-12'
        """
        if not self.silence_is_absorbing:
            rule = "has no absorbing silence, so it never escapes for good; use SpikeChain(network).stationary()"
            raise DomainError("network", self.network, rule)
        kernel = self._whole_kernel()
        return stationary.quasi_stationary(self.layer, kernel, *self._living(kernel))

    def stationary(self) -> Stationary:
        """The stationary state of a deep network, its metastable states, and the rates of switching between them.

        If silence is absorbing, the stationary state is silence; the rates then say how fast active states fall silent.

        Returns
        -------
        Stationary
            ``.distribution .variance .variance_std .firing_rate .firing_rate_std .silence .second_eigenvalue
            .relaxation_depth .states .weights .rates``

        Raises
        ------
        DomainError
            If layers differ; if the layer is so wide that switching rates are below 1e-300 per layer.
        ConvergenceError
            If the distribution does not settle within 100000 rounds.

        Notes
        -----
        **Assumes** equal layers. The distribution is exact whether or not the states are well separated. The rates alone
        describe the switching (``weights @ rates`` in balance) if they are small compared with each state's inverse
        relaxation depth.
        **Accuracy**: total variation 1e-11 against the full matrix, also if layers alternate; relative 1e-9 for
        ``silence`` and ``rates``, down to 1e-30 (tested). Absolute 1e-11 for ``second_eigenvalue``, but 1e-5 above width 255
        if nearly every network dies within a layer (measured). Above width 2000 counts are kept on a grid.
        **Source**: derived here; ``stewart1994``, ``grassmann1985`` for the solution of the chain.

        Examples
        --------
        A narrow network with a bias is almost always quiet: it leaves the active state with probability 0.046 per layer and
        returns with probability 8e-6.

        >>> import varflow as vf
        >>> network = vf.Network(width=40, depth=2, gain=6.303**0.5, bias_std=0.05**0.5)
        >>> state = vf.SpikeChain(network).stationary()
        >>> f"{state.variance:.5f} {state.silence:.5f}"
        '0.05028 0.99947'
        >>> state.rates.round(7).tolist()
        [[0.0, 7.8e-06], [0.0455893, 0.0]]
        """
        return stationary.stationary(self.layer, self._whole_kernel())

    def lifetime(self) -> Lifetime:
        r"""Mean number of live layers before the first silent one.

        .. math:: T = \sum_{k>0} P(K_1 = k)\, T_k, \qquad T_k = 1 + \sum_{j>0} P_{kj} T_j

        Returns
        -------
        Lifetime
            ``.from_drive``, and ``.from_quasi_stationary``, the inverse of the escape rate (NaN if silence is not
            absorbing). ``inf`` if no network falls silent.

        Raises
        ------
        DomainError
            If layers differ.

        Examples
        --------
        >>> import varflow as vf
        >>> network = vf.Network(width=60, depth=2, gain=2.2, bias_std=0.3)
        >>> f"{vf.SpikeChain(network).lifetime().from_drive:.3f}"
        '11.341'
        """
        kernel = self._whole_kernel()
        from_drive = stationary.layers_until_silence(kernel, self.driven_kernel(kernel.target).dense().mean(axis=0))
        if not self.silence_is_absorbing:
            return Lifetime(from_drive, np.nan)
        escape = stationary.settled(kernel, *self._living(kernel))[1]
        return Lifetime(from_drive, 1 / escape if escape > 0 else np.inf)

    def _whole_kernel(self) -> Transition:
        return stationary.whole_kernel(self.layer, self.kernel.target)

    def _living(self, kernel: Transition) -> tuple[np.ndarray, np.ndarray]:
        """True for counts that are alive, and a starting distribution: that of layer 1, unless it is silent."""
        living, driven = kernel.target.counts > 0, self.driven_kernel(kernel.target).dense().mean(axis=0)
        return living, driven if driven[living].sum() > 0 else kernel.target.weights

    def _one_deeper(self) -> Network:
        only = plain_chain(self.network)
        return replace(only, width=only.widths.tolist() * 2, depth=2, gain=only.gains.tolist() * 2)


def chain_of(theta: Any, gain: float, width: int, depth: int, weights: Any = "normal", rare: float = 0.0) -> SpikeChain:
    """The chain of equal layers of memoryless neurons."""
    return SpikeChain(Network(width=width, depth=depth, gain=gain, neuron=Neuron(theta), weights=weights), rare=rare)


def survival_at(theta: Any, gain: float, width: int, depth: int, weights: Any = "normal", rare: float = 0.0) -> float:
    """``P(K_depth > 0)`` in a network of equal layers; below 1e-3 it can come out too small, unless that is ``rare``."""
    return chain_of(theta, gain, width, 1, weights, rare).survival(depth)


def equal_layers(network: Network) -> CountedLayer:
    """The layer of a network of equal layers with normal weights; DomainError for any other network."""
    one_step(network)
    if network.weights != "normal":
        raise DomainError("weights", network.weights, "must be 'normal': the series is derived for normal potentials")
    equal_neurons(network.neuron, "vf.finite_width(network), which is exact")
    if network.depth == 1:
        raise DomainError("depth", 1, "must be at least 2: layer 1 is not driven by spikes")
    if len(set(network.widths.tolist())) > 1 or len(set(network.gains[1:].tolist())) > 1:
        raise DomainError("network", network, "has layers that differ: a stationary state needs equal widths and gains")
    return layers(network)[0]
