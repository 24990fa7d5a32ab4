"""torch's default initialisation of linear layers and convolutions."""

from __future__ import annotations

import math

from varflow._checks import integer
from varflow.init.published.method import NEURON, Method, Weights

__all__ = ["TORCH_DEFAULT", "torch_bias_std", "torch_gain"]


def torch_gain() -> float:
    """The default of ``torch.nn.Linear`` and ``torch.nn.Conv2d``: ``U(±1/√n)``, ``g² = 1/3``.

    In torch it is Kaiming's uniform distribution with slope √5; SpikingJelly's ``kaiming_normal_conv_linear_weight`` has the
    same gain, lava-dl the same times its ``weight_scale``. Ignores the neuron. The default bias is :func:`torch_bias_std`.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.torch_gain() ** 2, 12) == round(vf.init.published.kaiming_gain(slope=5**0.5) ** 2, 12)
    True
    """
    return 1 / math.sqrt(3)


def torch_bias_std(fan_in: int) -> float:
    """Standard deviation of torch's default biases, ``U(±1/√n)``: ``1/√(3n)``. Constant in time, so a leak sums it."""
    return 1 / math.sqrt(3 * integer("fan_in", fan_in, minimum=1))


TORCH_DEFAULT = Method(
    "torch_default",
    "torch's default",
    lambda s: Weights(torch_gain(), bias_std=torch_bias_std(s.fan_in)),
    f"{NEURON}; a leak sums its biases",
    colour="tab:pink",
)
