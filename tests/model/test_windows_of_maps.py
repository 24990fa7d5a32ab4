"""Windows with rows and columns of their own: shapes are those of torch, and theory and simulation agree."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import varflow as vf  # noqa: E402

L = vf.layers
MAP = L.Signal("spikes", (6, 9, 14), weighted=True)


@pytest.mark.parametrize("size", [2, (1, 3), (3, 2), None])
@pytest.mark.parametrize("stride", [None, 2, (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, (0, 1)])
def test_maps_behind_pools_are_those_of_torch(size, stride, padding):
    if size in (None, (1, 3)) and padding != 0:
        with pytest.raises(vf.DomainError, match=r"at most half of size|must"):
            L.Pool("average", size, stride, 1)
        return
    sides = MAP.shape[1:] if size is None else size
    expected = torch.nn.AvgPool2d(sides, stride, padding)(torch.zeros(1, *MAP.shape)).shape[1:]
    assert L.Pool("average", size, stride, padding).after(MAP).shape == tuple(expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), list(itertools.product([3, (1, 5), (3, 2)], [1, (2, 3)], [1, 2, (1, 2)]))
)
@pytest.mark.parametrize("padding", [None, 0, (2, 1)])
def test_maps_behind_convolutions_are_those_of_torch(kernel, stride, dilation, padding):
    layer = L.Conv(5, kernel, gain=1.0, stride=stride, dilation=dilation, padding=padding)
    module = torch.nn.Conv2d(6, 5, kernel, stride, layer.windows.padding, dilation)
    assert layer.after(MAP).shape == tuple(module(torch.zeros(1, *MAP.shape)).shape[1:])
    assert layer.fan_in(6) == module.weight[0].numel()
    assert padding is not None or stride != 1 or kernel == (3, 2) or layer.after(MAP).shape[1:] == MAP.shape[1:]


def test_equal_rows_and_columns_are_one_number():
    assert L.Conv(4, (3, 3), gain=1.0, padding=(1, 1)) == L.Conv(4, 3, gain=1.0)
    assert repr(L.Pool("max", (1, 2))) == "Pool('max', (1, 2))"
    for wrong in ((1, 2, 3), (0, 1), "3"):
        with pytest.raises(vf.DomainError):
            L.Pool("max", wrong)


def built(kernel, pool):
    """Of inputs that fill a single column of the map."""
    x = np.zeros((5, 3, 6, 8))
    x[..., 3] = np.random.default_rng(0).random((5, 3, 6)) + 1
    spike = L.Spike(vf.Neuron(0.7))
    weights = [L.Conv(60, kernel, gain=2.0, dilation=kernel), spike, pool, L.Conv(60, kernel[::-1], gain=2.5, stride=(1, 2))]
    return vf.Network(layers=[*weights, spike, L.Pool("average"), L.Linear(400, gain=2.5), spike], drive=vf.drives.inputs(x))


@pytest.mark.parametrize("kind", ["average", "max"])
def test_theory_agrees_with_simulation_and_rejects_turned_windows(kind):
    seen = vf.simulate(built((3, 1), L.Pool(kind, (2, 1))), repeats=80, seed=1, engine="conditional").firing_rate
    rates, errors = seen.mean(axis=0), seen.std(axis=0) / 80**0.5
    right, turned = (
        vf.mean_field(network, points=2**10).firing_rate
        for network in (built((3, 1), L.Pool(kind, (2, 1))), built((1, 3), L.Pool(kind, (1, 2))))
    )
    assert np.all(np.abs(right - rates) < 4 * errors + 0.02 * rates)  # one in sixty channels, squared
    assert np.any(np.abs(turned - rates) > 4 * errors + 0.02 * rates)
