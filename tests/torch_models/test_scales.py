"""Units do not matter: measured in any unit, a network has the same rates and the same relative spread.

Variances of up to 1e280 have squares beyond double precision; what is said of them (a standard deviation, a fixed point) is
representable, and has to be right.
"""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

WEIGHTS = {
    "normal": "normal",
    "uniform": "uniform",
    "sign": "sign",
    "exponential": "exponential",
    "lognormal": vf.weights.lognormal(0.4),
    "sparse": vf.weights.sparse(0.3, "uniform"),
    "fixed": vf.weights.fixed_in_degree(4, "exponential"),
    "ternary": vf.weights.ternary(0.4),
}


def scaled(unit, *, weights="normal", bias=0.0, threshold=1.0, gain=2.7, mean_gain=None, width=9, drive=1.0):
    """A network whose potentials are all measured in this unit."""
    return vf.Network(
        width=width,
        depth=4,
        gain=gain * unit,
        neuron=vf.Neuron(threshold * unit),
        weights=weights,
        bias_std=bias * unit,
        mean_gain=None if mean_gain is None else mean_gain * unit,
        drive=vf.drives.currents(drive * unit),
    )


class TestUnits:
    @pytest.mark.parametrize("exponent", [-460, -300, 300, 450])
    @pytest.mark.parametrize("name", WEIGHTS)
    def test_a_network_in_another_unit_is_the_same_network(self, name, exponent):
        unit, weights = 2.0**exponent, WEIGHTS[name]
        bias = 0.3 if name in ("normal", "uniform", "sign") else 0.0
        here, there = (vf.finite_width(scaled(u, weights=weights, bias=bias)) for u in (1.0, unit))
        assert (here.variance_std > 0.1 * here.variance).all()
        for name in ("firing_rate", "firing_rate_std", "survival"):
            np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-12)
        for name in ("variance", "variance_std"):
            np.testing.assert_allclose(getattr(there, name) / unit / unit, getattr(here, name), rtol=1e-12)

    @pytest.mark.parametrize("gain", [1e80, 3e111, 1e140])
    def test_the_limit_of_large_gains(self, gain):
        """Far above the threshold half of the neurons fire, whatever the gain; only its square is the unit of variance."""
        profile = vf.finite_width(vf.Network(width=10, depth=3, gain=gain))
        limit = vf.finite_width(vf.Network(width=10, depth=3, gain=1e9))
        np.testing.assert_allclose(profile.firing_rate, limit.firing_rate, rtol=1e-7)
        np.testing.assert_allclose(profile.variance_std[1:] / gain**2, limit.variance_std[1:] / 1e18, rtol=1e-7)

    @pytest.mark.parametrize("std", [1e140, 1e-140, 7e90])
    def test_variance_of_a_driven_layer(self, std):
        profile = vf.finite_width(vf.Network(width=11, depth=2, gain=2.5, drive=vf.drives.currents(std)))
        assert profile.variance[0] == pytest.approx(std**2, rel=1e-14)
        assert profile.variance_std[0] == pytest.approx(std**2 * (2 / 10) ** 0.5, rel=1e-14)

    @pytest.mark.parametrize("unit", [2.0**300, 2.0**-300])
    def test_states_of_deep_networks(self, unit):
        here, there = (scaled(u, gain=2.1, threshold=0.7, width=150) for u in (1.0, unit))
        states = [vf.SpikeChain(network).quasi_stationary() for network in (here, there)]
        for name in ("variance", "variance_std"):
            assert getattr(states[1], name) / unit / unit == pytest.approx(getattr(states[0], name), rel=1e-10)
        with pytest.raises(vf.DomainError, match="fourth power"):  # the coefficients of its series are not representable
            vf.expansion(there)
        small = scaled(2.0**-80, gain=2.1, threshold=0.7, width=150)
        assert vf.expansion(small).variance_std * 2.0**160 == pytest.approx(vf.expansion(here).variance_std, rel=1e-10)

    def test_products_with_the_input_scale_have_the_same_bounds(self):
        neuron = vf.Neuron(1.0, input_scale=1e100)
        fitting = {"width": 5, "depth": 2, "gain": 1.0, "neuron": neuron}
        for name, value in (("gain", 1e80), ("bias_std", 1e41), ("mean_gain", 3e60), ("drive", vf.drives.currents(2e40))):
            with pytest.raises(vf.DomainError, match="input_scale=1e\\+100") as caught:
                vf.Network(**fitting | {name: value})
            assert caught.value.argument == name
        small = replace(neuron, input_scale=1e-100, threshold=0.0)
        with pytest.raises(vf.DomainError, match="gain=1e-80"):  # its variance would be 0 and the neuron silent
            vf.Network(width=5, depth=2, gain=1e-80, neuron=small)


