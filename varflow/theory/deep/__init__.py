"""Deep layers: fixed points, the smallest gain that keeps activity, and gains for a wanted value."""
