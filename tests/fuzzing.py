"""Every public callable with good, extreme and wrong arguments: what comes back is a sound result or an error of varflow's own.

``make fuzz`` (or ``python tests/fuzzing.py --calls 2000 --seed 0``) draws calls with Hypothesis and makes them in a process of
their own, with limits on its memory and on the time of a call; ``tests/house/test_fuzz.py`` makes a few. The callables are
found by introspection of ``__all__``, their arguments are in ``fuzz_values.py``. A call is a line of source, so that a finding
can be run again as it is.
"""

import argparse
import contextlib
import inspect
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache

import fuzz_values
import mpmath
import numpy as np
import sympy
import torch
from fuzz_values import EXCEPTIONS, GOOD, INSTANCES, NEEDED, ODD
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from matplotlib import pyplot

import varflow as vf

MEMORY = 3 * 2**30  # bytes a call may take
SECONDS = 60.0  # of its own processor time
PATIENCE = 20  # times that for a process that waits, or has to wait for others


def words(text):
    """The words of a text, as a set."""
    return set(text.split())


UNIT = words(
    "firing_rate survival p_value rate mean_rate late_rate escape_rate predicted_survival overlap corrected_survival sf"
)
NOT_NEGATIVE = words("variance variance_std firing_rate firing_rate_std gain weight_std weight_variance spikes pdf")
NOT_NEGATIVE |= words("critical_gain corrected_gain input_gain late_gain prefactor")
# NaN is the documented answer where a statistic does not exist (width 1, no fixed point), infinity where a moment diverges.
UNDEFINED = words("variance_std skewness variance firing_rate_std potential_mean multiplier stable_variance")
UNDEFINED |= words("sf log_sf pdf hazard elasticity largest_threshold from_quasi_stationary gradient_variance z")
UNDEFINED |= words("critical_gain corrected_gain corrected_survival error depth_error area peak width")
UNDEFINED |= words("raster_overlap gradient_norm predicted_gradient_norm gradient_gain gradient_growth dead_gradients")
UNDEFINED |= words("mean width_in_thresholds needed_gain predicted_rate predicted_std predicted_variance predicted_overlap")
UNDEFINED |= words("price values measured_rate fresh_rate unit_gain flips samples persistence correlations")
UNDEFINED |= words("currents direct kept")  # of a layer that a step does not have
UNDEFINED |= words("integer_threshold predicted_survival")  # of neurons that the theory does not cover
BY_KIND = words("error z worst predicted_rate predicted_survival")  # mappings whose keys say nothing about the numbers
ENDLESS = words("depth_scale variance_std basin_edge resolution from_drive from_quasi_stationary multiplier log_sf hazard")
ENDLESS |= words("excess_kurtosis elasticity lower upper gradient_norm persistence_depth")


# What can be called.


@dataclass(frozen=True)
class Door:
    """A public callable: its name without ``vf.``, the sources of what is called, and its parameters with good values."""

    name: str
    sources: tuple
    required: dict
    optional: dict


def public():
    """Pairs of a name and what it stands for, of every room."""
    rooms, seen = [("", vf)], set()
    for prefix, room in rooms:
        for name in room.__all__:
            value = getattr(room, name)
            if isinstance(value, types.ModuleType):
                rooms.append((f"{prefix}{name}.", value))
            elif callable(value) and id(value) not in seen:
                seen.add(id(value))
                yield f"{prefix}{name}", value


def doors():
    """Every door, and what was forgotten: callables with neither good values nor a reason in EXCEPTIONS."""
    found, forgotten = [], []
    for name, value in public():
        if not (name in EXCEPTIONS or _is_answer(value)):
            _add(name, (f"vf.{name}",), value, found, forgotten)
        methods = _methods(value) if isinstance(value, type) and not issubclass(value, BaseException) else []
        if name not in INSTANCES and name not in EXCEPTIONS and methods not in ([], ["to_dict"]):
            forgotten.append(f"{name}: no instance in INSTANCES")
        for method in methods if name in INSTANCES else []:
            if f"{name}.{method}" not in EXCEPTIONS:
                sources = tuple(f"{instance}.{method}" for instance in INSTANCES[name])
                _add(f"{name}.{method}", sources, getattr(value, method), found, forgotten, skip=1)
    return found, forgotten


def _is_answer(value):
    """Results are made by functions and errors are raised: nobody calls them."""
    if not isinstance(value, type):
        return False
    result = value.__module__.startswith("varflow.results") or hasattr(value, "_fields")
    return result or issubclass(value, BaseException | vf.FixedPoint | vf.FixedPoints)


def _methods(kind):
    own = {name for base in kind.__mro__ if base.__module__.startswith("varflow") for name in vars(base)}
    return sorted(name for name in own if not name.startswith("_") and callable(getattr(kind, name)))


