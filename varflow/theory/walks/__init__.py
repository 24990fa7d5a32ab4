"""Walks over a network at infinite width: signals, kernels and gradients."""
