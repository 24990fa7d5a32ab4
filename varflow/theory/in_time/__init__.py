"""Networks of several steps at infinite width: second moments of spikes, ``M(t, t') = E[S_t S_t']``, from layer to layer.

``recursion`` iterates over layers. One layer's response is computed by ``orthants`` (no reset), ``quasi_monte_carlo``,
``histories`` or ``rank_one_currents``; ``response_choice`` chooses. ``fixed_point`` and ``critical_gain`` are about deep
layers.
"""
