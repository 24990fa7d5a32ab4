"""Causes of a dead layer that an audit tells apart, and what each means."""

from __future__ import annotations

CAUSES = {
    "dead input": "the input is zero, always or in the second half of the steps: nothing drives the first layer",
    "first-layer scale": "the first layer's weights do not fit the scale of the data",
    "below the critical gain": "deep layers fall silent at any width",
    "starved": "its own gain would keep activity, but it receives too little from the layers below",
    "finite width": "activity would persist at infinite width; layers this narrow lose it by chance",
    "bias": "without its biases the network would keep firing: set them to 0",
    "leak or reset": "a memoryless neuron would keep firing at these gains; this one's leak or reset stops it",
    "normalisation": "a normalisation, not the gain, sets the scale of its currents: raise its γ, or give it one (affine=True)",
    "attention": "its sums of products of spikes stay below the threshold: raise its scale, or the rates of q, k and v",
    "arrangement": "independent weights of the same moments would keep firing: redraw its weights",
    "beyond the theory": "the theory does not cover what it receives",
}
