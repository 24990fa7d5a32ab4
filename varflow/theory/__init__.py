"""Theory: pure functions from descriptions to predictions. numpy and scipy only."""
