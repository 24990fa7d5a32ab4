"""Predictions for a traced model: its signals at its own or infinite width, and its gradients."""
