"""Neurons with memory at finite width: the Markov chain of their second moments, drawn, reduced to one step, and kept alive."""
