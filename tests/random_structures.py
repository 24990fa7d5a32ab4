"""Random networks of ``vf.layers``: mixed resets, merges, pools, norms, recurrence, one step and four.

``network(number, width, strength)``: the choices follow from the number alone, so that one structure has any width;
``strength`` multiplies every gain (and γ).
"""

from dataclasses import dataclass, field

import numpy as np

import varflow as vf

L = vf.layers
RESETS = ("none", "subtract", "delayed_subtract", "zero", "gate")
INPUTS = 100  # numbers of an input without positions
SIDE = 6  # of a map


@dataclass
class Draw:
    """The random choices of one structure."""

    number: int
    width: int
    strength: float
    rng: np.random.Generator = field(init=False)

    def __post_init__(self):
        self.rng = np.random.default_rng([17, self.number])
        self.steps = int(self.rng.choice([1, 4]))
        self.normalises = self.rng.random() < 0.15  # over the batch

    def one(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def between(self, low, high):
        return round(float(self.rng.uniform(low, high)), 3)

    def neuron(self):
        theta, reset = self.between(0.8, 1.2), self.one(*RESETS)
        decay = self.between(0.2, 0.8) if self.steps > 1 else 0.0
        return vf.Neuron(theta, decay=decay, reset=reset)

    def spike(self, recurrent=False):
        neuron = self.neuron()
        if recurrent and self.steps > 1 and self.rng.random() < 0.2:
            return L.Spike(neuron, recurrent_gain=self.between(0.3, 1.5))
        return L.Spike(neuron)

    def gain(self, low=2.8, high=4.0):
        return self.strength * self.between(low, high)

    def linear(self, low=2.8, high=4.0):
        kind = self.rng.random()
        if kind < 0.15:
            return L.Linear(self.width, gain=self.gain(low, high), rows=self.one("centred", "standardised"))
        if kind < 0.3:
            return L.Linear(self.width, gain=self.gain(low, high), bias_std=self.between(0.1, 0.4))
        if kind < 0.4:
            return L.Linear(self.width, gain=self.gain(low, high), mean_gain=self.between(-0.4, 0.4))
        return L.Linear(self.width, gain=self.gain(low, high))

    def norm(self):
        kind = self.one("layer", "running", "batch" if self.normalises else "layer")
        gamma = self.strength * self.between(1.1, 1.8)
        if kind == "layer":
            return L.LayerNorm(gamma=gamma)
        return L.BatchNorm(gamma=gamma, statistics=(0.0, 1.0) if kind == "running" else None)

    def branch(self):
        """Of a membrane shortcut."""
        branch = [self.spike(), self.linear(1.5, 2.5)]
        return branch if self.rng.random() < 0.7 else [*branch, self.norm()]

    def block(self):
        """Layers that receive spikes and send spikes."""
        kind = self.one("plain", "normed", "sew", "sew", "membrane", "scaled")
        if kind == "sew":
            return [L.Residual(self.linear(), self.spike(), merge=self.one("add", "and", "iand"))]
        if kind == "membrane":
            shortcuts = [L.Residual(*self.branch(), keep=self.between(0.6, 1.0)) for _ in range(self.one(1, 2))]
            return [self.linear(), *shortcuts, self.spike()]
        if kind == "normed":
            return [self.linear(), self.norm(), self.spike()]
        if kind == "scaled":
            return [L.Scale(self.between(0.8, 1.2)), self.linear(), self.spike()]
        return [self.linear(), self.spike(recurrent=True)]

    def conv(self):
        return L.Conv(self.width, gain=self.gain(3.0, 4.5), stride=self.one(1, 1, 2))

    def maps(self):
        """Layers on a map, ending in a Linear that reads it."""
        layers = [self.conv(), self.spike()]
        if self.rng.random() < 0.5:
            layers += [L.Pool(self.one("average", "max"), 2)]
        if self.rng.random() < 0.5:
            layers += [L.Residual(L.Conv(self.width, gain=self.gain(3.0, 4.5)), self.spike(), merge=self.one("add", "iand"))]
        if self.rng.random() < 0.3:
            layers += [L.Conv(self.width, gain=self.gain(3.0, 4.5)), self.spike()]
        return [*layers, self.linear(3.0, 4.5), self.spike()]


def network(number, width, strength=1.0):
    """The structure of this number."""
    draw = Draw(number, width, strength)
    of_inputs = draw.rng.random() < 0.4 and not draw.normalises
    if of_inputs and draw.rng.random() < 0.6:
        constant = draw.rng.random() < 0.5
        x = draw.rng.random((1, 2, SIDE, SIDE)) if constant else draw.rng.normal(size=(1, draw.steps, 2, SIDE, SIDE))
        first, drive = draw.maps(), vf.drives.inputs(x)
    elif of_inputs:
        first, drive = [draw.linear(), draw.spike()], vf.drives.inputs(draw.rng.normal(size=(1, INPUTS)))
    else:
        first = [draw.spike()]
        drive = draw.one(vf.drives.currents(draw.between(1.0, 1.5)), vf.drives.white(draw.between(1.0, 1.5)))
    blocks = [layer for _ in range(draw.one(1, 2, 3)) for layer in draw.block()]
    return vf.Network(width=width, layers=[*first, *blocks], steps=draw.steps, drive=drive)
