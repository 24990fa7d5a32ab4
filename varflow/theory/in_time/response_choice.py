"""The choice of a response (the method that gives a layer's spikes from its currents) for a neuron."""

from __future__ import annotations

from varflow._checks import DomainError, choice, integer
from varflow.model.network import Network, plain_chain
from varflow.theory.in_time.histories import Histories, longest, uniform_points
from varflow.theory.in_time.orthants import Orthants
from varflow.theory.in_time.quasi_monte_carlo import QuasiMonteCarlo, normal_points
from varflow.theory.in_time.responses import Response

__all__ = ["METHODS", "check_points", "response"]

METHODS = ("auto", "orthants", "quasi_monte_carlo", "histories")
LONGEST = 1000  # steps: work and memory grow with their square


def response(network: Network, method: str, *, points: int, scrambles: int, seed: int) -> Response:
    """The response named by ``method``; for ``auto``, orthants without reset, else quasi-Monte Carlo."""
    neuron = plain_chain(network).neuron
    method = choice("method", method, METHODS)
    points, scrambles, seed = check_points(points, scrambles, seed)
    if network.steps > LONGEST:
        rule = f"must be at most {LONGEST}; if activity becomes stationary, the first {LONGEST} steps show it"
        raise DomainError("steps", network.steps, rule)
    if network.steps == 1 and method not in ("auto", "orthants"):
        raise DomainError("method", method, "needs several steps; a single one is exact with method='auto'")
    normal = neuron.reset_rule.absent or (network.steps == 1 and not neuron.reset_rule.counts)
    if method == "auto":
        method = "orthants" if normal else "quasi_monte_carlo"
    if method != "orthants":
        return _drawn(network, method, points=points, scrambles=scrambles, seed=seed)
    if not normal:
        rule = "needs normal potentials, so reset='none'; with a reset use method='quasi_monte_carlo'"
        raise DomainError("method", method, rule)
    return Orthants(neuron, network.steps)


def _drawn(network: Network, method: str, *, points: int, scrambles: int, seed: int) -> Response:
    if method == "histories":
        most = longest(network.neuron)
        if network.steps > most:
            raise DomainError("method", method, f"is for at most {most} steps of this neuron: use method='quasi_monte_carlo'")
        return Histories(network.neuron, uniform_points(network.steps, points=points, scrambles=scrambles, seed=seed))
    normals = normal_points(network.steps, points=points, scrambles=scrambles, seed=seed)
    return QuasiMonteCarlo(network.neuron, normals, seed)


def check_points(points: int, scrambles: int, seed: int) -> tuple[int, int, int]:
    """Checked sizes of quasi-Monte Carlo."""
    return _power_of_two("points", points), integer("scrambles", scrambles, minimum=2), integer("seed", seed, minimum=0)


def _power_of_two(name: str, value: int) -> int:
    number = integer(name, value, minimum=1)
    if number & (number - 1):
        raise DomainError(name, value, "must be a power of two, for which Sobol points are balanced")
    return number
