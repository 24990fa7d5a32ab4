"""A sweep that is predicted, simulated and compared: where theory and simulation meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import frozen, integer, listed, probability, require
from varflow._process import finishing
from varflow.campaign.campaign import Campaign, Run, campaign_of
from varflow.init.rules import RULES, gain_by_rule, number
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drives import Drive, Inputs
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons, over_neurons
from varflow.results import Curve, Experiment, Profile
from varflow.simulation import Interrupted, simulate
from varflow.simulation.run import check_device
from varflow.theory.finite_width.profile import finite_width
from varflow.theory.mean_field import mean_field
from varflow.verdict import allowances, compare

PAPER_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)


def validate(
    *,
    threshold: Any = PAPER_THRESHOLDS,
    gain: str | float | Sequence[str | float] = ("preserving", "kaiming"),
    width: int | Sequence[int] = 1000,
    depth: int = 100,
    repeats: int = 20,
    seed: int = 0,
    drive: Drive | None = None,
    device: str = "cpu",
    false_alarm: float = 1e-3,
    progress: Any = False,
    neuron: Any = None,
    steps: int = 1,
    engine: str = "dense",
    bias: Any = None,
    campaign: Campaign | Run | None = None,
) -> Experiment:
    """Predict, simulate and compare a sweep over thresholds; without arguments, the 100 layers of ``micheli2024``.

    One step is judged by the exact distribution at the networks' width (:func:`varflow.finite_width`), several by the theory
    of infinite width (:func:`varflow.mean_field`), whose error of order 1/width is allowed for by ``bias``.

    Parameters
    ----------
    threshold : float, frozen scipy.stats distribution or sequence of them
        Thresholds of the sweep, a distribution being one over neurons; by default six from 0.1 to 1, or that of ``neuron``.
        Repeated values here, in ``gain`` and in ``width`` count once.
    gain : str, float or a sequence of them
        Gain rules: ``"preserving"``, ``"kaiming"`` (``√2``) or a number; one panel each.
    width : int or sequence of int
        Neurons per layer; one panel each, as in figure 4 of ``micheli2024``.
    depth, repeats, seed, device, progress
        As in :class:`varflow.Network` and :func:`varflow.simulate`.
    drive : Drive, optional
        Drive of layer 1, from ``vf.drives``. From a batch larger than ``repeats`` the simulated networks see ``repeats``
        evenly spaced inputs, and are judged by the prediction for those; ``Curve.survival_per_input`` covers the whole batch.
    false_alarm : float
        Probability that a true theory is rejected anywhere in the experiment (Šidák's correction over the curves, which
        share weights, so the true rate is at most this).
    neuron : Neuron, torch module or str, optional
        Leak and reset, as :func:`varflow.neuron` takes it; the sweep replaces its threshold. By default memoryless.
    steps : int
        Time steps.
    engine : str
        As in :func:`varflow.simulate`.
    bias : float or dict, optional
        For several steps, as in :func:`varflow.compare`: the allowed error of infinite width.
    campaign : Campaign, optional
        Where the networks are simulated, in blocks of about a second, and where finished blocks are kept; by default in this
        process, and nothing is kept. Theory and verdicts are computed here, and again in every run.

    Returns
    -------
    Experiment
        After Ctrl-C, that of the networks finished so far, with ``.complete`` False.

    Raises
    ------
    DomainError
        For arguments outside their domain.
    MissingExtraError
        Without torch.
    Interrupted
        On Ctrl-C before the first network is finished.

    Examples
    --------
    >>> import numpy as np
    >>> import varflow as vf
    >>> experiment = vf.validate(threshold=[0.5, 1.0], width=100, depth=10, repeats=5)
    >>> experiment.passed
    True

    Width against threshold:

    >>> experiment = vf.validate(threshold=1.0, gain="preserving", width=[50, 200], depth=20, repeats=5)
    >>> [round(float(curve.profile.survival[-1]), 3) for curve in experiment.curves]
    [0.288, 0.788]

    A leak and a reset over five steps:

    >>> leaky = vf.Neuron(decay=0.5)
    >>> experiment = vf.validate(threshold=1.0, gain=2.5, width=200, depth=4, repeats=5, neuron=leaky, steps=5)
    >>> experiment.curves[0].comparison.z["variance"].shape
    (4, 5)

    Your own data, one input vector per row:

    >>> data = np.random.default_rng(0).random((50, 30))
    >>> experiment = vf.validate(threshold=1.0, width=100, depth=10, repeats=5, drive=vf.drives.inputs(data))
    >>> experiment.curves[0].survival_per_input.shape
    (50,)
    """
    probability("false_alarm", false_alarm, open_ends=True)
    integer("repeats", repeats, minimum=1)
    integer("seed", seed, minimum=0)
    check_device(device)
    require("torch", "torch")
    place = campaign_of(campaign)
    cell = Neuron() if neuron is None else as_neuron(neuron)
    if neuron is not None and threshold is PAPER_THRESHOLDS:
        threshold = cell.threshold
    axes = (listed("gain", gain), listed("width", width), listed("threshold", _thresholds(threshold)))
    sweep = [(rule, n, theta) for rule in axes[0] for n in axes[1] for theta in axes[2]]
    common: dict[str, Any] = {"depth": depth, "steps": steps, "drive": drive}
    asked = [
        Network(width=n, gain=gain_by_rule(rule, theta), neuron=replace(cell, threshold=theta), **common)
        for rule, n, theta in sweep
    ]
    networks = [_with_inputs_seen(network, repeats) for network in asked]
    with place.opened("varflow.simulation.layered") as run:
        profiles = _predicted(networks)
        if bias is not None:
            allowances(profiles[0], bias)  # raises before the simulation, not after it
        try:
            shape = {"repeats": repeats, "seed": seed, "engine": engine, "device": device}
            ensembles = simulate(networks, progress=progress, campaign=run, **shape)
        except Interrupted as stop:
            ensembles = stop.ensembles
            if not ensembles or not all(ensemble.repeats for ensemble in ensembles):
                raise
            if asked[0].drive.n_inputs > 1:  # fewer networks have seen fewer inputs
                finished = zip(networks, ensembles, strict=True)
                profiles = _predicted([_driven_by(network, slice(ensemble.repeats)) for network, ensemble in finished])
    with finishing():
        false_alarm_of_one = float(-np.expm1(np.log1p(-false_alarm) / len(networks)))
        verdicts = [compare(*pair, false_alarm=false_alarm_of_one, bias=bias) for pair in zip(profiles, ensembles, strict=True)]
        titles, survivals = [_title(rule) for rule, *_ in sweep], map(_survival_per_input, asked)
        curves = tuple(map(Curve, titles, profiles, ensembles, verdicts, survivals))
    return Experiment(curves, asked[0].drive, false_alarm, repeats, bias)


def _predicted(networks: list[Network]) -> list[Profile]:
    """The exact prediction of each network; over several steps that of infinite width, computed once for all widths."""
    if networks[0].steps == 1:
        return [finite_width(network) for network in networks]
    profiles: dict[Any, Profile] = {}
    for network in networks:
        of_all_widths = (network.gain, network.neuron)
        if of_all_widths not in profiles:
            profiles[of_all_widths] = mean_field(network)
    return [replace(profiles[network.gain, network.neuron], network=network) for network in networks]


def _thresholds(value: Any) -> Any:
    """Distributions over neurons in the form that can be compared."""
    if isinstance(value, (list, tuple)):
        return [_thresholds(item) for item in value]
    return OverNeurons.of("threshold", value) if over_neurons(value) else value


def _title(rule: Any) -> str:
    return rule if rule in RULES else f"g = {number(rule):g}"


def _with_inputs_seen(network: Network, repeats: int) -> Network:
    """The network driven by the inputs that ``repeats`` simulated networks see."""
    row, batch = np.arange(repeats), network.drive.n_inputs
    return _driven_by(network, row * batch // repeats if batch > repeats else row % batch)


def _driven_by(network: Network, rows: Any) -> Network:
    return replace(network, drive=network.drive.of_rows(rows))


def _survival_per_input(network: Network) -> np.ndarray | None:
    if not isinstance(network.drive, Inputs) or network.steps > 1:
        return None
    return frozen(finite_width(network).per_input["survival"][:, -1])
