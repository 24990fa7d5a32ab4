"""What no machine can hold and what is of another kind is refused in one line at the door; converted distributions are kept."""

import pytest
from sympy import stats

import varflow as vf


def net(**options):
    return vf.Network(**{"width": 10, "depth": 3, "gain": 2.5} | options)


REFUSED = {
    "depth of a network": (lambda: net(depth=2**63), "depth", "must be at most 1000000"),
    "another depth": (lambda: net(depth=10**7), "depth", "must be at most 1000000"),
    "repeats": (lambda: vf.simulate(net(), repeats=10**30), "repeats", "must be at most"),
    "width of matrices": (lambda: vf.simulate(net(width=10**9), repeats=1), "width", "GiB"),
    "digits": (lambda: vf.reference.gain(threshold=1.0, digits=10**6), "digits", "must be at most 10000"),
    "no network": (lambda: vf.finite_width(None), "network", "must be"),
    "a list of networks": (lambda: vf.mean_field([net()]), "network", "must be"),
    "a number for a network": (lambda: vf.SpikeChain(1), "network", "must be"),
    "a number for a neuron": (lambda: vf.validate(neuron=1.0), "neuron", "must be"),
    "a profile for an ensemble": (lambda: vf.compare(vf.finite_width(net()), vf.finite_width(net())), "ensemble", "must be"),
    "a string for a drive": (lambda: net(drive="currents"), "drive", "must be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    call, argument, rule = REFUSED[name]
    if "repeats" in name or "matrices" in name or "neuron" in name:
        pytest.importorskip("torch")
    with pytest.raises(vf.DomainError, match=rule) as refusal:
        call()
    assert argument in refusal.value.argument
    assert "\n" not in str(refusal.value)


def test_what_fits_is_not_refused():
    assert net(depth=10**6).depth == 10**6
    assert vf.lookup(threshold=1.0, fan_in=10**9).weight_std == pytest.approx(vf.gain(threshold=1.0) / 10**4.5)


def test_an_equal_variable_is_converted_once():
    first = vf.distribution(stats.Gamma("X", 3, 2))
    assert vf.distribution(stats.Gamma("X", 3, 2)) is first
    other = vf.distribution(stats.Gamma("X", 4, 2))
    assert other is not first
    assert other.sf(1.0) != first.sf(1.0)


@pytest.mark.parametrize("variable", [stats.BetaPrime("X", 5, 7), stats.Gumbel("X", 4, -3), stats.Weibull("X", 3, 2)])
def test_a_density_is_converted_without_integrals_of_sympy(monkeypatch, variable):
    """Some of them take many seconds: a grid finds mean and deviation, and quadrature refines them."""

    asked = []
    monkeypatch.setattr(stats, "variance", asked.append)
    assert 0.1 < vf.distribution(variable).sf(1.0) < 0.2
    assert asked == []


def test_a_density_far_from_zero_is_found_by_its_moments():
    assert vf.distribution(stats.Normal("X", 10**4, 0.01)).sf(1.3) == pytest.approx(vf.distribution("normal").sf(1.3), rel=1e-7)


@pytest.mark.parametrize("call", [vf.SpikeChain, vf.finite_width])
def test_spike_counts_that_do_not_fit_into_memory(monkeypatch, call):
    monkeypatch.setattr("varflow._memory.free_memory", lambda: 2.0**29)
    with pytest.raises(vf.DomainError, match=r"width=.* needs .* GiB .* for the spike counts of a layer"):
        call(net(width=2**50 + 1))
    with pytest.raises(vf.DomainError, match=r"depth=100000 needs .* GiB .* in all layers"):
        call(net(width=10**6, depth=10**5))


def test_any_seed_suits_a_fill():
    torch = pytest.importorskip("torch")
    vf.testing.assert_gain(lambda w: torch.nn.init.normal_(w, 0, w[0].numel() ** -0.5), 1.0, shape=(20, 30), seed=2**90)
