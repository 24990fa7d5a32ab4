"""Every layer of a network at infinite width: the variance map, iterated from the drive on."""

from __future__ import annotations

import numpy as np

from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.results import Profile
from varflow.theory.layers import driven_threshold, driven_variances, layers, one_step

__all__ = ["mean_field"]


def mean_field(network: Network) -> Profile:
    r"""Every layer at infinite width: the variance map, iterated.

    .. math:: V_{l+1} = \lambda^2 (\sigma_b^2 + g^2 p_l), \qquad p_l = Q\big((\theta - \lambda m_g p_{l-1})/\sqrt{V_l}\big)

    Parameters
    ----------
    network : Network
        ``steps=1``. Its widths set ``spikes`` only.

    Returns
    -------
    Profile
        Standard deviations are 0, survival is 1 where the rate is positive. For a drive of inputs, the mean over the
        batch, and ``per_input``.

    Raises
    ------
    DomainError
        For several time steps.

    Notes
    -----
    **Assumes** infinite width, so potentials are normal whatever the law of the weights, and a threshold neuron.
    **Accuracy** as a statement about finite networks: off by order 1/width; see :func:`varflow.finite_width`.
    **Source**: ``micheli2024``, with bias, weight mean and input scale added here.

    Examples
    --------
    >>> import varflow as vf
    >>> kaiming = vf.Network(width=1000, depth=100, gain=2**0.5, neuron=vf.Neuron(1.0))
    >>> [f"{v:.2g}" for v in vf.mean_field(kaiming).variance[:4]]
    ['1', '0.32', '0.076', '0.00028']
    """
    one_step(network)
    variance, rates = _layer_by_layer(network)
    mean_variance, mean_rate = variance.mean(axis=0), rates.mean(axis=0)
    alive = rates > 0
    per_input = {"variance": variance, "firing_rate": rates, "survival": alive} if len(variance) > 1 else {}
    return Profile(
        network,
        mean_variance,
        variance.std(axis=0),
        mean_rate,
        rates.std(axis=0),
        alive.mean(axis=0),
        per_input=per_input,
        silent_variance=(network.neuron.input_scale * network.bias_std) ** 2,
    )


def _layer_by_layer(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Variance and rate of every layer, one row per kind of input; shapes (batch, depth)."""
    normal = distribution("normal")
    variances, rates = [driven_variances(network)], [normal.sf(driven_threshold(network))]
    for layer in layers(network):
        count = layer.fan_in * rates[-1]
        variances.append(layer.conditional_variance(count))
        rates.append(normal.sf(layer.standardised_threshold(count)))
    return np.column_stack(variances), np.column_stack(rates)