class TestDrives:
    @pytest.mark.parametrize("size", [1e120, 3e-120])
    @pytest.mark.parametrize("steps", [1, 3])
    def test_gain_and_inputs_of_opposite_sizes(self, size, steps):
        x = np.array([[[1.0, 2.0, -2.0]] * steps, [[0.0, 0.5, 0.25]] * steps])
        x = x[:, 0] if steps == 1 else x
        here, there = vf.drives.inputs(x, 1.5), vf.drives.inputs(x * size, 1.5 / size)
        np.testing.assert_allclose(there.covariance(steps), here.covariance(steps), rtol=1e-14)
        rates = np.array([0.2, 0.9])
        for kind in ("bernoulli", "poisson"):
            plain, tiny = vf.drives.spikes(rates, 1.0, kind=kind), vf.drives.spikes(rates * 1e-200, 1e100, kind=kind)
            assert tiny.covariance(2)[0, 0, 0] == pytest.approx(0.55, rel=1e-14)
            assert plain.covariance(2)[0, 0, 1] == pytest.approx(0.425, rel=1e-14)

    @pytest.mark.parametrize(
        ("make", "argument"),
        [
            (lambda: vf.drives.ConstantCurrents(np.nan), "std"),
            (lambda: vf.drives.ConstantCurrents("1"), "std"),
            (lambda: vf.drives.ConstantCurrents(-1.0), "std"),
            (lambda: vf.drives.White(np.inf), "std"),
            (lambda: vf.drives.White(1j), "std"),
            (lambda: vf.drives.Inputs(np.array([[np.nan, 1.0]]), 1.0), "x"),
            (lambda: vf.drives.Inputs(np.ones(3), 1.0), "x"),
            (lambda: vf.drives.Inputs(np.ones((2, 3)), 0.0), "input_gain"),
            (lambda: vf.drives.Inputs(np.full((2, 3), 1e100), 1e60), "x"),
            (lambda: vf.drives.Inputs([[1.0, 2.0], [1e-90, 0.0]], 1e-70), "x"),
            (lambda: vf.drives.inputs([[1e130]], 1e130), "x"),
            (lambda: vf.drives.SpikeTrains(np.array([[0.5, 1.5]]), 1.0), "rates"),
            (lambda: vf.drives.SpikeTrains(np.array([[0.5]]), np.nan), "input_gain"),
            (lambda: vf.drives.SpikeTrains(np.array([[0.5]]), 1.0, "regular"), "kind"),
            (lambda: vf.drives.Given(np.full((1, 2, 3), np.inf)), "currents"),
            (lambda: vf.drives.Given(np.ones((1, 2, 3, 4))), "currents"),
        ],
    )
    def test_kinds_check_what_they_are_given(self, make, argument):
        with pytest.raises(vf.DomainError) as caught:
            make()
        assert caught.value.argument == argument


class TestDensity:
    @pytest.mark.parametrize("density", [1e-300, 3e-160, 5e-324])
    def test_a_density_whose_square_is_not_a_double(self, density):
        for distribution in (vf.weights.ternary, vf.weights.sparse):
            with pytest.raises(vf.DomainError, match="density"):
                distribution(density)
        with pytest.raises(vf.DomainError, match="density"):
            vf.weights.sparse(1e-100, vf.weights.sparse(1e-100, "sign"))

    @pytest.mark.parametrize("density", [1e-140, 2e-80])
    def test_hardly_a_connection(self, density):
        """To first order in the density one connection at most is present: ``π_K = K d/2`` where it crosses the threshold."""
        network = vf.Network(width=6, depth=2, gain=1.0, weights=vf.weights.ternary(density))
        chain = vf.SpikeChain(network)
        alive = chain.propagate()[0]
        assert chain.survival() == pytest.approx(alive.firing_rate * 6 * density / 2 * 6, rel=1e-12)
        kurtosis = 1 / density - 3
        C = alive.counts / 6
        spread = alive.mass @ (C**2 * (1 + 2 / 5)) - (alive.mass @ C) ** 2 + alive.mass @ alive.counts / 36 * kurtosis / 6
        assert vf.finite_width(network).variance_std[1] == pytest.approx(spread**0.5, rel=1e-12)

    @pytest.mark.parametrize("mean_gain", [1e-20, 1e100])
    def test_a_mean_beyond_what_the_gain_leaves_room_for(self, mean_gain):
        with pytest.raises(vf.DomainError, match="mean_gain"):
            vf.Network(width=6, depth=2, gain=1e-30, mean_gain=mean_gain, weights=vf.weights.sparse(1e-130))


