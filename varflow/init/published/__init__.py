"""Published initialisations: formula, source, what the method needs and ignores, fills, colour in figures.

A gain is ``g = σ_w √fan_in``, so weights have standard deviation ``g/√fan_in``. :func:`varflow.catalogue` compares the methods,
and any :class:`Method` of your own.
"""

from varflow._lazy import names_of
from varflow.init.published import micheli, without_threshold
from varflow.init.published.fluctuation_driven import (
    FLUCTUATION_DRIVEN,
    FilterSums,
    WeightMoments,
    exponential_filter,
    fluctuation_driven,
    step_filter,
)
from varflow.init.published.leaky import DING, SPIKEINIT, ding_bias, ding_gain, spikeinit_first_layer_std, spikeinit_gain
from varflow.init.published.lsuv import LSUV, lsuv_
from varflow.init.published.method import Method, Setting, Weights
from varflow.init.published.micheli import (
    CORRECTED,
    corrected_normal_,
    corrected_uniform_,
    micheli_finite_size_gain,
    micheli_gain,
    micheli_normal_,
    micheli_soft_reset_gain,
    micheli_uniform_,
)
from varflow.init.published.without_threshold import (
    bellec_gain,
    ikun_gain,
    kaiming_gain,
    lecun_gain,
    spytorch_gain,
    torch_bias_std,
    torch_gain,
    xavier_gain,
)

METHODS = (
    *without_threshold.RECTIFIERS_AND_LINEAR,
    *micheli.METHODS,
    DING,
    *without_threshold.SPIKING,
    FLUCTUATION_DRIVEN,
    SPIKEINIT,
    CORRECTED,
    LSUV,
    *without_threshold.WITHOUT_WEIGHTS,
)

__all__ = ["METHODS", *(name for name in names_of(globals()) if not name.isupper())]  # pyright: ignore[reportUnsupportedDunderAll]