def _add(name, sources, function, found, forgotten, skip=0):
    required, optional = {}, {}
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        keys = [f"{name}.{parameter.name}", ".".join([*name.split(".")[-1:], parameter.name]), parameter.name]
        values = next((GOOD[key] for key in keys if key in GOOD), None)
        needed = parameter.default is parameter.empty or parameter.name in NEEDED.get(name, ())
        if values is None:
            forgotten.append(f"{keys[0]}: no good values in GOOD")
        (required if needed else optional)[parameter.name] = values or ["None"]
    found.append(Door(name, sources, required, optional))


# A call is drawn.


@st.composite
def calls(draw, listed):
    """A door, the source of what is called, and the sources of its arguments, up to two of them odd."""
    rng = draw(st.randoms(use_true_random=True))  # one seed of Hypothesis a call: its own choices come back to few doors
    door = rng.choice(listed)
    arguments = {name: rng.choice(values) for name, values in door.required.items()}
    for name in _some(rng, door.optional, 3):
        arguments[name] = rng.choice(door.optional[name])
    for name in _some(rng, door.required | door.optional, 2):
        arguments[name] = rng.choice(rng.choice(ODD))
    return door.name, rng.choice(door.sources), arguments


def _some(rng, names, most):
    return rng.sample(sorted(names), rng.randint(0, min(most, len(names))))


def text(source, arguments):
    """The call as a line of source."""
    return f"{source}({', '.join(f'{name}={value}' for name, value in arguments.items())})"


# A call is made, in the process of the worker.


SOUND, REFUSED = "sound", "refused"


def verdict(source, arguments):
    """``SOUND``, ``REFUSED``, or what is wrong with a call."""
    try:
        target = _value(source)
        values = {name: _value(value) for name, value in arguments.items()}
    except Exception as error:
        return f"the table is wrong: {error!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=UserWarning)  # varflow's own; numpy's are RuntimeWarnings
            result = target(**values)
            found = set(faults(result, source.rpartition(".")[2]))
            if "multi_spike" in source + str(arguments):  # a neuron may spike several times in a step
                found = {each for each in found if not re.search(r"rate outside \[0, 1\]: [0-9.]+ to", each)}
            return "; ".join(sorted(found)) or SOUND
    except (vf.VarflowError, vf.symbolic.DerivationError):
        return REFUSED
    except AssertionError as error:
        return REFUSED if ".assert_" in source else _described(error)
    except OSError as error:
        return _described(error) if error.filename is None else REFUSED  # the system's word on a file
    except BaseException as error:
        return _described(error)
    finally:
        pyplot.close("all")


def _described(error):
    """An error by its place in varflow, or where it came from; one of a function that was an argument is the caller's."""
    frames = traceback.extract_tb(error.__traceback__)
    if frames[-1].filename == "<string>":
        return REFUSED
    inside = [frame for frame in frames if f"{os.sep}varflow{os.sep}" in frame.filename] or frames
    place = f"{os.path.basename(inside[-1].filename)}:{inside[-1].lineno} in {inside[-1].name}"
    return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:150]}"


@cache
def _instance(source):
    """What does not change: evaluated once."""
    return eval(source, vars(fuzz_values))


def _value(source):
    instance, _, method = source.rpartition(".")
    if instance in KEPT:
        return getattr(_instance(instance), method)
    return _instance(source) if source in KEPT else eval(source, vars(fuzz_values))


KEPT = {source for values in INSTANCES.values() for source in values}


def faults(result, name="", depth=0):
    """What is wrong with a result: its numbers, its representation, its ``to_dict``."""
    if depth > 6 or result is None or isinstance(result, (str, bytes, bool, np.bool_)):
        return
    if isinstance(result, (int, float, np.ndarray, np.generic, mpmath.mpf)):
        yield from _wrong_numbers(name, result)
    elif isinstance(result, torch.Tensor):
        if not (result.is_meta or torch.all(torch.isfinite(result))):
            yield f"{name} left numbers that are not finite"
    elif isinstance(result, sympy.Basic):
        if result.has(sympy.nan, sympy.zoo):
            yield f"{name} has no value"
    elif isinstance(result, Mapping):
        for key, value in result.items():
            yield from faults(value, name if name in BY_KIND else str(key), depth + 1)
    elif hasattr(result, "_fields"):  # a named tuple
        for key in result._fields:
            yield from faults(getattr(result, key), key, depth + 1)
    elif isinstance(result, (list, tuple)):
        for value in result:
            yield from faults(value, name, depth + 1)
    elif type(result).__module__.startswith("varflow") and not hasattr(result, "savefig"):  # figures are matplotlib's
        repr(result)
        if depth == 0 and hasattr(result, "to_dict"):
            json.dumps(result.to_dict(), allow_nan=False)
        for key in _read(result):
            with contextlib.suppress(vf.DomainError):  # of what this one does not have
                yield from faults(getattr(result, key), key, depth + 1)


def _read(result):
    """Fields and properties of an object of varflow's."""
    own = {field.name for field in fields(result)} if is_dataclass(result) else set()
    own |= {name for name in dir(type(result)) if isinstance(inspect.getattr_static(type(result), name), property)}
    return sorted(name for name in own if not name.startswith("_"))


