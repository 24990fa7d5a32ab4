"""Over layers (and steps): a prediction, the energy of gradients, overlaps of inputs, an audit; activity during a training."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._display import several
from varflow.plots.style import ALARM, BESIDE, GREY, axes, colours, draw_map, draws, marker, new_figure
from varflow.results import (
    AuditReport,
    CoordinateCheck,
    Cost,
    Flips,
    GradientFlow,
    Kernel,
    ModelPlan,
    OptimizerStep,
    Profile,
    ReadableDepth,
    RoundedModel,
)
from varflow.results.audited_layer import weights_of
from varflow.results.training import TOTAL, TrainingHistory


@draws(Profile)
def plot_profile(profile: Profile) -> Any:
    """Variance ± one standard deviation over layers, with the fraction of networks alive below.

    Over several steps: maps of variance and firing rate over layers and steps. Returns a matplotlib Figure.

    Examples
    --------
    >>> import varflow as vf
    >>> figure = vf.plots.plot_profile(vf.finite_width(vf.Network(width=100, depth=20, gain=2.51)))
    """
    over_steps = profile.variance.ndim > 1
    figure = new_figure(figsize=(8.6, 3.8) if over_steps else (5.6, 4.6), dpi=150, layout="constrained")
    (_draw_maps if over_steps else _draw_lines)(figure, profile)
    return figure


def _draw_lines(figure: Any, profile: Profile) -> None:
    upper_panel, lower_panel = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    layer, colour, std = np.arange(1, len(profile.variance) + 1), colours(1)[0], np.nan_to_num(profile.variance_std, posinf=0.0)
    low, high = np.maximum(profile.variance - std, 0), profile.variance + std
    upper_panel.fill_between(layer, low, high, color=colour, alpha=0.2, lw=0, label="± std over networks")
    upper_panel.plot(layer, profile.variance, color=colour, lw=1.6, marker=marker(layer), label="mean")
    lower_panel.plot(layer, profile.survival, color=colour, lw=1.6, marker=marker(layer))
    upper_panel.set(ylabel=r"variance, $\mathrm{Var}[u_l]$", ylim=(0, None))
    upper_panel.legend()
    lower_panel.set(xlabel="layer", ylabel="fraction alive", ylim=(-0.05, 1.08))


def _draw_maps(figure: Any, profile: Profile) -> None:
    drawn = {"variance of the potentials": profile.variance, "firing rate": profile.firing_rate}
    for ax, (title, values) in zip(figure.subplots(1, 2, sharey=True), drawn.items(), strict=True):
        figure.colorbar(draw_map(ax, values), ax=ax).outline.set_visible(False)
        ax.set_title(title, fontsize=10)
    figure.axes[0].set_ylabel("layer")


@draws(GradientFlow)
def plot_gradient_flow(flow: GradientFlow) -> Any:
    """Energy of every layer (left), in total and at single steps, and the fraction of it at every step (right).

    Examples
    --------
    >>> import varflow as vf
    >>> figure = vf.plots.plot_gradient_flow(vf.gradient_flow(vf.Network(width=100, depth=20, gain=2.51), "atan"))
    """
    energy, total = flow.energy, flow.total
    depth, steps = energy.shape
    figure = new_figure(figsize=(10.5 if steps > 1 else 5.2, 3.8), dpi=150, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 2 if steps > 1 else 1))
    layer = np.arange(1, depth + 1)
    axes[0].semilogy(layer, total, "-", color="0.2", lw=2, label="all steps" if steps > 1 else "theory")
    if "energy" in flow.error:
        off = np.sqrt((flow.error["energy"] ** 2).sum(axis=1))
        axes[0].fill_between(layer, np.maximum(total - off, total / 10), total + off, color="0.2", alpha=0.2, lw=0)
    # at most 6 steps are drawn one by one
    shown_steps = np.unique(np.linspace(0, steps - 1, min(steps, 6)).round().astype(int)) if steps > 1 else []
    for t, colour in zip(shown_steps, colours(len(shown_steps)), strict=True):
        axes[0].semilogy(layer, energy[:, t], color=colour, lw=1.1, label=f"step {t + 1}")
    if flow.spread is not None:
        low, high = (flow.typical * np.exp(sign * flow.spread) for sign in (-1, 1))
        axes[0].fill_between(layer, low, high, color="0.2", alpha=0.15, lw=0, label="68 % of networks")
    axes[0].set(xlabel="layer", ylabel=r"energy of gradients, $E\|\delta\|^2$", title=f"surrogate {flow.surrogate}")
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if steps > 1 else {}
    axes[0].legend(fontsize=8, **beside)
    if steps > 1:
        fraction = np.divide(energy, total[:, None], out=np.zeros_like(energy), where=total[:, None] > 0)
        figure.colorbar(draw_map(axes[1], fraction), ax=axes[1]).outline.set_visible(False)
        axes[1].set(ylabel="layer", title="fraction of a layer's energy")
    return figure


@draws(Cost)
def plot_cost(cost: Cost, ax: Any = None) -> Any:
    """Operations of every layer in one inference, ACs on MACs, before all connections; last those of a readout.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=100, depth=10, gain=2.6, drive=vf.drives.inputs([[0.3, -1.2, 0.8]]))
    >>> ax = vf.plots.plot_cost(vf.cost(network))
    """
    ax, layer, (of_macs, of_acs) = axes(ax), np.arange(1, len(cost.layers) + 1), colours(2)
    ax.bar(layer, cost.dense, color="0.88", label="all connections")
    ax.bar(layer, cost.acs, bottom=cost.macs, color=of_acs, label="ACs")
    ax.bar(layer, cost.macs, color=of_macs, label="MACs")
    ax.set(xlabel="layer", ylabel="synaptic operations of one inference", ylim=(0, 1.15 * max(cost.dense) or 1))
    ax.legend(ncols=3, loc="upper center")
    return ax


@draws(Kernel)
def plot_kernel(kernel: Kernel, ax: Any = None) -> Any:
    """Raster overlap of different inputs over layers: the mean over pairs, and a band from the smallest to the largest.

    Examples
    --------
    >>> import varflow as vf
    >>> kernel = vf.kernel(vf.Network(width=100, depth=20, gain=2.51), [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> ax = vf.plots.plot_kernel(kernel)
    """
    ax, layer, colour = axes(ax), np.arange(1, kernel.depth + 1), colours(1)[0]
    mean, smallest, largest = np.transpose([kernel.between(number) for number in layer.tolist()])
    ax.fill_between(layer, smallest, largest, color=colour, alpha=0.2, lw=0, label="smallest to largest")
    ax.plot(layer, mean, color=colour, lw=1.4, marker=marker(layer), label="mean over pairs")
    ax.set(xlabel="layer", ylabel="overlap of different inputs, $R$", ylim=(0, 1.02))
    ax.legend()
    ax.set_title(f"{kernel.inputs} inputs, {_width(kernel.repeats)}", fontsize=10)
    return ax


@draws(ReadableDepth)
def plot_readable_depth(found: ReadableDepth, ax: Any = None) -> Any:
    """Held-out accuracy of a linear readout over layers, ± one standard error, with the level half way to chance.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> x = rng.normal(size=(3, 20))[labels] + 0.7 * rng.normal(size=(60, 20))
    >>> ax = vf.plots.plot_readable_depth(vf.readable_depth(vf.Network(width=50, depth=8, gain=2.51), x, labels))
    """
    ax, layer, colour = axes(ax), np.arange(1, len(found.accuracy) + 1), colours(1)[0]
    ax.errorbar(layer, found.accuracy, np.nan_to_num(found.error), color=colour, marker=".", lw=1.4, capsize=2)
    ax.axhline(found.chance, color="0.5", lw=0.9, ls=":", label="chance")
    ax.axhline(found.half, color="0.5", lw=0.9, ls="--", label="half way to chance")
    ax.plot([found.depth], [found.half], "o", color=colour, mfc="white")
    ax.set(xlabel="layer", ylabel="held-out accuracy of a linear readout", ylim=(0, 1.02))
    ax.legend()
    shown = f"at least {found.depth:.0f}" if found.throughout else f"{found.depth:.2f}"
    repeats = None if found.infinite_width else len(found.accuracies)
    ax.set_title(f"readable depth {shown} layers, {_width(repeats)}", fontsize=10)
    return ax


@draws(RoundedModel)
def plot_rounded_model(report: RoundedModel, ax: Any = None) -> Any:
    """Late rates over layers with each kind of weights, and predictions as broken lines.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> parts = [part for _ in range(3) for part in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> report = vf.audit(torch.nn.Sequential(*parts), 4 * torch.rand(8, 64), steps=4, bits=4)
    >>> ax = vf.plots.plot_rounded_model(report.rounding)
    """
    ax, layer = axes(ax), np.arange(1, len(report.layers) + 1)
    for (kind, rates), colour in zip(report.predicted_rate.items(), colours(4), strict=True):
        ax.plot(layer, rates, color=colour, lw=1.0, ls="--")
        ax.plot(layer, report.firing_rate.get(kind, rates), color=colour, lw=1.6, marker=".", label=kind)
    ax.set(xlabel="layer", ylabel="late rate", ylim=(0, None), title=f"weights of {report.bits} bits per {report.per}")
    ax.legend()
    return ax


@draws(Flips)
def plot_flips(flips: Flips, ax: Any = None) -> Any:
    """Flipped spikes over layers, ± one standard error; of sampled networks each as a thin line.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_flips(vf.flips(vf.Network(width=100, depth=20, gain=2.51), relative=0.01))
    """
    ax, layer, colour = axes(ax), np.arange(1, len(flips.flips) + 1), colours(1)[0]
    for sample in () if flips.samples is None else flips.samples:
        ax.plot(layer, sample, color="0.8", lw=0.6)
    ax.errorbar(layer, flips.flips, np.nan_to_num(flips.error), color=colour, marker=".", lw=1.4, capsize=2)
    ax.set(xlabel="layer", ylabel="flipped spikes, $r$", ylim=(0, 1.02))
    ax.set_title(f"{flips.kind} change, {_width(None if flips.samples is None else len(flips.samples), bound='')}", fontsize=10)
    return ax


@draws(OptimizerStep)
def plot_step(step: OptimizerStep) -> Any:
    """Direct and whole change of currents over layers, and below the flips and what is kept of gradients.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> parts = [part for _ in range(4) for part in (torch.nn.Linear(32, 32), snntorch.Leaky(0.5, init_hidden=True))]
    >>> model, loss = torch.nn.Sequential(*parts), lambda out: out[0].square().mean()
    >>> _ = vf.init.init_model(model, torch.rand(8, 32), steps=4, rate=0.2)
    >>> adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    >>> report = vf.audit(model, torch.rand(8, 32), loss, steps=4, optimizer=adam)
    >>> figure = vf.plots.plot_step(report.step)
    """
    figure = new_figure(figsize=(5.6, 4.6), dpi=150, layout="constrained")
    changes, fractions = figure.subplots(2, 1, sharex=True)
    _draw_step(step, np.arange(1, len(step.layers) + 1), changes, fractions)
    fractions.set(xlabel="layer")
    changes.set_title(f"next step of {step.optimizer}: $D$ = {step.change:.3g}", fontsize=10)
    return figure


def _draw_step(step: OptimizerStep, layer: np.ndarray, changes: Any, fractions: Any) -> None:
    one, other = colours(2)
    for ax, names in ((changes, {"direct": one, "currents": other}), (fractions, {"flips": one, "kept": other})):
        for name, colour in names.items():
            ax.plot(layer, getattr(step, name), color=colour, marker=".", lw=1.4, label=name)
        ax.legend()
    changes.set(ylabel="change of currents", yscale="log" if step.change > 0 else "linear")
    fractions.set(ylabel="fraction", ylim=(min(0.0, float(np.nanmin(step.kept, initial=0.0))) - 0.03, 1.03))


@draws(CoordinateCheck)
def plot_coordinate_check(check: CoordinateCheck, ax: Any = None) -> Any:
    """Change over widths, dots and their medians, a line for each layer from dark (first) to light (last).

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> widths, change = np.array([64, 128, 256]), np.full((3, 2, 1), 0.1) * [[[1.0]], [[1.1]], [[0.9]]]
    >>> check = vf.CoordinateCheck("direct", ("fc",), widths, change, np.array([-0.08]), np.array([0.1]))
    >>> ax = vf.plots.plot_coordinate_check(check)
    """
    ax, middle = axes(ax), np.median(check.change, axis=1)
    for l, colour in enumerate(colours(len(check.layers))):
        slope = f"{check.slope[l]:.2f} ± {check.error[l]:.2f}"
        ax.plot(check.widths, middle[:, l], color=colour, lw=1.2, label=f"{check.layers[l]}: {slope}")
        ax.plot(np.repeat(check.widths, check.change.shape[1]), check.change[:, :, l].ravel(), ".", color=colour, ms=4)
    ax.set(xlabel="width, $n$", ylabel=f"change, {check.quantity}", xscale="log", yscale="log")
    ax.legend(title="slope in $\\ln n$", **BESIDE)
    return ax


def _width(repeats: int | None, bound: str = ": only an upper bound") -> str:
    return f"infinite width{bound}" if repeats is None else f"{several(repeats, 'sampled network')} of finite width"


@draws(AuditReport)
def plot_audit(report: AuditReport) -> Any:
    """Measured and predicted late rate, and variance, over layers; a dotted line marks the first dead one, open dots the
    layers that are not healthy. Lines are predicted, dots measured. Below, if they were measured, norms of gradients, and what
    a step changes.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> parts = [part for _ in range(4) for part in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> report = vf.audit(torch.nn.Sequential(*parts), torch.rand(8, 64), steps=8, gradients=True)
    >>> figure = vf.plots.plot_audit(report)
    """
    norms = np.array([audited.gradient_norm for audited in report.layers])
    backward = bool(np.isfinite(norms).any())
    panels = 2 + backward + 2 * (report.step is not None)
    figure = new_figure(figsize=(7, 2.5 * panels), dpi=150, layout="constrained")
    layer, colour = np.arange(1, len(report.layers) + 1), colours(1)[0]
    rates, variances, *more = figure.subplots(panels, 1, sharex=True)
    if report.step is not None:
        names = [audited.neuron_name for audited in report.layers]
        _draw_step(report.step, np.array([names.index(name) + 1 for name in report.step.layers]), *more[-2:])
    if backward:
        expected = [audited.predicted_gradient_norm for audited in report.layers]
        more[0].plot(layer, expected, "-", lw=1.4, color=colour)
        more[0].plot(layer, norms, ".", color=colour)
        more[0].set(ylabel="gradient norm", yscale="log" if norms.any() else "linear")
    predicted = np.array([audited.predicted_rate for audited in report.layers])
    spread = np.array([audited.predicted_std for audited in report.layers])
    rates.fill_between(layer, np.maximum(predicted - spread, 0), predicted + spread, alpha=0.2, lw=0, color=colour)
    spread_label = ", ± std" if np.isfinite(spread).any() else ""
    rates.plot(layer, predicted, "-", lw=1.4, color=colour, label=f"predicted: {report.method}{spread_label}")
    odd = np.array([audited.verdict != "healthy" for audited in report.layers])
    measured = np.array([audited.firing_rate for audited in report.layers])
    rates.plot(layer[~odd], measured[~odd], ".", color=colour, label="measured")
    if odd.any():
        rates.plot(layer[odd], measured[odd], "o", ms=4, mfc="none", color=ALARM, label="measured: weak, dead or saturated")
    rates.set(ylabel="late firing rate", ylim=(0, None))
    rates.legend()
    variances.plot(layer, [audited.predicted_variance for audited in report.layers], "-", lw=1.4, color=colour)
    variances.plot(layer, [audited.variance for audited in report.layers], ".", color=colour)
    variances.set(ylabel=r"late variance, $\mathrm{Var}[H]$", ylim=(0, None))
    _name_layers(figure.axes[-1], [audited.label for audited in report.layers])
    if report.first_dead is not None:
        rates.axvline(layer[report.layers.index(report[report.first_dead])], color="0.4", ls=":", lw=1)
    rates.set_title("".join(report.problems[:1]).partition(". ")[0] or "healthy", fontsize=8, wrap=True)
    return figure


def _name_layers(ax: Any, names: list[str]) -> None:
    """Write names of layers on an axis; of more than 24 every n-th."""
    every = -(-len(names) // 24)
    ax.set(xlabel="layer")
    ax.set_xticks(range(1, len(names) + 1, every), names[::every], rotation=45, ha="right", fontsize=7)


@draws(ModelPlan)
def plot_plan(plan: ModelPlan, ax: Any = None) -> Any:
    """Planned late rate ± one standard deviation over layers, with the rates on the batch and on fresh inputs as dots.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> parts = [part for _ in range(4) for part in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> plan = vf.init.init_model(torch.nn.Sequential(*parts), torch.rand(16, 64), steps=8, rate=0.2)
    >>> ax = vf.plots.plot_plan(plan)
    """
    ax, layer, (colour, other) = axes(ax), np.arange(1, len(plan.layers) + 1), colours(2)
    names = ("firing_rate", "firing_rate_std", "measured_rate", "fresh_rate")
    planned, spread, batch, fresh = ([getattr(each, name) for each in plan.layers] for name in names)
    ax.errorbar(layer, planned, np.nan_to_num(spread), color=colour, lw=1.4, capsize=2, label="planned, ± std")
    ax.plot(layer, batch, "o", color=other, label="batch")
    ax.plot(layer, fresh, "o", color=other, mfc="none", ms=9, label="fresh inputs")
    ax.set(ylabel="late firing rate", ylim=(0, None), title=f"{plan.steps} steps, survival {plan.survival:.3g}")
    ax.legend()
    _name_layers(ax, [weights_of(each) for each in plan.layers])
    return ax


@draws(TrainingHistory)
def plot_training(history: TrainingHistory) -> Any:
    """Late rate and fraction of dead neurons over training steps, and gradient norms where they were measured: a line for each
    layer, from dark (first) to light (last); all neurons together in grey, dashed.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))
    >>> monitor = vf.Monitor(model, torch.rand(8, 64), every=1, steps=4)
    >>> for step in range(8):
    ...     _ = monitor(step)
    ...     model[0].weight.data *= 1.3  # in place of a step of an optimiser
    >>> figure = vf.plots.plot_training(monitor)
    """
    if not history.rows:
        raise DomainError("history", "Monitor", "has no measurement yet: call it in the training loop")
    panels = 3 if "gradient_norm" in history.quantities else 2
    figure = new_figure(figsize=(7.5, 2.5 * panels), dpi=150, layout="constrained")
    rates, dead, *norms = figure.subplots(panels, 1, sharex=True)
    layers, marker = history.layers, "." if len(history.steps) < 40 else ""
    every = -(-len(layers) // 12)  # of more than 12 layers every n-th is in the legend
    for place, (name, colour) in enumerate(zip(layers, colours(len(layers)), strict=True)):
        label = history.weights.get(name, name) if place % every == 0 or place == len(layers) - 1 else None
        rates.plot(history.steps, history.values("firing_rate", name), color=colour, marker=marker, lw=1.2, label=label)
        dead.plot(history.steps, history.values("dead_fraction", name), color=colour, marker=marker, lw=1.2)
        for panel in norms:
            panel.plot(history.steps, history.values("gradient_norm", name), color=colour, marker=marker, lw=1.2)
    rates.plot(history.steps, history.values("firing_rate"), color=GREY, ls="--", lw=1.2, label=TOTAL)
    dead.plot(history.steps, history.values("dead_fraction"), color=GREY, ls="--", lw=1.2)
    rates.set(ylabel="late firing rate", ylim=(0, None))
    dead.set(ylabel="fraction of dead neurons", ylim=(-0.02, 1.02))
    for panel in norms:
        panel.set(ylabel="gradient norm", yscale="log")
    figure.axes[-1].set(xlabel="training step")
    rates.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), title="layer", **BESIDE)
    return figure
