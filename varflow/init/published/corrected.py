"""varflow's own method: the paper's gain, raised if networks of finite width would die."""

from __future__ import annotations

from typing import Any

from varflow._checks import DomainError, integer, probability, real_number
from varflow.init.fills import check_floating, fan_of, normal_, uniform_
from varflow.init.inverse import raised_gain
from varflow.init.published.method import Method, Setting, Weights

Tensor = Any  # torch is imported where it is needed


def corrected_normal_(
    tensor: Tensor,
    threshold: float = 1.0,
    *,
    depth: int,
    width: int | None = None,
    survival_target: float = 0.99,
    fan: Any = None,
    generator: Any = None,
) -> Tensor:
    r"""Fill with normal weights of the paper's gain, raised if networks of this width would not survive to a depth.

    .. math:: w \sim N\Big(0, \frac{g^2}{n}\Big), \qquad
              g = \max\Big(\inf \{ g : P(K_L > 0) \ge 1 - \epsilon \},\; \frac{1}{\sqrt{Q(\theta)}}\Big)

    If the paper's gain is enough, the corrected gain, the smallest that suffices, is lower and would lower the variance.

    Parameters
    ----------
    tensor, fan, generator
        As in :func:`varflow.init.normal_`.
    threshold : float
        ``θ > 0``.
    depth, survival_target
        As in :func:`varflow.corrected_gain`.
    width : int, optional
        Width of the network; by default the fan-in.

    Notes
    -----
    **Assumes** equal dense layers and memoryless neurons, and normal weights in every layer. **Source**: derived here.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> weight = vf.init.corrected_normal_(torch.empty(100, 100), 1.0, depth=100)
    >>> round(vf.corrected_gain(threshold=1.0, width=100, depth=100) ** 2, 3)
    8.164

    At θ = 0.5 the paper's gain is enough:

    >>> weight = vf.init.corrected_normal_(torch.empty(400, 500), 0.5, depth=100)
    >>> print(f"{float(weight.std()) * 500**0.5:.1f} {vf.gain(threshold=0.5):.3f}")
    1.8 1.800
    """
    g = _gain(tensor, threshold, depth, width, survival_target, fan, "normal")
    return normal_(tensor, g, fan=fan, generator=generator)


def corrected_uniform_(
    tensor: Tensor,
    threshold: float = 1.0,
    *,
    depth: int,
    width: int | None = None,
    survival_target: float = 0.99,
    fan: Any = None,
    generator: Any = None,
) -> Tensor:
    """Fill with uniform weights of the corrected gain, by their own survival at finite width.

    Parameters
    ----------
    tensor, threshold, depth, width, survival_target, fan, generator
        As in :func:`varflow.init.corrected_normal_`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> tuple(vf.init.corrected_uniform_(torch.empty(20, 50), 0.7, depth=10).shape)
    (20, 50)
    """
    g = _gain(tensor, threshold, depth, width, survival_target, fan, "uniform")
    return uniform_(tensor, g, fan=fan, generator=generator)


def _gain(tensor: Tensor, threshold: float, depth: int, width: Any, target: float, fan: Any, weights: str) -> float:
    check_floating(tensor)
    if not tensor.numel():  # the fill warns
        return 1.0
    n = int(fan_of(tensor, fan)) if width is None else integer("width", width, minimum=1)
    theta, target = real_number("threshold", threshold), probability("survival_target", target, open_ends=True)
    return raised_gain(theta, width=n, depth=integer("depth", depth, minimum=1), survival_target=target, weights=weights)


def _weights(s: Setting) -> Weights:
    if not s.neuron.memoryless:
        raise DomainError("neuron", s.neuron, "has no corrected gain, which is known for memoryless neurons only")
    theta = s.neuron.threshold
    gain = raised_gain(theta, width=s.width, depth=s.depth, survival_target=s.survival_target)
    return Weights(gain / s.neuron.input_scale)


CORRECTED = Method(
    "corrected",
    "varflow, corrected",
    _weights,
    "raises the variance if it corrects",
    needs="width and depth",
    colour="tab:green",
)
