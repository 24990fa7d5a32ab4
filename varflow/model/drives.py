"""Drives: the currents, inputs or spikes that the first layer receives.

Independent Gaussian currents, constant (``currents``) or new at every step (``white``); data sent through real first-layer
weights, as numbers (``inputs``, ``inputs_from_file``) or as random spike trains (``spikes``); or currents given as numbers
(``given``). No drive adds a bias to layer 1. Of files, nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from varflow._checks import DomainError, said
from varflow._lazy import names_of
from varflow._memory import room
from varflow._shared import quiet
from varflow.model.drive_kinds import ConstantCurrents, Drive, Given, Inputs, SpikeTrains, White


def currents(std: float = 1.0, *, shape: tuple[int, int, int] | None = None) -> ConstantCurrents:
    """Constant currents ``I ~ N(0, std²)``, one per neuron, drawn anew for every network.

    Parameters
    ----------
    std : float
        Standard deviation of the current, before the neuron's input scale; 0 is no drive.
    shape : tuple of int, optional
        ``(channels, height, width)`` of layer 1 if it is a map, for a network made of ``vf.layers``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.currents(0.5)
    currents(std=0.5)
    """
    return ConstantCurrents(std, shape)


def white(std: float = 1.0, *, shape: tuple[int, int, int] | None = None) -> White:
    """Currents ``I_t ~ N(0, std²)``, independent between neurons and steps, drawn anew for every network.

    Parameters
    ----------
    std : float
        Standard deviation of the current at one step, before the neuron's input scale; 0 is no drive.
    shape : tuple of int, optional
        ``(channels, height, width)`` of layer 1 if it is a map, for a network made of ``vf.layers``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.white(0.5).covariance(2)
    array([[[0.25, 0.  ],
            [0.  , 0.25]]])
    """
    return White(std, shape)


def inputs(x: Any, input_gain: float | None = None) -> Inputs:
    r"""A batch of input vectors, sent through real first-layer weights.

    .. math:: \mathrm{Cov}[I_t, I_{t'} \mid x] = \frac{g_{in}^2}{n_{in}} \sum_j x_{tj} x_{t'j}

    Parameters
    ----------
    x : array, shape (batch, n_in) or (batch, steps, n_in)
        One input vector per row, constant in time, or one per step; booleans count as 0 and 1. Network ``r`` of a
        simulation sees row ``r mod batch``. Maps have shape (batch[, steps], channels, height, width).
    input_gain : float, optional
        ``g_in``. By default ``1/√(mean x²)``: the currents then have variance 1, averaged over the batch (and steps). Not for
        networks whose first layer is a ``Linear`` or ``Conv``: it receives ``x`` itself.

    Raises
    ------
    DomainError
        If ``x`` is not a finite, non-empty table of numbers, or is all zero and ``input_gain`` is not given.

    Notes
    -----
    **Assumes** independent, mean-zero first-layer weights; the covariance is then exact for each input. Inputs differ
    in norm, so each has its own survival probability. **Source**: derived from the layer's definition.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.inputs([[3.0, 4.0], [0.0, 5.0]])
    inputs(2 vectors of 2, input_gain=0.2828)
    >>> vf.drives.inputs([[[3.0, 4.0], [4.0, -3.0]]], input_gain=1.0).covariance(2)
    array([[[12.5,  0. ],
            [ 0. , 12.5]]])
    """
    return Inputs(x, input_gain)


def inputs_from_file(path: str | Path, input_gain: float | None = None) -> Inputs:
    """A drive of input vectors, read from ``.npy``, ``.npz`` (one array) or ``.csv`` (numbers; a header line is skipped).

    Parameters
    ----------
    path : str or Path
        The file; rows are input vectors, or their sequences over time in an array of shape (batch, steps, n_in).
    input_gain : float, optional
        As in :func:`varflow.drives.inputs`.

    Raises
    ------
    DomainError
        If the file is missing, unreadable or ragged, or holds several arrays or anything but finite numbers.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> np.save("inputs.npy", np.eye(2))
    >>> vf.drives.inputs_from_file("inputs.npy")
    inputs(2 vectors of 2, input_gain=1.414)
    """
    return from_file(path, partial(inputs, input_gain=input_gain))


def spikes(rates: Any, input_gain: float | None = None, *, kind: str = "bernoulli") -> SpikeTrains:
    r"""Random spike trains with given rates, sent through real first-layer weights.

    .. math:: \mathrm{Cov}[I_t, I_{t'}] = \frac{g_{in}^2}{n_{in}} \sum_j
              \begin{cases} r_j & t = t' \\ r_j^2 & t \ne t' \end{cases}

    Parameters
    ----------
    rates : array, shape (n_in,) or (batch, n_in)
        Spikes per step of each input, independent between inputs and steps; in [0, 1] for Bernoulli trains. Every network
        has new trains and new weights; network ``r`` of a simulation sees row ``r mod batch``.
    input_gain : float, optional
        ``g_in``. By default ``1/√(mean r)``: the currents then have variance 1 at each step, averaged over the batch.
    kind : str
        ``bernoulli`` (at most one spike a step), or ``poisson`` (counts of any mean; the diagonal is ``r + r²``).

    Raises
    ------
    DomainError
        For rates outside their domain or of another shape, or all zero with no ``input_gain``.

    Notes
    -----
    **Assumes** independent, mean-zero first-layer weights. All neurons of layer 1 see the same trains; the covariance given
    is the mean over trains, from which one network's own departs by a fraction of order ``1/√n_in``. Finite-width results are
    therefore not exact with this drive. **Source**: derived from the layer's definition.

    Examples
    --------
    >>> import varflow as vf
    >>> drive = vf.drives.spikes([0.1, 0.3])
    >>> drive
    spikes(2 trains, mean rate 0.2, input_gain=2.236)
    >>> drive.covariance(2).round(12)
    array([[[1.  , 0.25],
            [0.25, 1.  ]]])
    """
    return SpikeTrains(rates, input_gain, kind)


def given(currents: Any) -> Given:
    """Currents given as numbers, before the neuron's input scale.

    Parameters
    ----------
    currents : array, shape (steps,), (steps, width) or (batch, steps, width)
        One current for all neurons, one for each, or a batch: network ``r`` of a simulation sees entry ``r mod batch``.
        A last axis of length 1 means the same current in all neurons. The network must have these steps, and this width in
        layer 1.

    Raises
    ------
    DomainError
        If they are not finite numbers of one of these shapes.

    Notes
    -----
    They are not Gaussian, so there is no covariance: theory steps layer 1 with these numbers, exactly, and takes infinite
    width from layer 2 on.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.given([1.5, 0.0, 0.0])
    given(3 steps of one current for all neurons)
    """
    return Given(currents)


__all__ = [*names_of(globals()), "ConstantCurrents", "Drive", "Given", "Inputs", "SpikeTrains", "White"]  # pyright: ignore


Made = TypeVar("Made")


def from_file(path: str | Path, make: Callable[[Any], Made]) -> Made:
    """``make(array)`` of the array in a file; a DomainError about its ``x`` becomes one about the file."""
    try:
        file = Path(path)
    except TypeError:
        raise DomainError("path", path, "must be the path of a file") from None
    reader = {".npy": _npy, ".npz": _npz, ".csv": _csv}.get(file.suffix.lower())
    if reader is None:
        raise DomainError("path", str(path), "must be a .npy, .npz or .csv file")
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # a pipe would have to be waited for
            raise DomainError("path", str(path), "is no regular file")
        return make(reader(file))
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
    """numpy's message in one line, without its advice to allow pickles or to use other numpy options."""
    words = said(error, str)
    if "pickle" in words.lower():
        return "it holds Python objects or is damaged, and nothing is unpickled"
    return words.partition("; use ")[0] or type(error).__name__


def _announced(file: Path, content: IO[bytes], size: int) -> None:
    """Raise if the header announces more bytes than the file has or memory can hold."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = header[np.lib.format.read_magic(content)](content)
    except (KeyError, ValueError):  # numpy names the fault when it reads the whole file
        return
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size and not dtype.hasobject:
        raise DomainError("path", str(file), f"announces {wanted} bytes of numbers in {size} bytes: it is cut off or damaged")
    room("path", str(file), wanted, "its numbers")


def _npy(file: Path) -> Any:
    with file.open("rb") as content:
        _announced(file, content, file.stat().st_size)
    return np.load(file, allow_pickle=False)


def _npz(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:  # raises here on what numpy would try to read as another format
        for entry in archive.infolist():
            with archive.open(entry) as content:
                _announced(file, content, entry.file_size)
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
    with quiet():  # an empty file raises by its shape
        return np.loadtxt(file, delimiter=",", ndmin=2, skiprows=int(header), encoding="utf-8-sig")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
