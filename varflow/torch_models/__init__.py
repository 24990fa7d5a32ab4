"""A user's own torch model: watched for one forward pass, initialised, audited.

``walker`` finds which neuron follows which weight layer (``traced``, ``provenance``, ``library_neurons``), ``watch`` reads
membranes and spikes, ``refusals`` says what cannot be watched; ``prediction`` says what to expect (``wiring``, ``population``,
``redraw``), ``planner`` what to aim at (``layer_gains``); ``initialise`` and ``audit`` are what users call.
"""
