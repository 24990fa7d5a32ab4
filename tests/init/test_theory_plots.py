"""Figures of fixed points, profiles, counts and surrogates: what is drawn is what the result holds, and of what it is."""

import numpy as np
import pytest

import varflow as vf

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

POINTS = vf.fixed_points(threshold=1.5, gain=4.0)
PROFILE = vf.finite_width(vf.Network(width=50, depth=12, gain=2.5))


def markers(ax, kind):
    return [line for line in ax.lines if line.get_marker() == kind]


def test_fixed_points_lie_on_the_map_and_are_filled_if_stable():
    ax = POINTS.plot()
    drawn = markers(ax, "o")
    assert [line.get_xydata()[0].tolist() for line in drawn] == [[point.variance] * 2 for point in POINTS]
    assert [to_hex(line.get_markerfacecolor()) != "#ffffff" for line in drawn] == [point.stable for point in POINTS]
    V, following = next(line for line in ax.lines if line.get_label() == "map $F(V)$").get_data()
    assert np.array_equal(following, vf.variance_map(V, threshold=1.5, gain=4.0))


def test_the_cobweb_follows_the_layers():
    ax = POINTS.plot(start=1.2)
    corners = next(line for line in ax.lines if "driven at" in line.get_label()).get_xydata()
    network = vf.Network(width=10, depth=20, gain=4.0, neuron=vf.Neuron(1.5), drive=vf.drives.currents(1.2**0.5))
    assert corners[0::2, 0][:20] == pytest.approx(vf.mean_field(network).variance, rel=1e-12)


def test_cycles_are_drawn_and_thresholds_may_differ():
    cycling = vf.fixed_points(threshold=-1.0, gain=1.0, mean_gain=-4.0)
    (drawn,) = markers(cycling.plot(), "s")
    assert drawn.get_xdata().tolist() == list(cycling.cycles[0].variances)
    scipy_stats = pytest.importorskip("scipy.stats")
    assert len(markers(vf.fixed_points(threshold=scipy_stats.uniform(0.8, 0.4), gain=3.0).plot(), "o")) == 3


def test_points_without_a_map_cannot_be_drawn():
    with pytest.raises(vf.DomainError, match="have no map"):
        vf.reference.fixed_points(threshold=1.5, gain=3.0, digits=20).plot()
    with pytest.raises(vf.DomainError, match="start=-1"):
        POINTS.plot(start=-1.0)


def test_a_profile_is_drawn_with_its_spread_and_survival():
    above, below = PROFILE.plot().axes
    assert np.array_equal(above.lines[0].get_ydata(), PROFILE.variance)
    assert np.array_equal(below.lines[0].get_ydata(), PROFILE.survival)
    top = above.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx((PROFILE.variance + PROFILE.variance_std).max())


def test_jupyter_shows_figures_without_pyplot():
    """Jupyter asks for this method; of matplotlib's own figures it knows how to draw them only once pyplot has made one."""
    assert PROFILE.plot()._repr_png_().startswith(b"\x89PNG")
    assert not hasattr(Figure(), "_repr_png_")


@pytest.mark.parametrize("width", [1, 30])
def test_every_profile_can_be_drawn(width):
    assert vf.finite_width(vf.Network(width=width, depth=1, gain=2.0)).plot().axes
    steps = vf.mean_field(vf.Network(width=width, depth=4, gain=3.0, neuron=vf.Neuron(1.0, decay=0.5), steps=3))
    drawn = [image.get_array() for ax in steps.plot().axes[:2] for image in ax.images]
    assert np.array_equal(drawn[0], steps.variance)
    assert np.array_equal(drawn[1], steps.firing_rate)


def test_figures_say_which_network_is_drawn():
    assert POINTS.plot().get_title() == "θ = 1.5, g = 4"
    biased = vf.fixed_points(threshold=1.0, gain=2.51, bias_std=0.22)
    assert biased.plot().get_title() == r"θ = 1, g = 2.51, $\sigma_b$ = 0.22"
    assert PROFILE.plot().get_suptitle() == repr(PROFILE.network)
    comparison = vf.compare(PROFILE, PROFILE.sample(5, seed=1))
    assert comparison.plot().get_title().endswith("\n" + repr(PROFILE.network))


def test_the_overlap_map_meets_the_diagonal_in_its_fixed_points():
    found = vf.correlation_fixed_points(threshold=0.8, variance=1.5)
    ax = found.plot()
    assert [line.get_xydata()[0].tolist() for line in markers(ax, "o")] == [[point.overlap] * 2 for point in found]
    assert [to_hex(line.get_markerfacecolor()) != "#ffffff" for line in markers(ax, "o")] == [True, False]
    rho, after = next(line for line in ax.lines if line.get_label() == "map").get_data()
    assert np.array_equal(after, vf.correlation_map(rho, threshold=0.8, variance=1.5))
    corners = next(line for line in ax.lines if "behind inputs" in line.get_label()).get_xydata()
    assert corners[-1] == pytest.approx(found[0].overlap, rel=1e-9)
    assert ax.get_title() == "θ = 0.8, V = 1.5"


def seen(law):
    return np.where(law.mass >= 1e-6, law.mass, np.nan)


def test_counts_of_a_chain_are_drawn_in_five_layers():
    chain = vf.SpikeChain(vf.Network(width=30, depth=9, gain=2.6))
    ax, laws = chain.plot(), chain.propagate()[::2]
    assert len(laws) == 5
    for law, line, silent in zip(laws, ax.lines[::2], ax.lines[1::2], strict=True):
        assert np.array_equal(line.get_xdata(), law.counts[1:] / 30)
        assert np.array_equal(line.get_ydata(), seen(law)[1:], equal_nan=True)
        assert np.array_equal(silent.get_xydata(), [[0, seen(law)[0]]], equal_nan=True)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said[-1].startswith("layer 9, ")
    assert float(said[-1].split()[2]) / 100 == pytest.approx(chain.survival(), abs=0.005)
    assert repr(chain.network) in ax.get_title()
    assert "<th" in chain._repr_html_()


def test_one_distribution_of_counts_is_drawn():
    chain = vf.SpikeChain(vf.Network(width=30, depth=2, gain=3.0))
    state = chain.quasi_stationary()
    for found in (state, state.distribution, chain.stationary()):
        law = getattr(found, "distribution", found)
        assert np.array_equal(found.plot().lines[0].get_ydata(), seen(law)[1:], equal_nan=True)
    with pytest.raises(vf.DomainError, match="must be a SpikeChain"):
        vf.plots.plot_counts(POINTS)


def test_the_way_to_silence_is_drawn():
    found = vf.escape_asymptotics(threshold=1.0, gain=2.6)
    ax = found.plot()
    assert np.array_equal(ax.lines[0].get_ydata(), found.path)
    assert f"{found.rate_per_neuron:.3g}" in ax.get_title()


@pytest.mark.parametrize("psi", [vf.surrogates.atan(alpha=4.0), vf.surrogates.own(lambda v: np.exp(-np.abs(v)))])
def test_a_surrogate_is_drawn_about_the_threshold(psi):
    v, drawn = psi.plot().lines[0].get_data()
    assert np.array_equal(drawn, psi(v))
    assert v[0] == -v[-1] == pytest.approx(-2.0 if np.isnan(psi.width) else -6 * psi.width)
    assert psi.plot().get_title() == repr(psi)
    assert "area" in psi._repr_html_()
