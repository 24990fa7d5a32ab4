"""Signals through layers at infinite width: each layer of ``vf.layers`` is a map from one signal to the next."""