def _wrong_numbers(name, numbers):
    array = np.asarray(numbers, dtype=object if isinstance(numbers, int) else None)
    if array.dtype.kind not in "iufbO" or array.size == 0:
        if array.dtype.kind == "c":
            yield f"{name} is complex"
        return
    if array.dtype == object:
        array = np.array([float(min(max(x, -(2**1023)), 2**1023)) for x in array.ravel() if x is not None])
    if name not in UNDEFINED and np.any(np.isnan(array)):
        yield f"{name} is NaN"
    if name not in ENDLESS and np.any(np.isinf(array)):
        yield f"{name} is infinite"
    if name in UNIT and np.any((array < -1e-12) | (array > 1 + 1e-12)):
        yield f"{name} outside [0, 1]: {array.min()} to {array.max()}"
    if name in NOT_NEGATIVE and np.any(array < 0):
        yield f"{name} is negative: {array.min()}"


def _work(pipe, limit):
    """The worker: a verdict for every call that comes in. A call that takes too long ends it."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.chdir(tempfile.gettempdir())
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            source, arguments = pipe.recv()
            signal.setitimer(signal.ITIMER_PROF, limit)
            pipe.send(verdict(source, arguments))


class Worker:
    """A process that makes calls, replaced by a new one when it dies or takes too long."""

    def __init__(self, limit):
        self.limit, self.process = limit, None

    def __call__(self, source, arguments):
        if self.process is None:
            self._start()
        self.pipe.send((source, arguments))
        code = None
        with contextlib.suppress(EOFError):
            if self.pipe.poll(PATIENCE * self.limit):
                return self.pipe.recv()
            code = -signal.SIGPROF
        self.process.join(None if code is None else 0)
        code = code or self.process.exitcode
        self.end()
        return f"took longer than {self.limit:g} s" if code == -signal.SIGPROF else f"the process died with code {code}"

    def _start(self):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.limit), daemon=True)
        self.process.start()
        theirs.close()

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def campaign(listed, number, start, limit=SECONDS, say=lambda line: None):
    """Draw calls and make them: findings as lines by what is wrong, and how often each door answered and refused."""
    work, found, made, done, began = Worker(limit), {}, {}, [], time.monotonic()

    @settings(
        max_examples=number, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @seed(start)
    @given(calls(listed))
    def explore(call):
        name, source, arguments = call
        at = time.monotonic()
        wrong = work(source, arguments)
        made.setdefault(name, {SOUND: 0, REFUSED: 0})
        if wrong in made[name]:
            made[name][wrong] += 1
            wrong = ""
        seconds, line = time.monotonic() - at, text(source, arguments)
        if seconds > limit / 6:
            say(f"{seconds:.0f} s: {line}")
        if wrong:
            lines = found.setdefault(f"{name}: {wrong}", [])
            lines.append(line)
            if len(lines) == 1:
                say(f"{name}: {wrong}\n    {line}")
        done.append(line)
        if len(done) % 100 == 0:
            say(f"{len(done)} of {number} calls, {len(found)} findings, {time.monotonic() - began:.0f} s")

    try:
        explore()
    finally:
        work.end()
    return found, made


# Faults that have to be found.

PLANTED = {
    "raw_error": lambda threshold: 1 / 0,
    "not_a_number": lambda threshold: float("nan"),
    "no_probability": lambda threshold: {"survival": 1.5},
    "negative": lambda threshold: {"variance": np.array([1.0, -1e-9])},
    "warns": lambda threshold: np.float64(1e300) * 1e300,
    "hungry": lambda threshold: bytearray(2**40),
    "endless": lambda threshold: sum(1 for _ in iter(int, 1)),
    "dies": lambda threshold: os.abort(),
}


def planted():
    """Each as a door, called by its name."""
    vars(fuzz_values).update(PLANTED)
    return [Door(name, (name,), {"threshold": ("0.0",)}, {}) for name in PLANTED]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=SECONDS, help="seconds of processor time that one call may take")
    parser.add_argument("--planted", action="store_true", help="call functions with known faults instead, each so often")
    parser.add_argument("--only", default="", help="callables whose name contains this")
    parser.add_argument("--without", nargs="*", default=[], help="callables whose name contains none of these")
    options = parser.parse_args()
    listed, forgotten = (planted(), []) if options.planted else doors()
    listed = [door for door in listed if options.only in door.name and not any(part in door.name for part in options.without)]
    found, made = {}, {}
    for each in [[door] for door in listed] if options.planted else [listed]:
        some, calls = campaign(each, options.calls, options.seed, options.limit, lambda line: print(line, flush=True))
        found, made = found | some, made | calls
    sound, refused = (sum(counts[kind] for counts in made.values()) for kind in (SOUND, REFUSED))
    print(f"{len(made)} of {len(listed)} callables, seed {options.seed}: {sound} sound results, {refused} refusals")
    print(f"{sum(map(len, found.values()))} calls with findings, {len(found)} kinds of them")
    for line in forgotten:
        print("forgotten:", line)
    sys.exit(bool(found or forgotten))


if __name__ == "__main__":
    main()
