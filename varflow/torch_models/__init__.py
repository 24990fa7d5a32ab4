"""A user's torch model: traced in one forward pass, initialised, audited.

``walker`` finds which neuron follows which weight layer (``traced``, ``provenance``, ``library_neurons``), ``watch`` records
membranes and spikes, ``refusals`` raises for models that cannot be traced; ``prediction`` predicts every layer (``wiring``,
``population``, ``redraw``), ``planner`` chooses gains (``layer_gains``). Users call ``initialise`` and ``audit``, which load
torch with ``filling`` and ``report``.
"""
