"""Corrected gains of common neurons with memory, ``varflow/data/corrected_gains_in_time.csv``, from networks that are drawn.

``make corrected-gains`` writes them (about 8 minutes of one core); ``lookup`` interpolates between them.
"""

import argparse
import itertools
import math
from pathlib import Path

import varflow as vf

NEURONS = (
    vf.neurons.snntorch_leaky(0.5),
    vf.neurons.snntorch_leaky(0.9),
    vf.neurons.spikingjelly_lif(2.0),
)
STEPS, DEPTHS, WIDTHS = (4, 6, 8, 12, 16), (10, 20, 30, 50), (64, 256, math.inf)
ALIVE = ("a late step", "every late step")
SHARP = 0.02
HEADER = "decay,reset,input_scale,steps,alive,depth,width,gain,error"


def gain(neuron, steps, alive, depth, width, networks):
    """A corrected gain and its error; not a number where no gain helps, or layer 1 so nearly decides that none is sharp."""
    if math.isinf(width):
        found = vf.temporal_critical_gain(neuron, steps=steps, depth=depth, alive=alive)
        return found.late_gain, found.error["late_gain"]
    try:
        found = vf.corrected_gain(neuron=neuron, steps=steps, alive=alive, depth=depth, width=width, networks=networks)
    except vf.DomainError:
        return math.nan, math.nan
    return (found.value, found.error) if found.error < SHARP * found.value else (math.nan, math.nan)


def rows(neurons=NEURONS, steps=STEPS, alive=ALIVE, depths=DEPTHS, widths=WIDTHS, networks=500):
    """Lines of the table."""
    for neuron, *cell in itertools.product(neurons, steps, alive, depths, widths):
        values = (neuron.decay, neuron.reset, neuron.input_scale, *cell, *gain(neuron, *cell, networks))
        yield ",".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("varflow/data/corrected_gains_in_time.csv"))
    with parser.parse_args().file.open("w") as file:
        for line in itertools.chain([HEADER], rows()):
            print(line, file=file, flush=True)


if __name__ == "__main__":
    main()
