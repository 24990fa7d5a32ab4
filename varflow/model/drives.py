"""What the first layer receives.

``currents`` gives every neuron of layer 1 its own Gaussian current; ``inputs`` sends a user's data through real first
weights, ``inputs_from_file`` reads them first (nothing is unpickled). None adds a bias to the driven layer.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from varflow._checks import LARGEST_SCALE, DomainError, frozen, non_negative, positive_scale, real_array, scalar, scale

__all__ = ["Currents", "Inputs", "currents", "inputs", "inputs_from_file"]


@dataclass(frozen=True, slots=True)
class Currents:
    """A Gaussian current per neuron, ``I ~ N(0, std²)``; made by :func:`currents`."""

    std: float

    @property
    def current_variances(self) -> np.ndarray:
        """Variance of the driven layer's currents, one entry per kind of input: here one."""
        return np.array([self.std**2])

    def covariance(self, steps: int) -> np.ndarray:
        """``Cov[I_t, I_t']`` of layer 1's currents, one matrix per kind of input; shape (kinds, steps, steps)."""
        return np.full((1, steps, steps), self.std**2)

    def __repr__(self) -> str:
        return f"currents(std={self.std:g})"


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Input vectors through first-layer weights of standard deviation ``input_gain/√n_in``; made by :func:`inputs`."""

    x: np.ndarray
    input_gain: float

    @property
    def fan_in(self) -> int:
        return self.x.shape[1]

    @property
    def current_variances(self) -> np.ndarray:
        """``input_gain² mean_j x_j²`` for every row: the exact variance of layer 1's currents given that input."""
        return self.input_gain**2 * np.mean(self.x**2, axis=1)

    def covariance(self, steps: int) -> np.ndarray:
        """``Cov[I_t, I_t']`` given each input, held constant; shape (batch, steps, steps)."""
        return np.broadcast_to(self.current_variances[:, None, None], (len(self.x), steps, steps))

    def __repr__(self) -> str:
        return f"inputs({self.x.shape[0]} vectors of {self.fan_in}, input_gain={self.input_gain:.4g})"


def currents(std: float = 1.0) -> Currents:
    """Constant currents ``I ~ N(0, std²)``, one per neuron, drawn anew for every network.

    Parameters
    ----------
    std : float
        Standard deviation of the current, before the neuron's input scale; 0 is a silent drive.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.currents(0.5)
    currents(std=0.5)
    """
    return Currents(scalar("std", non_negative("std", scale("std", std))))


def inputs(x: np.ndarray, input_gain: float | None = None) -> Inputs:
    r"""A batch of input vectors, sent through real first-layer weights.

    .. math:: \mathrm{Var}[I \mid x] = \frac{g_{in}^2}{n_{in}} \sum_j x_j^2

    Parameters
    ----------
    x : array, shape (batch, n_in)
        One input vector per row; truth values count as 0 and 1. Network ``r`` of a simulation sees row ``r mod batch``.
    input_gain : float, optional
        ``g_in``. By default ``1/√(mean x²)``: the currents then have variance 1 in the mean over the batch.

    Raises
    ------
    DomainError
        If ``x`` is not a finite, non-empty table of numbers, or is zero throughout while the gain is left to it.

    Notes
    -----
    **Assumes** independent, mean-zero first-layer weights; the stated variance is then exact for each input. Inputs differ
    in energy, so each has its own survival. **Source**: derived from the layer's definition.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.inputs([[3.0, 4.0], [0.0, 5.0]])
    inputs(2 vectors of 2, input_gain=0.2828)
    """
    array = _table(x)
    if input_gain is None:
        second_moment = float(np.mean(array**2))
        if second_moment < 1e-280:
            size = "zero throughout" if not array.any() else "too small to square"
            raise DomainError("x", f"array of shape {array.shape}", f"is {size}: name input_gain, or give other inputs")
        input_gain = second_moment**-0.5
    return Inputs(frozen(array), scalar("input_gain", positive_scale("input_gain", input_gain)))


def _table(x: Any) -> np.ndarray:
    """A non-empty table of numbers whose squares stay in double precision."""
    binary = getattr(x, "dtype", None) == np.bool_
    array = real_array("x", np.asarray(x, dtype=float) if binary else x)
    if array.ndim != 2 or 0 in array.shape:
        raise DomainError("x", f"array of shape {array.shape}", "must have shape (batch, n_in), one input vector per row")
    if max(array.max(), -array.min()) > LARGEST_SCALE:
        worst = float(array.flat[np.argmax(np.abs(array))])
        raise DomainError("x", worst, f"must be at most {LARGEST_SCALE:g} in size; measure inputs in larger units")
    return array


def inputs_from_file(path: str | Path, input_gain: float | None = None) -> Inputs:
    """A drive of input vectors, read from ``.npy``, ``.npz`` (one array) or ``.csv`` (numbers; a header line is skipped).

    Parameters
    ----------
    path : str or Path
        The file; rows are input vectors.
    input_gain : float, optional
        As in :func:`varflow.drives.inputs`.

    Raises
    ------
    DomainError
        If the file is missing, unreadable, ragged, holds several arrays, or anything but finite numbers.
    """
    file = Path(path)
    reader = {".npy": _npy, ".npz": _npz, ".csv": _csv}.get(file.suffix.lower())
    if reader is None:
        raise DomainError("path", str(path), "must be a .npy, .npz or .csv file")
    try:
        table = reader(file)
        return inputs(table, input_gain)
    except FileNotFoundError:
        raise DomainError("path", str(path), "does not exist") from None
    except OSError as error:
        raise DomainError("path", str(path), f"cannot be read: {error.strerror or 'it is empty or damaged'}") from None
    except DomainError as error:
        if error.argument != "x":
            raise
        raise DomainError("path", str(path), f"holds {_one_line(error.value)}, which {error.rule}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DomainError("path", str(path), f"is not a table of numbers: {_reason(error)}") from None


def _one_line(value: Any) -> str:
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else str(value)
    return " ".join(kind.split())


def _reason(error: Exception) -> str:
    """numpy's words in one line, without its advice to unpickle or to use its own options."""
    words = " ".join(str(error).split())
    if "pickle" in words.lower():
        return "it holds Python objects or is damaged, and nothing is unpickled"
    return words.partition("; use ")[0] or type(error).__name__


def _npy(file: Path) -> Any:
    return np.load(file, allow_pickle=False)


def _npz(file: Path) -> Any:
    with zipfile.ZipFile(file):
        pass  # refuses here what numpy would try to read as something else
    with np.load(file, allow_pickle=False) as archive:
        names = list(archive)
        if len(names) != 1:
            held = f"{len(names)}: {', '.join(names)}" if names else "none"
            raise DomainError("path", str(file), f"must hold one array, not {held}")
        return archive[names[0]]


def _csv(file: Path) -> Any:
    with file.open(encoding="utf-8-sig") as lines:
        first = lines.readline()
    header = bool(first.strip()) and not any(_is_number(cell) for cell in first.split(","))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty file is refused by its shape
        return np.loadtxt(file, delimiter=",", ndmin=2, skiprows=int(header), encoding="utf-8-sig")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
