"""What blocks of the tests compute, in this process or in workers, which import this file and so nothing that takes long."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import varflow as vf
from varflow.campaign.block import encoded
from varflow.campaign.campaign import Store


def squared(x):
    return x * x


def drawn(seed, shape):
    return {"normal": np.random.default_rng(seed).standard_normal(shape), "count": np.arange(seed)}


def failing(x):
    raise vf.DomainError("x", x, "is refused")


def fatal():
    os._exit(7)


def fatal_once(folder):
    try:
        (Path(folder) / "died").touch(exist_ok=False)
    except FileExistsError:
        return "alive"
    os.kill(os.getpid(), signal.SIGKILL)


def waiting(folder, seconds):
    """Leave a file named after this process, then wait for seconds."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def loaded(module):
    return module in sys.modules


def slowly_drawn(seed):
    time.sleep(0.05)
    return drawn(seed, 5)


def fill(file, start):
    with Store(file) as store:
        for i in range(start, start + 40):
            store.put(f"key {i}", "what", encoded(i), 0.0)
            time.sleep(0.001)
