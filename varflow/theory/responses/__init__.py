"""Responses of neurons to Gaussian currents: the update, orthants, quasi-Monte Carlo and Jacobians."""
