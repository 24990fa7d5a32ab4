"""One step at infinite width: maps of the variance, their fixed points and depth scales, in closed form or by roots."""
