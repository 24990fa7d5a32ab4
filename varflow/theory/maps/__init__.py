"""Large maps: positions in classes of like variance, pairs of them, and windows."""
