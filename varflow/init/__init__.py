"""Initialisation: theory turned round, and written into tensors.

- Fills, in place: :func:`normal_`, :func:`uniform_`, :func:`truncated_normal_`, :func:`sign_`, :func:`orthogonal_` of a gain;
  :func:`micheli_normal_`, :func:`micheli_uniform_` of a threshold; :func:`corrected_normal_`, :func:`corrected_uniform_` of a
  threshold, a width and a depth.
- Gains: :func:`calculate_gain` of a neuron. Layers: :func:`init_fn` for ``model.apply``, :func:`init_layer_` for one.
- A whole model: :func:`init_model` runs it once to see what follows what, and sets every weight.
- What others published: :mod:`varflow.init.published`, a file a method; :func:`lsuv_` needs a batch. :func:`varflow.catalogue`
  sets them side by side.
- Fans: :func:`fan_in`, :func:`fan_out` of shapes and layers, :func:`effective_fan_in` of a convolution on an input of a size.

Fills need torch; gains, and fans of shapes, do not.

**Convolutions.** A convolution is covered as far as one neuron goes: it sums ``n = in/groups · kernel`` inputs, and a weight
standard deviation of ``g/√n`` gives its potential the variance that theory says, if all of them are there. At borders padded
with zeros they are not: the mean number is ``effective_fan_in``, and the variance differs from position to position. A
transposed convolution with a stride has output positions with different numbers of inputs likewise; ``fan_in`` is their mean.
Stride and pooling change how many neurons there are, not what one of them sums. What is not covered: weights are shared, so
neurons of one channel are correlated and a layer is not a set of independent neurons. Means over many networks at large
channel numbers stand; the finite-width results (survival, corrected gains, spreads) are for dense layers.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "calculate_gain": "neuron_gain",
    "corrected_normal_": "published",
    "corrected_uniform_": "published",
    "effective_fan_in": "fans",
    "fan_in": "fans",
    "fan_out": "fans",
    "init_fn": "layers",
    "init_layer_": "layers",
    "init_model": "models.initialise",
    "lsuv_": "published",
    "micheli_normal_": "published",
    "micheli_uniform_": "published",
    "normal_": "fills",
    "orthogonal_": "fills",
    "reads": "models.spiking",
    "sign_": "fills",
    "truncated_normal_": "fills",
    "uniform_": "fills",
}
_ROOMS = ("published",)
_MERGED = ("rates", "statistics")  # into ``published``; the old names go with the next release

__all__ = sorted([*_HOME, *_ROOMS])  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from varflow.init import published
    from varflow.init.fans import effective_fan_in, fan_in, fan_out
    from varflow.init.fills import normal_, orthogonal_, sign_, truncated_normal_, uniform_
    from varflow.init.layers import init_fn, init_layer_
    from varflow.init.models.initialise import init_model
    from varflow.init.models.spiking import reads
    from varflow.init.neuron_gain import calculate_gain
    from varflow.init.published import corrected_normal_, corrected_uniform_, lsuv_, micheli_normal_, micheli_uniform_


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"varflow.init.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"varflow.init.{name}")
    elif name in _MERGED:
        warnings.warn(f"vf.init.{name} is now vf.init.published", DeprecationWarning, stacklevel=2)
        return import_module("varflow.init.published")
    else:
        raise AttributeError(f"module 'varflow.init' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
