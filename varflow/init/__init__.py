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

from typing import TYPE_CHECKING

from varflow._lazy import loaded_when_asked

_HOME = {
    "calculate_gain": "init.neuron_gain",
    "corrected_normal_": "init.published",
    "corrected_uniform_": "init.published",
    "effective_fan_in": "init.fans",
    "fan_in": "init.fans",
    "fan_out": "init.fans",
    "init_fn": "init.layers",
    "init_layer_": "init.layers",
    "init_model": "torch_models.initialise",
    "lsuv_": "init.published",
    "micheli_normal_": "init.published",
    "micheli_uniform_": "init.published",
    "normal_": "init.fills",
    "orthogonal_": "init.fills",
    "reads": "torch_models.library_neurons",
    "sign_": "init.fills",
    "truncated_normal_": "init.fills",
    "uniform_": "init.fills",
}
_ROOMS = {"published": "init.published"}
_MERGED = {"rates": "published", "statistics": "published"}  # into ``published``; the old names go with the next release

__all__ = sorted([*_HOME, *_ROOMS])  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from varflow.init import published
    from varflow.init.fans import effective_fan_in, fan_in, fan_out
    from varflow.init.fills import normal_, orthogonal_, sign_, truncated_normal_, uniform_
    from varflow.init.layers import init_fn, init_layer_
    from varflow.init.neuron_gain import calculate_gain
    from varflow.init.published import corrected_normal_, corrected_uniform_, lsuv_, micheli_normal_, micheli_uniform_
    from varflow.torch_models.initialise import init_model
    from varflow.torch_models.library_neurons import reads

__getattr__, __dir__ = loaded_when_asked(globals(), _HOME, _ROOMS, renamed=_MERGED)
