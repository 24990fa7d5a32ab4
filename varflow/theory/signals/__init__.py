"""Signals between layers at infinite width: moments of currents, of spikes and of gradients."""
