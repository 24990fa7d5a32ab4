"""Every layer of a network at infinite width: the variance map, iterated from the drive on, or its analogue in time."""

from __future__ import annotations

import numpy as np

from varflow.model.distributions import distribution
from varflow.model.drive_kinds import Given
from varflow.model.network import Network
from varflow.results import Profile
from varflow.results.ensemble import spread
from varflow.theory.in_time.methods import response
from varflow.theory.in_time.recursion import in_time
from varflow.theory.in_time.stepping import driven_by
from varflow.theory.layers import driven_threshold, driven_variances, layers, one_step

__all__ = ["mean_field"]


def mean_field(network: Network, *, method: str = "auto", points: int = 2**14, scrambles: int = 8, seed: int = 0) -> Profile:
    r"""Every layer at infinite width: the variance map, iterated; in time the map of coincidences.

    .. math:: V_{l+1} = \lambda^2 (\sigma_b^2 + g^2 p_l), \qquad p_l = Q\big((\theta - \lambda m_g p_{l-1})/\sqrt{V_l}\big)

    and over several steps, with ``M(t, t') = E[S_t S_t']`` of the layer below and delay ``d``

    .. math:: \mathrm{Cov}[I_t, I_{t'}] = g^2 M(t - d, t' - d) + \sigma_b^2, \qquad E[I_t] = m_g r(t - d)

    Parameters
    ----------
    network : Network
        Its widths set ``spikes`` only.
    method : str
        How a layer's spikes are found from its currents over several steps: ``orthants`` (no reset: normal potentials,
        bivariate orthant probabilities), ``quasi_monte_carlo`` (any neuron, with an error), ``histories`` (a sum over the
        ``2^T`` spike histories, for few steps), or ``auto``: orthants without reset, else quasi-Monte Carlo.
    points, scrambles, seed : int
        Of quasi-Monte Carlo: points a scramble, independent scrambles of them, and their seed.

    Returns
    -------
    Profile
        Standard deviations are 0, survival is 1 where the rate is positive. For a drive of inputs, the mean over the
        batch, and ``per_input``. Over several steps shapes are (depth, steps), and ``potential_mean``, ``coincidences`` and
        (where numbers were drawn) ``error`` are there.

    Raises
    ------
    DomainError
        For a method that does not suit the neuron, more than 100 steps, and for one step multi-spike neurons and delays.

    Notes
    -----
    **Assumes** infinite width, so currents are normal whatever the law of the weights, and a threshold neuron.
    **Accuracy** as a statement about finite networks: off by order 1/width; see :func:`varflow.finite_width`. Numerically, by
    orthants: within 3e-15 of arbitrary precision in every coincidence, through up to 100 layers of 20 steps and 13 of 100 (θ
    = 1, β from 0.1 to 1, g² from 5.4 to 12, held and white drives), for what late steps of a held drive differ by is carried
    with digits of its own. ``error`` says what depth makes of the last of them. Steps of a drive given as inputs over time
    that differ by less than 1e-15 of their variance are taken to be equal. The order of limits matters there: infinite width
    separates potentials that differ in their last digit within a few layers, while ``n`` neurons stay equal until some spike
    of them differs. This is no matter of 1/n: at β = 0.2, g² = 6.303, step 20 and layer 8, 60 networks of width 2000 have a
    mean variance of 2.635 ± 0.019, the limit 2.440; at β = 0.5, layer 5, they have 9.27 ± 0.06 and 9.126, and agree from
    layer 8 on.
    Quasi-Monte Carlo: ``error`` is the standard error over scrambles, each a network of its own through all layers, and in
    each the grain of one point. At θ = 1, β = 0.5, g² = 8, 20 steps and 100 layers it is below 4e-4 for rates (zero and
    delayed_subtract). Not in it: the bias of the square of that error, and single precision, which after 30 such layers has
    moved rates by 2e-5 at most and 1.4e-6 on average. Near a critical gain a layer's multiplier ``m`` approaches 1 and the
    error grows as ``1/(1-m)``; where scrambles disagree on life and death, survival is the share of those alive.
    Histories: at most 8 steps (4 of multi-spike neurons). Up to 4 steps a layer is right to 1e-10 by quadrature where each
    step's newest current is at least 0.15 of the membrane's standard deviation; else ``error`` as above.
    **Source**: ``micheli2024``, with bias, weight mean and input scale added here; that currents are normal: ``lee2018``,
    ``matthews2018``; in time derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> kaiming = vf.Network(width=1000, depth=100, gain=2**0.5, neuron=vf.Neuron(1.0))
    >>> [f"{v:.2g}" for v in vf.mean_field(kaiming).variance[:4]]
    ['1', '0.32', '0.076', '0.00028']

    A leak adds up a constant current, to ``1/(1 - β)²`` of its variance:

    >>> leaky = vf.Network(width=1000, depth=2, gain=vf.gain(threshold=1.0), neuron=vf.Neuron(1.0, decay=0.5), steps=20)
    >>> print(vf.mean_field(leaky).variance[:, -1].round(3))
    [4.    7.779]
    """
    chosen = response(network, method, points=points, scrambles=scrambles, seed=seed)
    if network.steps > 1:
        return in_time(network, chosen)
    one_step(network)
    variance, rates = _layer_by_layer(network)
    mean_variance, mean_rate = variance.mean(axis=0), rates.mean(axis=0)
    alive = rates > 0
    per_input = {"variance": variance, "firing_rate": rates, "survival": alive} if len(variance) > 1 else {}
    return Profile(
        network,
        mean_variance,
        spread(variance, ddof=0),
        mean_rate,
        spread(rates, ddof=0),
        alive.mean(axis=0),
        per_input=per_input,
        silent_variance=(network.neuron.input_scale * network.bias_std) ** 2,
    )


def _layer_by_layer(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Variance and rate of every layer, one row per kind of input; shapes (batch, depth)."""
    normal = distribution("normal")
    if isinstance(network.drive, Given):
        state = driven_by(network.drive, network.neuron)
        variances, rates = [state.variance[0, :, 0]], [state.firing_rate[0, :, 0]]
    else:
        variances, rates = [driven_variances(network)], [normal.sf(driven_threshold(network))]
    for layer in layers(network):
        count = layer.fan_in * rates[-1]
        variances.append(layer.conditional_variance(count))
        rates.append(normal.sf(layer.standardised_threshold(count)))
    return np.column_stack(variances), np.column_stack(rates)
