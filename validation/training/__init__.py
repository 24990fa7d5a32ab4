"""Does it train? Deep spiking networks trained on images, and which number at initialisation predicts the outcome."""

from validation.training.data import DataSet, load
from validation.training.networks import Design, build
from validation.training.training import Schedule, trained

__all__ = ["DataSet", "Design", "Schedule", "build", "load", "trained"]
