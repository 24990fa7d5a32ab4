"""Writes the pages on training and their figures from ``validation/training/results``: what trains, and what predicts it.

Run from the repository: ``python docs/training.py`` (seconds, but for the theory lines of the map: a minute). The results are
those of ``make train``; experiments without a file are left out and named.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from figures import described

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from validation.training.experiments import EXPERIMENTS  # noqa: E402
from validation.training.figures import (  # noqa: E402
    FIGURES,
    WEIGHTS,
    accuracy,
    design_of,
    grouped,
    mean_and_error,
    name,
    scores_and_accuracies,
)
from validation.training.predictors import LATER, PREDICTORS, agreement  # noqa: E402
from validation.training.rates import by_learning_rate, by_rate, of_learning_rates, of_rates  # noqa: E402
from validation.training.twelve_page import of_larger_weights, of_normalised, of_twelve  # noqa: E402
from validation.training.twelve_runs import TWELVE  # noqa: E402
from validation.training.verdicts import by_coherence, of_boundary, of_thirty, of_verdicts  # noqa: E402
from varflow._files import replace_files  # noqa: E402

RESULTS = ROOT / "validation" / "training" / "results"
Runs = Sequence[dict[str, Any]]

MADE = """\
Made by `python docs/training.py` from the results in `validation/training/results`, which `make train` computes (`make data`
gets the images; `make train-quick` takes two minutes and needs none)."""
SETTING = """\
Unless said otherwise, networks have layers of 100 leaky neurons (β = 0.5, θ = 1, snnTorch's subtracting reset), 4 time steps
of a constant current, and a linear readout of the mean spikes; Adam trains them with learning rate 10⁻³ and batches of 100.
Accuracies are those of the test images after the last epoch, mean ± standard error over seeds; chance is 10 %."""
INTRODUCTION = f"""\
# Training experiments

Learning needs activity at every depth, but activity is not enough. These experiments train deep networks and compare what
they learn with what theory says before training.

- **Ten plain layers** learn with every gain that keeps them active, [twenty](#weights-of-plain-layers) hardly with any.
- **Shortcuts** let [fifty layers](#depth-by-structure) learn as well as five. BatchNorm does not.
- **The surrogate** matters more than the [gain](#gain-and-slope-of-the-surrogate): snnTorch's steep `fast_sigmoid(25)` fails.
- **Identity weights**, with which each layer at first copies the spikes of the one before, train [thirty plain
  layers](#depth-of-plain-layers).
- **Silent networks** can [revive](#revival-of-silent-networks): ten layers with Kaiming's weights do, with torch's default
  they do not.
- **Firing rates** of 0.1 and 0.2 are [equally good](#firing-rate).

Which numbers tell before training whether a network will learn is on the page [predictors of
training](training_predicted.md); models as users of the libraries build them are on [twelve models](twelve_models.md).

{MADE}

{SETTING}

Weights are called torch's default (g = 0.58), Kaiming (g = √2), Xavier (g = 1), Micheli (the preserving gain), corrected gain
(`vf.corrected_gain`), gain in time (`vf.gain_for_rate` for a rate of 0.2), SpikeInit (published, for the same rate), and W =
(θ/β) 1 (identity weights, which are not random); or they have a gain, given as g². """
PREDICTED = f"""\
# Predictors of training

Which numbers, computed before training, tell how well a network will learn? The experiments on this page test the predictors,
the verdict of `vf.audit` ([will it learn?](will_it_learn.md)), and the learning rate of `vf.learning_rate`.

{MADE}

{SETTING} [Training experiments](training.md) has the names of the weights.
"""
TWELVE_MODELS = f"""\
# Twelve models

On this page twelve models, built as users of snnTorch, SpikingJelly and Norse build them, are trained from the usual weights
and after one call of `vf.init.init_model`.

{MADE}
"""
TOLD = ("held_out", "new", "boundary", "learning_rates")
"""Experiments on the page of predictors; the others are on the first."""


def percent(runs: Runs) -> str:
    """Mean ± standard error, in per cent, and the number of seeds."""
    mean, error = mean_and_error(runs)
    return f"{100 * mean:.1f}" + (f" ± {100 * error:.1f}" if error == error else "")


def table(runs: Runs, row: Callable[[dict[str, Any]], Any], column: Callable[[dict[str, Any]], Any], corner: str) -> str:
    """Accuracies by row and column."""
    rows, columns = grouped(runs, row), sorted(grouped(runs, column))
    lines = [f"| {corner} | {' | '.join(map(str, columns))} |", "|---" * (len(columns) + 1) + "|"]
    for label, some in rows.items():
        cells = grouped(some, column)
        lines.append(f"| {label} | {' | '.join(percent(cells[c]) if c in cells else '' for c in columns)} |")
    return "\n".join(lines)


def of_design(runs: Runs) -> str:
    return table(runs, name, design_of("depth"), "design, layers")


def of_silence(runs: Runs) -> str:
    row = lambda run: f"{WEIGHTS[run['design']['initialisation']]}, ε = {run['schedule']['epsilon']:g}"  # noqa: E731
    return table(runs, row, design_of("depth"), "weights, layers")


def of_predictors(runs: Runs) -> str:
    """Rank correlation of every predictor with accuracy, and what is left of it given the depth."""
    scores, values = scores_and_accuracies(runs)
    lines = ["| predictor | what it is | Spearman | 95 % | given depth | 95 % |", "|---" * 6 + "|"]
    for key, what in (PREDICTORS | LATER).items():
        alone = agreement(scores[key], values)
        told = [alone] if key == "depth" else [alone, agreement(scores[key], values, scores["depth"])]
        cells = [f"{each['spearman']:.2f} | {each['low']:.2f} to {each['high']:.2f}" for each in told]
        lines.append(f"| {key} | {what} | {' | '.join(cells)} |{' – | – |' if key == 'depth' else ''}")
    return "\n".join(lines)


def differences(key: str, runs: Runs) -> str:
    """Accuracies of two designs that saw the same batches, seed by seed: mean difference and paired t-test."""
    lines = []
    for one, other, depth in PAIRED[key]:
        first, second = (
            [accuracy(run) for run in runs if name(run) == each and run["design"]["depth"] == depth] for each in (one, other)
        )
        difference = 100 * (np.array(first) - np.array(second))
        found: Any = scipy.stats.ttest_rel(first, second)
        error = difference.std(ddof=1) / len(difference) ** 0.5
        lines.append(f"| {one}, less {other} | {depth} | {difference.mean():+.1f} ± {error:.1f} | {found.pvalue:.2g} |")
    return "\n".join(["| paired over seeds | layers | difference, % | p |", "|---|---|---|---|", *lines])


ATAN, WIDE = "atan(2)", "fast_sigmoid(1)"
PAIRED: dict[str, list[tuple[str, str, int]]] = {
    "initialisations": [
        (f"plain, Micheli, {ATAN}", f"plain, Kaiming, {ATAN}", 10),
        (f"plain, gain in time, {ATAN}", f"plain, Micheli, {ATAN}", 10),
        ("centred rows, g² = 10.2", f"plain, gain in time, {ATAN}", 10),
        ("membrane shortcut, torch's default", "membrane shortcut, g² = 0.5", 20),
    ],
    "depth": [
        (f"plain, gain in time, {WIDE}", f"plain, gain in time, {ATAN}", 10),
        (f"plain, gain in time, {WIDE}", f"plain, gain in time, {ATAN}", 15),
        ("membrane shortcut, g² = 0.5", f"plain, gain in time, {WIDE}", 10),
        ("membrane shortcut, g² = 0.5", "SEW add, g² = 2", 50),
    ],
    "convolutions": [
        ("convolutions, Kaiming", "convolutions, torch's default", 3),
        ("convolutions, Micheli", "convolutions, Kaiming", 3),
        ("convolutions, gain in time", "convolutions, Micheli", 3),
    ],
}

TABLES: dict[str, Callable[[Runs], str]] = {
    "quick": of_design,
    "initialisations": of_design,
    "depth": of_design,
    "plain": of_design,
    "convolutions": of_design,
    "silence": of_silence,
    "held_out": of_predictors,
    "rates": of_rates,
    "learning_rates": of_learning_rates,
    "thirty": of_thirty,
    "new": of_verdicts,
    "boundary": of_boundary,
}


ALSO = {
    "rates": """Fashion-MNIST, first 10000 images, 3 epochs; convolutions on digits, 10 epochs with batches of 32. Three
seeds,""",
    "learning_rates": """Digits with batches of 50, 6 epochs (174 steps) unless said; Fashion-MNIST: first 3000 images,
4 epochs. Constant learning rates on a grid of factor 2, the gain in time, or g² = 0.5 with membrane shortcuts. Two seeds,""",
}
"""How experiments of several data or schedules were trained."""
DATA = {"digits": "Digits", "fashion_mnist": "Fashion-MNIST", "mnist": "MNIST"}
DRAWN = {**FIGURES, "rates": by_rate, "new": by_coherence, "learning_rates": by_learning_rate}
TOGETHER = {"depth": ("depth", "plain")}
"""Experiments that share a figure."""


SEEN = {
    "quick": "Accuracy over epochs of six designs with ten and twenty layers: shortcuts and identity weights learn in both",
    "map": "Two maps of accuracy over gain and slope: ten layers learn with gentle slopes, twenty hardly anywhere",
    "depth": "Accuracy against depth: flat for shortcuts up to fifty layers, falling to chance for plain layers and BatchNorm",
    "silence": "Accuracy against depth for torch's and Kaiming's weights: both fall to chance near the vertical lines",
    "held_out": "Accuracy of 48 random networks against eight predictors: contrast, persistence and depth order them best",
    "rates": "Accuracy against the initial firing rate, 4 and 8 steps: flat up to 0.2; BatchNorm is lower at 0.05 and 0.3",
    "new": "Accuracy of 48 networks against layers over coherence: beyond the grey band only shortcuts learn",
    "learning_rates": "Loss and accuracy of 16 settings against the learning rate over the best: narrow valleys, wide plateaus",
    "robustness": "Accuracy as threshold, leak, steps or width changes: the gain in time stays high, Kaiming's weights fall",
}
"""What a figure shows, for those who do not see it."""


def section(key: str, runs: Runs) -> str:
    """One experiment: its title, how it was trained, table and figure."""
    first = runs[0]["schedule"], runs[0]["data"], runs[0]["images"]
    schedule, data, images = first
    seeds = len({run["seed"] for run in runs})
    how = f"{DATA[data]}, {f'first {images} images' if images else 'all images'}, {schedule['epochs']} epochs"
    how += f" ({schedule['rate'].replace('_', ' ')} learning rate), {seeds} seed{'s' * (seeds > 1)}, {len(runs)} runs."
    parts = [f"## {EXPERIMENTS[key].title}", f"{ALSO[key]} {len(runs)} runs." if key in ALSO else how]
    if key in TABLES:
        parts.append(TABLES[key](runs))
    if key in PAIRED:
        parts.append(differences(key, runs))
    if key in DRAWN:
        parts.append(f"![{SEEN[key]}](training-{key}.png)")
    return "\n\n".join([*parts, *([COMMENTS[key]] if key in COMMENTS else [])])


COMMENTS: dict[str, str] = {
    "thirty": """\
Random weights train none of these networks of thirty plain layers. A surrogate six times as wide as snnTorch's `atan`, up to
16 steps, a ten times smaller learning rate and a warm-up all end near 20 %. Identity weights learn, at the usual learning
rate. A shortcut around every layer learns as well without such care ([depth by structure](#depth-by-structure)).""",
    "initialisations": """\
In ten layers all initialisations that keep activity train, about equally well. Kaiming's weights are behind; Xavier's weights
and torch's default stay at chance. In twenty layers no plain network trains well in five epochs. With the gain in time
gradients keep their size there (theory: a factor of 1.05 per layer), but those of different inputs are almost the same: the
contrast of the tangent kernel is 0 within its error, while it is 0.023 at ten layers. With a membrane shortcut the weights
hardly matter: twenty layers learn, also with torch's default weights.""",
    "map": """\
The slope of the surrogate matters more than the gain. With slope 25, the default of snnTorch's `fast_sigmoid`, ten layers
hardly learn and twenty do not learn. Below the critical gain (dotted line) accuracy falls gradually; at g² = 2 only networks
with steep surrogates fail. On the white line gradients in time keep their size. Ten layers train well on either side of it,
and badly on it at g² = 2, so a growth of 1 is neither necessary nor sufficient. The contrast of the tangent kernel (pink, for
cosines of 0.8 and 0.4) falls towards steep surrogates, as the accuracy does, but it is largest at slope 0.2, where networks
train no better than at 0.5 or 1. At 20 layers no gain and slope reach 40 % in two epochs.

The claim `gradients` of [the validation](../validation/REPORT.md) compares the theory of gradients with autograd. With slope
25 only the few neurons near threshold pass gradients on. Single networks then deviate strongly from the mean, with the
log-normal scatter that `vf.gradient_flow` predicts for their width.""",
    "depth": """\
Five layers learn equally well in every design. With a membrane shortcut, or with SEW's sums of spikes, fifty layers learn as
well as five. Plain layers with random weights fail between 15 and 20 layers, and thirty learn next to nothing. The two plain
designs differ only in the surrogate: `fast_sigmoid(1)` is three times as wide as snnTorch's `atan` of the same height, and
with it 15 layers reach 83 % instead of 73 %. The fraction of the gradients that survives a step (persistence,
`vf.trainability(…).mean_persistence`) falls with depth in the same order: .48, .16, .10, .07 and .05 in 5, 10, 15, 20 and 30
layers with `atan(2)`, .74, .40, .24, .17 and .11 with `fast_sigmoid(1)`. BatchNorm lets plain layers learn no deeper. Where
accuracy falls with depth, seeds differ by up to 18 %. The figure also shows the next experiment.""",
    "plain": """\
With eight steps and a surrogate of slope 0.7, twenty layers of random weights learn more than 80 %. The contrast of the
tangent kernel suggested these settings: it is 0.115, but 0.0078 with four steps and slope 1, and 0.036 for the fifteen layers
above. Persistence is .42.

With identity weights, $W = (\\theta/\\beta)\\, 1$, each layer at first copies the spikes of the layer before. snnTorch's
neuron is $H_t = \\beta H_{t-1} + I_t - \\theta S_{t-1}$. If the layer before sends spikes $S'_t$, the currents are $I_t =
(\\theta/\\beta) S'_t$. By induction $H_t = (\\theta/\\beta) S'_t$: if this holds at $t-1$, both layers spiked alike, $S_{t-1}
= S'_{t-1}$, and the leak leaves $\\beta H_{t-1} = \\theta S_{t-1}$, which is just what the reset subtracts.

```python
import snntorch
import torch

torch.manual_seed(0)
first = spikes = (torch.rand(20, 64) < 0.3).float()  # 20 steps of 64 neurons
neuron, weights = snntorch.Leaky(beta=0.5), 2 * torch.eye(64)  # θ = 1: θ/β = 2
for _ in range(30):
    membrane, sent = neuron.init_leaky(), []
    for step in spikes:
        out, membrane = neuron(step @ weights, membrane)
        sent.append(out)
    spikes = torch.stack(sent)
print("layer 30 equals layer 1:", torch.equal(spikes, first))
```

```text
layer 30 equals layer 1: True
```

With a surrogate for which ψ(±θ) = β/θ, gradients also pass unchanged. So twenty plain layers reach 84 %, and thirty 80 %.
Fifty layers learn less, and seeds differ: within an epoch training raises the firing rates of early layers to between 0.4 and
0.9, and the layers no longer copy.""",
    "robustness": """\
One setting at a time differs from ten plain layers with θ = 1, β = 0.5, 4 steps and width 100; the gain in time is computed
for each. With it networks learn 90 % or more, except for θ = 2, width 50 and β = 0.1. With Kaiming's weights they learn less
in every setting: nothing at θ = 1.5 and 2, where many layers are silent, and little at β = 0.1. Where networks begin silent
and revive, seeds differ by up to 70 %.""",
    "convolutions": """\
Two layers of 3 × 3 filters (16 and 32 channels), each followed by an average over 2 × 2 positions, then a dense layer of
width 128. In three layers every initialisation trains; they differ in speed. After the first epoch torch's default, whose
second and third layers begin silent, has learned 38 %, Kaiming's weights 65 %, the preserving gain 70 % and the gain in time
71 %; after four epochs the lead is 3 %.""",
    "rates": """\
`init_model` gives all layers the same firing rate at first; numbers in brackets are accuracies after the first epoch. Rates
of 0.1 and 0.2 are equally good in all structures. A rate of 0.05 is as good except behind BatchNorm, where it is the worst. A
rate of 0.3 costs one to fourteen points in dense layers and nothing in convolutions. So the default of 0.2 is a good choice,
and 0.1 gives the same accuracy with half of the spikes.

**Behind BatchNorm, torch's default weights with γ = 1 beat every rate**, by 2 to 7 points at the end and by more after the
first epoch. The reason is the weights, not the rate: `init_model` filled them with g = 2.7 instead of 0.58. BatchNorm removes
their scale, so Adam's steps became five times smaller relative to the weights. A trial with the parts exchanged (three seeds,
four steps, rate 0.2) confirms this: torch's weights with γ for the rate reached 79.2 %, and the weights of `init_model` with
γ = 1 reached 76.7 %, with standard errors of about 0.5 %. `init_model` no longer fills weights before a normalisation; the
table was made before that change.""",
    "new": """\
Half of the networks are plain and drawn as above; the others have BatchNorm (up to 30 layers), membrane shortcuts or SEW's
sums (up to 50 layers). The verdict is that of `vf.audit` on the network of each seed, before training. Its limits were fixed
on the [training experiments](training.md), before any of these accuracies was seen. "Dead" are networks with a dead layer,
for which the audit gives no other verdict.

**Of 78 networks that should learn, none stays near chance.** Five do not reach half of the best accuracy; three of these have
twenty layers in which gradients grow by six orders of magnitude. Of 25 networks that should forget, none reaches half of the
best accuracy. These runs do not test the rule that networks of fewer than ten layers are "unknown", which was made after
them: without it, eight of 33 reached half, all plain networks of six layers with narrow surrogates, whose last layers learn
enough by themselves. The [next section](#verdict-near-ten-layers) tests the rule. One network in six is "unknown". All
networks with shortcuts learned, and none was expected to fail. A verdict by depth alone, with the limit that is best on the
networks of the section above, is wrong for 12 of the 78 that it expects to learn and for 41 of the other 66.

Over all structures, coherence over layers ranks the networks and depth does not. Among plain networks all scores rank them,
none significantly better than another, and each adds something to the depth.""",
    "boundary": """\
Two draws of 24 plain networks, of 7 to 12 layers and of 10 to 20 layers (two seeds); the rule was fixed before any was
trained. **Of 16 networks that should forget, two reach half of the best accuracy**: one whose last layers hardly fire at
first, and one of twelve layers. Together with the section above, that is 2 of 41. Of 68 networks that should learn, none
stays near chance, and three do not reach half of the best. Below ten layers, the networks that would be called "forgets"
without the rule reach 16 to 44 %, so that this verdict would often be right there too. Most networks with a dead layer revive
here.""",
    "learning_rates": """\
The best rate is the one with the smallest training loss in the last epoch; "advised" is `vf.learning_rate`. Settings and
constants were fixed before the runs. The rule `D = 0.147` has the smallest error, but 1/n and 1/(nL) are nearly as good over
all settings, and the accuracies differ by less than 1 % in all but two. Where the rule was made for (ten settings of digits
with Adam and 174 steps, at most ten plain layers) its error is 0.30 octaves; that of 1/n is 0.50 and that of 1/√(nL) 0.61. It
fails as the page on [learning rates](learning_rate.md#accuracy) says: longer training of plain layers needs half of the
advised rate, and for twelve plain layers the advised rate is half of the best. Convolutions were not run, as
`vf.learning_rate` does not support them. The last table compares `D` by formula with its value in real first steps, in six
networks each.""",
    "silence": """\
A network that is silent at first need not stay so: ten layers of Kaiming's weights begin with silent layers and learn.
Gradients pass a silent layer through the tail of the surrogate, which multiplies them by g ψ(-θ), and Adam changes a bias if
its gradient exceeds ε. The vertical lines mark the deepest network that this lets revive, by
`validation.training.predictors.revival_depth`, an estimate that was written down after these runs: 5.5 layers for torch's
default, whose accuracy falls to chance between 6 and 8 layers, and 9.5 for Kaiming's weights, which fall to chance between 12
and 14. With ε = 10⁻¹⁶ torch's default learns with 8 layers from some seeds; deeper networks exceed chance, but most stay
below 30 %.""",
    "held_out": """\
The networks are drawn at random: 6 to 20 layers, 2 to 8 steps, θ from 0.6 to 1.4, four decays, gains from 1.5 to 6, and five
surrogates of peak 1 with widths from 0.05 to 3.

**Depth alone reaches 0.82**, more than any other number here. The fifth and sixth columns correct for depth (partial rank
correlation): only the contrasts of the surrogate neural tangent kernel and persistence say anything beyond the depth. All
other intervals contain 0, also that of readability, which is the highest of the first five and mostly repeats the depth.
Activity alone predicts nothing here. The growth of gradients predicts little, as expected with Adam, which divides gradients
by their size.

The first five predictors were fixed before any network was trained. Each of the three seeds alone puts them in the same
order, and half of the networks have a standard error below 0.6 % over seeds. Near contrast and persistence were added later
(`vf.trainability` with its defaults, 2¹³ points; `python -m validation.training scores`). Both count a network that theory
calls silent as 0, and the ranks depend on this: ten of the 48 do, three of which learn 54, 73 and 82 %. Without the ten near
contrast reaches 0.90 (0.78 given the depth) and persistence 0.89 (0.82). **The rule for silent networks was chosen after
these scores had been seen; a test on new networks is still to come.** Neither number compares networks of different
structure: where BatchNorm couples the inputs of a batch hardly anything persists, and yet ten layers learn.""",
}


def results(names: Sequence[str] = tuple(EXPERIMENTS)) -> dict[str, Runs]:
    """The runs of every experiment that was made."""
    paths = {key: RESULTS / f"{key}.json" for key in names}
    return {key: json.loads(path.read_text())["runs"] for key, path in paths.items() if path.exists()}


def of_library_models() -> list[str]:
    """Sections on models as users build them."""
    runs = results(tuple(TWELVE))
    parts = [of_twelve(runs["beginnings"], runs["one_call"])] if {"beginnings", "one_call"} <= {*runs} else []
    parts += [of_larger_weights(runs["beginnings"])] if "beginnings" in runs else []
    return [*parts, *([of_normalised(runs["normalised"])] if "normalised" in runs else [])]


def figure(key: str, runs: dict[str, Runs]) -> Any:
    return DRAWN[key]([run for part in TOGETHER.get(key, (key,)) for run in runs.get(part, ())])


def pages(runs: dict[str, Runs]) -> dict[str, str]:
    """The three pages, by name."""
    parts = {
        "training": [INTRODUCTION, *(section(key, some) for key, some in runs.items() if key not in TOLD)],
        "training_predicted": [PREDICTED, *(section(key, some) for key, some in runs.items() if key in TOLD)],
        "twelve_models": [TWELVE_MODELS, *of_library_models()],
    }
    if missing := [key for key in EXPERIMENTS if key not in runs]:
        parts["training"].append(f"Not run yet: {', '.join(missing)}.")
    return {name: "\n\n".join(part.rstrip() for part in some) + "\n" for name, some in parts.items()}


def main() -> None:
    runs = results()
    shown = {key: figure(key, runs) for key in DRAWN if key in runs}
    files: dict[Path, Any] = {Path(__file__).parent / f"training-{key}.png": described(made) for key, made in shown.items()}
    replace_files(files | {Path(__file__).parent / f"{name}.md": text for name, text in pages(runs).items()})


if __name__ == "__main__":
    main()
