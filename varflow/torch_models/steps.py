"""Notes on the number of time steps of a traced model, and a warning if ``steps`` seems to be missing."""

from __future__ import annotations

import warnings

from varflow.torch_models.traced import Trace

__all__ = ["notes_on_steps", "warn_of_one_step"]

ONE_STEP = "neurons have memory but the model makes one step: pass steps=…"


def notes_on_steps(traced: Trace, steps: int | None) -> list[str]:
    """Notes on a number of steps that is probably a mistake."""
    if steps is None and traced.steps == 1 and any(not layer.neuron.memoryless for layer in traced.layers):
        return [ONE_STEP]
    if steps is not None and traced.steps > steps > 1:
        own = traced.steps // steps
        return [f"each call makes {own} steps itself, {steps} calls make {traced.steps}: leave out steps="]
    return []


def warn_of_one_step(traced: Trace, steps: int | None) -> None:
    """Warn (not only in the notes) if neurons have memory but only one step was made."""
    if ONE_STEP in notes_on_steps(traced, steps):
        warnings.warn(ONE_STEP, stacklevel=3)
