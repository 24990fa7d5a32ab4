"""What theory predicts of a traced model: its signals at its own or infinite width, and its gradients."""
