"""A torch model becomes a graph of operations, in one traced pass."""