class TestCalibration:
    @pytest.mark.parametrize("name", [name for name in WEIGHTS if name not in ("normal", "fixed")])
    @pytest.mark.parametrize("repeats", [3, 1200])  # potentials, and moments of the sample variance
    def test_draws_are_the_same_bits_in_every_unit(self, name, repeats):
        def drawn(unit):
            network = scaled(unit, weights=WEIGHTS[name], mean_gain=0.0, bias=0.4, width=8)
            return vf.finite_width(network).sample(repeats, 5).variance / unit / unit

        ordinary = drawn(1.0)
        for exponent in (-410, -90, 270, 430):
            assert np.array_equal(drawn(2.0**exponent), ordinary)


class TestSpreadOverInputs:
    @pytest.mark.parametrize("neuron", [{}, {"decay": 0.5}, {"decay": 0.5, "reset": "zero"}])
    def test_large_and_small_potentials(self, neuron):
        def predicted(unit):
            drive = vf.drives.inputs([[3.0, 1.0], [0.4, -0.2], [0.0, 0.7]], unit)
            neurons = vf.Neuron(0.8 * unit, **neuron)
            network = vf.Network(width=7, depth=3, gain=2.2 * unit, neuron=neurons, drive=drive, steps=1 if neuron == {} else 3)
            return vf.mean_field(network, points=256)

        ordinary, exact = predicted(1.0), {"rtol": 1e-6}
        assert np.all(ordinary.variance_std > 0)
        for unit in (2.0**-400, 2.0**400):
            found = predicted(unit)
            np.testing.assert_allclose(found.variance_std / unit / unit, ordinary.variance_std, **exact)
            if "reset" in neuron:
                np.testing.assert_allclose(found.error["variance"] / unit / unit, ordinary.error["variance"], **exact)


class TestVerdict:
    """At the smallest scales squares of variances are 0, and a true theory was rejected with p = 0."""

    @pytest.mark.parametrize("bias", [0.0, 0.4])
    def test_the_p_value_is_the_same_in_every_unit(self, bias):
        pytest.importorskip("torch")

        def judged(unit, wrong=1.0):
            ensemble = vf.simulate(scaled(unit, bias=bias), repeats=40, dtype="float64")
            exact = vf.compare(vf.finite_width(scaled(unit, bias=bias, gain=2.7 * wrong)), ensemble)
            limit = vf.compare(vf.mean_field(scaled(unit, bias=bias)), ensemble, bias=0.2)
            return exact.p_value, limit.p_value, (ensemble.std().variance / unit / unit).tolist()

        ordinary = judged(1.0)
        assert ordinary[0] > 0.01
        assert judged(1.0, wrong=3.0)[0] < 0.01
        for exponent in (-440, -280, 290, 430):
            assert judged(2.0**exponent) == ordinary
            assert judged(2.0**exponent, wrong=3.0)[0] < 0.01

    def test_errors_of_a_fixed_point_in_time(self):
        def found(unit):
            neuron = vf.Neuron(0.9 * unit, decay=0.4, reset="zero")
            drive = vf.drives.white(unit)
            network = vf.Network(width=9, depth=3, gain=3.1 * unit, neuron=neuron, steps=3, drive=drive)
            point = vf.temporal_fixed_point(network, points=64, max_depth=30)
            return point.variance / unit / unit, point.error["variance"] / unit / unit

        for exponent in (-430, 410):
            np.testing.assert_allclose(found(2.0**exponent), found(1.0), rtol=1e-6, atol=1e-14)


class TestGridOfWideLayers:
    @pytest.mark.parametrize("step", [-1, -1e-3, 0, 1e-9, 0.01, 1.5, 1e9, np.nan, np.inf, "0.5", None, 1j, True])
    def test_step(self, step):
        with pytest.raises(vf.DomainError, match="step="):
            vf.SpikeChain(vf.Network(width=20_000, depth=3, gain=2.46), step=step)

    @pytest.mark.parametrize("rare", [np.nan, -1, -1e-9, 1.5, 2, np.inf, "0", None, 0j])
    def test_rare(self, rare):
        with pytest.raises(vf.DomainError, match="rare="):
            vf.SpikeChain(vf.Network(width=10, depth=3, gain=2.46), rare=rare)

    @pytest.mark.parametrize("step", [0.3, 0.8])
    def test_any_step_that_is_taken_gives_the_distribution(self, step):
        network = vf.Network(width=30_000, depth=12, gain=2.46)
        default, other = (vf.SpikeChain(network, **options).survival() for options in ({}, {"step": step}))
        assert other == pytest.approx(default, rel=1e-12)
