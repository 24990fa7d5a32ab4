"""Files of the neuromorphic intermediate representation made by snnTorch, Norse and sinabs, and run by the importer of each.

Run from the repository: ``python docs/nir_files.py`` (a minute), with sinabs as ``make test-libraries`` installs it; it prints
the table of docs/nir.md.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nir
import numpy as np
import torch
from torch import nn

import varflow as vf

STEPS, BATCH, WIDTHS = 40, 16, (400, 2000, 1500)


def of_size(*sizes: int, scale: float, bias: float = 0.1) -> list[nn.Linear]:
    """Linear layers of normal weights of this gain."""
    layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=scale / layer.in_features**0.5)
        nn.init.normal_(layer.bias, std=bias)
    return layers


# Files, each by the exporter of a library.


def of_snntorch(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    from snntorch.export_nir import export_to_nir

    nir.write(path, export_to_nir(model, torch.rand(1, *shape), ignore_dims=[0]))


def of_norse(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Norse keeps the axis of the batch in the shape of the input, and leaves out the size of maps, which a file must have."""
    import norse.torch

    graph = norse.torch.to_nir(model, torch.rand(1, *shape))
    for node in graph.nodes.values():
        if isinstance(node, nir.Conv2d):
            node.input_shape = shape[1:]
    nir.write(path, graph, compression=None)


def of_sinabs(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    import sinabs.nir

    graph = sinabs.nir.to_nir(model, torch.rand(1, *shape))
    graph.infer_types()
    nir.write(path, graph, compression=None)


def leaky(*shape: int, beta: float = 0.9, **options: Any) -> nn.Module:
    import snntorch

    return snntorch.Leaky(torch.full(shape, beta), threshold=torch.ones(shape), init_hidden=True, **options)


def lif_box(*shape: int, threshold: float = 1.0) -> nn.Module:
    import norse.torch

    parameters = {"tau_mem_inv": 100.0, "v_leak": 0.0, "v_th": threshold, "v_reset": 0.0}
    filled = {name: torch.full(shape, value) for name, value in parameters.items()}
    return norse.torch.LIFBoxCell(norse.torch.LIFBoxParameters(**filled))


def lif_of_sinabs(*shape: int, tau: float = 10.0) -> nn.Module:
    import sinabs.layers

    filled = {"tau_mem": torch.full(shape, tau), "spike_threshold": torch.ones(shape)}
    return sinabs.layers.LIFSqueeze(batch_size=1, norm_input=False, **filled)


# Importers: the spikes of every layer of neurons, each (steps, inputs, neurons).


def recorded(model: nn.Module, names: list[str], call: Callable[[], Any]) -> list[np.ndarray]:
    """What the modules of these names return while the model is called, stacked."""
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, out: kept[name].append((out[0] if isinstance(out, tuple) else out).numpy().copy())

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad(), quietly():
        call()
    for hook in hooks:
        hook.remove()
    return [np.stack(kept[name]) for name in names]


def made(importer: Callable[[], nn.Module]) -> nn.Module:
    with quietly():
        return importer()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """A context without what the libraries print, log and warn of."""
    before = logging.getLogger().level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger().setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger().setLevel(before)


def by_snntorch(path: Path, x: np.ndarray, names: list[str], dt: float | None = None) -> list[np.ndarray]:
    """One input after the other, since its Flatten takes the axis of the batch too."""
    from snntorch.import_nir import import_from_nir

    spikes = []
    for frame in torch.tensor(x, dtype=torch.float32)[:, None]:
        model = made(lambda: import_from_nir(nir.read(path, type_check=False)))
        spikes.append(recorded(model, names, lambda model=model, frame=frame: [model(frame) for _ in range(STEPS)]))
    return [np.stack(each, 1).reshape(STEPS, len(x), -1) for each in zip(*spikes, strict=True)]


def by_norse(path: Path, x: np.ndarray, names: list[str], dt: float | None = None) -> list[np.ndarray]:
    import norse.torch

    model = made(lambda: norse.torch.from_nir(nir.read(path, type_check=False), dt=1e-3 if dt is None else dt))

    def call() -> None:
        state = None
        for _ in range(STEPS):
            _, state = model(torch.tensor(x, dtype=torch.float32), state)

    return [each.reshape(STEPS, len(x), -1) for each in recorded(model, names, call)]


def by_sinabs(path: Path, x: np.ndarray, names: list[str], dt: float | None = None) -> list[np.ndarray]:
    import sinabs.nir

    model = made(lambda: sinabs.nir.from_nir(nir.read(path, type_check=False), num_timesteps=STEPS))
    frames = torch.tensor(x, dtype=torch.float32).repeat_interleave(STEPS, 0)
    return [each.reshape(len(x), STEPS, -1).swapaxes(0, 1) for each in recorded(model, names, lambda: model(frames))]


def files(folder: Path) -> dict[str, Path]:
    """A dense network of two layers of leaky neurons from each library."""
    torch.manual_seed(0)
    (n, *layers), paths = WIDTHS, {}
    for library, write, neurons, scale in (
        ("snnTorch", of_snntorch, lambda m: leaky(m, reset_mechanism="zero"), 2.5),
        ("Norse", of_norse, lambda m: lif_box(m, threshold=0.25), 3.0),
        ("sinabs", of_sinabs, lif_of_sinabs, 1.5),
    ):
        modules = [
            module for weights in of_size(n, *layers, scale=scale) for module in (weights, neurons(weights.out_features))
        ]
        model = nn.Sequential(*modules)
        if library == "Norse":
            import norse.torch

            model = norse.torch.SequentialState(*modules)
        paths[library] = folder / f"{library.lower()}.nir"
        write(model, (n,), paths[library])
    return paths


RUNS = [
    ("snnTorch", "snntorch", by_snntorch, None),
    ("snnTorch", "norse", by_norse, 1e-4),
    ("snnTorch", "sinabs", by_sinabs, None),
    ("Norse", "norse", by_norse, 1e-6),
    ("Norse", "snntorch", by_snntorch, None),
    ("Norse", "sinabs", by_sinabs, None),
    ("sinabs", "sinabs", by_sinabs, None),
    ("sinabs", "norse", by_norse, 1.0),
    ("sinabs", "snntorch", by_snntorch, None),
]


def table() -> list[tuple[str, str, float | None, np.ndarray, np.ndarray, np.ndarray]]:
    """File, library that runs it, step, rates measured there, simulated from the file, and predicted, of every layer."""
    x, rows = np.random.default_rng(0).random((BATCH, WIDTHS[0])), []
    with TemporaryDirectory() as folder:
        paths = files(Path(folder))
        for file, library, run, dt in RUNS:
            measured = [spikes.mean() for spikes in run(paths[file], x, ["1", "3"], dt)]
            network = vf.read_nir(paths[file], x, steps=STEPS, library=library, dt=dt)
            simulated = vf.simulate(network, repeats=BATCH).firing_rate.mean(axis=(0, 2))
            rows.append((file, library, dt, np.array(measured), simulated, vf.mean_field(network).firing_rate.mean(axis=1)))
    return rows


if __name__ == "__main__":
    print("| file of | run by | `dt` | measured | `vf.simulate` | predicted |\n|---|---|---|---|---|---|")
    for file, library, dt, *rates in table():
        shown = " | ".join(", ".join(f"{rate:.4f}" for rate in each) for each in rates)
        print(f"| {file} | {library} | {'' if dt is None else f'{dt:g}'} | {shown} |")
