"""A user's own torch model: watched for one forward pass, initialised, audited.

``walker`` finds which neuron follows which weight layer (``traced``, ``provenance``, ``spiking``, ``state``), ``watch`` reads
membranes and spikes; ``prediction`` says what to expect (``wiring``, ``population``, ``redraw``), ``planner`` what to aim at;
``initialise`` and ``audit`` are what users call.
"""
