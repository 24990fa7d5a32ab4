"""Initialisation of a torch model: gains, scales and surrogate widths of its layers."""
