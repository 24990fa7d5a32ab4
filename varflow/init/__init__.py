"""Initialisation: the theory solved for gains, and tensors filled with them.

- Fills, in place: :func:`normal_`, :func:`uniform_`, :func:`truncated_normal_`, :func:`sign_`, :func:`orthogonal_` of a gain;
  :func:`micheli_normal_`, :func:`micheli_uniform_` of a threshold; :func:`corrected_normal_`, :func:`corrected_uniform_` of a
  threshold, a width and a depth.
- Gains: :func:`calculate_gain` of a neuron. Layers: :func:`init_fn` for ``model.apply``, :func:`init_layer_` for one.
- A whole model: :func:`init_model` traces it in one run and sets every weight; :func:`quantise_` rounds them to few bits.
- Published methods: :mod:`varflow.init.published`; :func:`lsuv_` needs a batch. :func:`varflow.catalogue`
  compares them.
- Fans: :func:`fan_in`, :func:`fan_out` of shapes and layers, :func:`effective_fan_in` of a convolution for an input size.

Fills need torch; gains, and fans of shapes, do not.

**Convolutions.** The theory holds for each neuron: it sums ``n = in/groups · kernel`` inputs, and weights of standard deviation
``g/√n`` give its potential the predicted variance, if all inputs are present. At zero-padded borders they are not: the mean
number is ``effective_fan_in``, and the variance depends on position. In a transposed convolution with a stride, too, the number
of inputs depends on position; ``fan_in`` is its mean. Stride and pooling change the number of neurons, not their fan-in.
Weights are shared, so neurons of one channel are correlated, which the theory ignores: means over many networks with many
channels are correct, but finite-width results (survival, corrected gains, spreads) are for dense layers.
"""

from typing import TYPE_CHECKING

from varflow._lazy import loaded_when_asked

if TYPE_CHECKING:
    from varflow.init import published
    from varflow.init.fans import effective_fan_in, fan_in, fan_out
    from varflow.init.fills import normal_, orthogonal_, sign_, truncated_normal_, uniform_
    from varflow.init.layers import calculate_gain, init_fn, init_layer_
    from varflow.init.published import corrected_normal_, corrected_uniform_, lsuv_, micheli_normal_, micheli_uniform_
    from varflow.model.library_neurons import reads
    from varflow.torch_models.init_model import init_model
    from varflow.torch_models.quantise import quantise_

__getattr__, __dir__ = loaded_when_asked(globals())
