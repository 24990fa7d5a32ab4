"""Gradients through layers at infinite width: what a surrogate derivative does to their variance."""
