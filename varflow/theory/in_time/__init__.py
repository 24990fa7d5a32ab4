"""Networks of several steps at infinite width: the matrix of coincidences ``E[S_t S_t']``, from layer to layer.

``recursion`` goes down the layers; one layer's response is that of ``orthants`` without a reset, of ``quasi_monte_carlo``,
``histories`` or ``held_currents`` with one, and ``methods`` chooses. ``fixed_point`` and
``critical_gain`` ask what deep layers keep.
"""
