"""A user's torch model: read in one forward pass, predicted, audited, initialised, monitored.

``walker`` finds which neuron follows which weights by which operations (``graph``, ``provenance``, ``passes``; the neurons by
``model.library_neurons``), ``watch`` measures membranes and spikes, in several passes if there is ``chance``. ``evaluation``
sends moments of signals through the graph by the theory of ``vf.layers``; ``prediction`` predicts every layer, ``planner``
chooses gains (``layer_gains``), ``refine`` scales what was drawn. Users call ``initialise``, ``audit`` and ``monitor``, which
load torch with ``filling`` and ``report``.
"""
