"""Finite width: the exact chain of spike counts, its tails, expansions and stationary states."""
