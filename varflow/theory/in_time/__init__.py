"""Neurons over several steps at infinite width, and the questions about deep layers of them.

A layer's response to Gaussian currents is computed by ``orthants`` (no reset), ``quasi_monte_carlo``, ``histories`` or
``rank_one_currents``; ``flow`` chooses one and iterates over layers. ``fixed_point``, ``critical_gain``, ``chosen_gain``,
``steady_gain`` (with ``gain_search`` and ``last_layers``) and ``sustained`` are about deep layers.
"""
