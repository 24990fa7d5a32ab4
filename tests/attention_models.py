"""Small models with attention of spikes: tokens are positions of a map, behind convolutions of size 1."""

import pytest

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from torch import nn  # noqa: E402

__all__ = ["WAYS", "Attending", "tokens"]


def split(x, heads):
    """Channels in heads: (inputs, heads, channels of one, tokens)."""
    return x.unflatten(1, (heads, -1))


def row_by_row(q, k, v, scale):
    """``(Q Kᵀ) V`` of tokens in rows."""
    q, k, v = (x.transpose(-2, -1) for x in (q, k, v))
    return ((q @ k.transpose(-2, -1)) * scale @ v).transpose(-2, -1)


def by_einsum(q, k, v, scale):
    return torch.einsum("bhij,bhcj->bhci", torch.einsum("bhai,bhaj->bhij", q, k), v) * scale


def values_first(q, k, v, scale):
    """``(V Kᵀ) Q`` of channels in rows."""
    return v @ k.transpose(-2, -1) @ q * scale


WAYS = {"(QKᵀ)V": row_by_row, "einsum": by_einsum, "(VKᵀ)Q": values_first}


class Attending(nn.Module):
    """One block of attention without normalisation. ``kind``: as of ``vf.layers.Attention``; ``joint``: one layer of spikes
    for q, k and v.
    """

    def __init__(self, kind="dot", way="(VKᵀ)Q", *, joint=False, dim=64, heads=4, gain=2.4, steps=4, scale=0.25, inner=None):
        super().__init__()
        self.kind, self.way, self.joint, self.heads, self.steps, self.scale = kind, way, joint, heads, steps, scale
        parts = {"x": (100, dim), "proj": (dim, dim)}
        parts |= {"qkv": (dim, 3 * dim)} if joint else dict.fromkeys("qkv", (dim, dim))
        self.weights = nn.ModuleDict({name: nn.Conv1d(*sizes, 1, bias=False) for name, sizes in parts.items()})
        for name, conv in self.weights.items():
            nn.init.normal_(conv.weight, std=(inner if inner and name in "qkv" else gain) / conv.in_channels**0.5)
        self.neurons = nn.ModuleDict({name: snntorch.Leaky(0.5, init_hidden=True, reset_mechanism="zero") for name in parts})
        self.attention = snntorch.Leaky(0.5, threshold=0.5, init_hidden=True, reset_mechanism="zero")

    def forward(self, x):
        for neuron in (*self.neurons.values(), self.attention):
            neuron.reset_mem()
        return sum(self.step(x) for _ in range(self.steps))

    def layer(self, name, x):
        return self.neurons[name](self.weights[name](x))

    def step(self, x):
        x = self.layer("x", x)
        spikes = self.layer("qkv", x).chunk(3, 1) if self.joint else [self.layer(name, x) for name in "qkv"]
        q, k, v = (split(each, self.heads) for each in spikes)
        if self.kind == "dot":
            x = self.attention(WAYS[self.way](q, k, v, self.scale))
        elif self.kind == "token":
            x = self.attention(q.sum(2, keepdim=True) * self.scale) * k
        else:
            x = q * self.attention((k * v).sum(3, keepdim=True) * self.scale)
        return self.layer("proj", x.flatten(1, 2))


def tokens(inputs, number, seed=0, features=100):
    """Inputs of so many tokens."""
    return torch.randn(inputs, features, number, generator=torch.Generator().manual_seed(seed))
