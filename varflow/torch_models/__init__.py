"""A user's torch model: traced in one forward pass, predicted, audited, initialised, monitored.

``tracing`` finds which neuron follows which weights by which operations (``trace``), and measures membranes and spikes
(``measure``). ``prediction`` says what theory expects of every layer, ``initialise`` plans gains, draws and scales, ``audit``
compares and advises: each room imports those before it. Users call ``init_model``, ``audit.door``, ``monitor`` and
``learning_rate``, which load torch.
"""
