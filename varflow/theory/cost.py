r"""Spikes and synaptic operations of a network before it is trained.

Of weights with the fan-in ``n`` into ``n'`` neurons, ``e(t)`` the expected number of spikes per input (of numbers, the
fraction that is not 0), averaged over what each neuron receives, the taps in the padding counting 0,

.. math:: \text{operations} = n' n \sum_t \langle e(t) \rangle
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance
from varflow.model.build import graph_of
from varflow.model.drives import Drive, Inputs, SpikeTrains
from varflow.model.graph import keeps_spikes
from varflow.model.network import Network
from varflow.model.signals import Measured, numbers_of
from varflow.model.weighted_layers import Conv, Linear
from varflow.results.cost import COLUMNS, Cost
from varflow.theory.finite_width.chain import SpikeChain
from varflow.theory.operations.visit import Effort, Walk
from varflow.theory.operations.weights import Arriving
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.moments import Spikes, as_inputs
from varflow.theory.walks.signals import Blocks, visited


def cost(network: Network, *, energy: Any = "float32", points: int = 2**12, scrambles: int = 8, seed: int = 0) -> Cost:
    r"""Expected spikes, synaptic operations and energy of one inference, layer by layer.

    .. math:: \text{ACs} = \sum_t \sum_l E[x_l(t)] \cdot \text{fan-out}_l

    Parameters
    ----------
    network : Network
        A plain chain, or any layers of ``vf.layers``, as :func:`varflow.read` makes them of a torch model too.
    energy : str or two floats
        Number format whose energies in 45 nm CMOS are taken, ``float32``, ``float16``, ``int32`` or ``int8``; or your own: the
        picojoules of a MAC and of an AC.
    points, scrambles, seed : int
        As in :func:`varflow.mean_field`, by default 2¹² points.

    Returns
    -------
    Cost
        Prints as a table; ``.operations``, ``.energy`` in pJ, ``.per_step``, ``.neurobench``, ``.priced(energy)``, ``.plot()``.

    Raises
    ------
    DomainError
        For unknown energies, and what :func:`varflow.mean_field` refuses.

    Notes
    -----
    Weights that receive spikes cost one addition per spike and connection (AC). All others cost multiplications (MAC): first
    weights if the drive has numbers other than 0 and ±1, and those after averages, normalisations or other weights. Weights
    that are 0 and taps in the padding cost nothing. A drive of currents has no first weights. Weights alone are counted, as by
    NeuroBench: no neurons, normalisations or products of attention; of a model that is read, rows that share weights, such as
    tokens, are inputs of their own. How often averages of spikes are not 0 is sampled; numbers that cannot be drawn count as
    not 0.
    **Assumes** independent weights. With one step and a chain of spike counts rates are exact at these widths, silent networks
    included, and so are the standard deviations; else rates are those of infinite width.
    **Accuracy**: that of :func:`varflow.mean_field`; ``tests/theory/test_cost.py`` counts dense, convolutional and residual
    networks. NeuroBench counts a sum of two spikes as one multiplication, here it is two additions.
    **Source**: names and rules of counting ``yik2025``; energies ``horowitz2014``; derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=100, depth=10, gain=2.6, drive=vf.drives.inputs([[0.3, -1.2, 0.8]]))
    >>> found = vf.cost(network)
    >>> print(f"{found.macs.sum():.0f} MACs, {found.acs.sum():.0f} ± {found.std['acs'][-1]:.0f} ACs, {found.energy:.0f} pJ")
    300 MACs, 14629 ± 3866 ACs, 14546 pJ
    """
    explicit = instance("network", network, Network)
    if isinstance(network.drive, Inputs | SpikeTrains) and network.drive.unit_gain > 0:  # with a node for the first weights
        graph, drive = graph_of(network, first_weights=True), replace(network.drive, input_gain=None)
        explicit = Network(nodes=graph, drive=drive, steps=network.steps)
    blocks, table = Blocks.of(explicit, Effort(Responses(points, scrambles, seed))), np.zeros((len(COLUMNS), network.depth + 1))
    for drive, (start, batching) in zip(blocks.drives, blocks, strict=True):
        _count(table, blocks, drive, start, blocks.walk(batching))
    layers = (*map(str, range(1, network.depth + 1)), "readout")
    found = Cost(layers=layers, **dict(zip(COLUMNS, table, strict=True)), steps=network.steps, network=network)
    return _at_width(found.priced(energy), network)


def _count(table: np.ndarray, blocks: Blocks, drive: Drive, start: Any, walk: Walk) -> None:
    """Add these inputs to the columns: what layers of neurons send, and what the weights before each of them do."""
    steps, part = blocks.network.steps, drive.n_inputs / blocks.network.drive.n_inputs
    spiking, not_zero = {0: _binary(getattr(drive, "x", 0))}, {0: start}
    if isinstance(drive, Inputs):
        not_zero[0] = blocks.start(replace(drive, x=drive.x != 0, input_gain=1.0), infinite=False)
    for visit in visited(blocks.graph, start, walk):
        node, sent, number = visit.node, visit.sent, visit.node_number
        spiking[number] = node.operation.spikes or (
            keeps_spikes(node.operation) and all(spiking[source] for source in node.inputs)
        )
        x = None if node.inputs else numbers_of(node.operation)
        if x is not None:
            spiking[number], not_zero[number] = _binary(x), node.map("forward")(Measured((x != 0) * 1.0), (), visit)
        if node.operation.spikes:
            size, rate = sent.channels * sent.grid.positions, visit.kept["state"].firing_rate.reshape(-1, steps).mean(axis=0)
            counts = np.array([size, size * rate.sum(), 0.0, 0.0, 0.0, 0.0])
            if getattr(node.operation, "recurrent", False):
                counts[3:] = size**2 * np.array([rate[:-1].sum(), steps - 1, steps])
        elif isinstance(node.operation, Linear | Conv):
            (source,), (signal,) = node.inputs, visit.received
            adds = spiking[source]
            at = Arriving.at(node.operation, not_zero.get(source) or (signal if adds else _not_zero(signal)))
            inside = 1.0 if at.window is None else at.window.inside_map(signal.grid).mean()
            size, connections = steps * sent.channels * sent.grid.positions, node.operation.connections(at.fan_in)
            number = connections * at.mean.mean()
            counts = size * np.array(
                [0, 0, number * (not adds), number * adds, connections * inside * adds, at.fan_in * inside]
            )
        else:
            continue
        table[:, visit.layer_number] += part * counts


def _binary(x: Any) -> bool:
    """True for numbers that are spikes: 0 and ±1."""
    return bool(np.isin(x, (-1, 0, 1)).all())


def _not_zero(signal: Any) -> Spikes:
    """The fraction of numbers that is not 0 in place of their mean; 1 if they cannot be drawn."""
    draw, grid = getattr(signal, "sampled", None), signal.grid
    if draw is None:
        return replace(as_inputs(signal), mean=np.ones_like(signal.mean))
    return replace(signal, mean=np.mean(draw(*[np.arange(grid.positions)[:, None]] * grid.per_position) != 0, axis=-1))


def _at_width(found: Cost, network: Network) -> Cost:
    """The cost with exact rates and standard deviations at these widths, if a chain of spike counts without merges is known."""
    try:
        chain = SpikeChain(network)
    except DomainError:
        return found
    if any(count.merge for count in chain.counts):
        return found
    rate, std = np.transpose([(law.firing_rate, law.firing_rate_std) for law in chain.propagate()]) * network.widths
    ones, fan_out = np.ones(len(rate)), found.most_acs[1:] / network.widths
    spikes, acs = np.append(rate, 0.0), np.append(found.acs[0], fan_out * rate)
    of_spikes, of_acs = [*std, 0.0, _std_of_sum(chain, ones)], [0.0, *fan_out * std, _std_of_sum(chain, fan_out)]
    spread = {"spikes": np.array(of_spikes), "acs": np.array(of_acs)}
    return replace(found, spikes=spikes, acs=acs, std=spread, method="exact at these widths")


def _std_of_sum(chain: SpikeChain, factors: np.ndarray) -> float:
    """Standard deviation of ``Σ_l f_l K_l``: two moments of what follows, given each count, from the last layer back."""
    mean = square = mass = np.zeros(1)
    for place in reversed(range(len(chain.counts))):
        mass, counts = chain.all_masses[place], chain.all_grids[place].counts
        own = factors[place] * (counts - np.sum(mass * counts))
        mean, square = own + mean, own**2 + 2 * own * mean + square
        if place:
            mean, square = chain.transitions[place].pull(np.stack([mean, square], axis=-1)).T
    return float(np.sqrt(max(np.sum(mass * square), 0.0)))
