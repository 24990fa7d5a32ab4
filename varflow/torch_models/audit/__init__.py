"""The audit of a torch model: its signals and gradients, predicted and measured."""
