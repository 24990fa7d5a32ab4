"""Layer-sequential unit variance (LSUV): weights scaled layer by layer, from the outputs for a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import (
    ConvergenceError,
    DomainError,
    called,
    choice,
    integer,
    positive_number,
    probability,
    real_array,
    require,
    said,
    scalar,
)
from varflow._restoring import all_or_nothing
from varflow.init.fills import check_generator, check_representable
from varflow.init.layers import FILLS, init_layer_
from varflow.init.published.method import Method

LSUV = Method("lsuv", "LSUV", None, "stability, other data", "mishkin2016", "data")


def lsuv_(
    model: Any,
    inputs: Any,
    *,
    variance: float = 1.0,
    mean: float | None = None,
    fill: str = "orthogonal",
    run: Callable[[Any, Any], Any] | None = None,
    tolerance: float = 0.01,
    iterations: int = 10,
    generator: Any = None,
) -> Any:
    r"""Fill every linear layer and convolution, then scale each so that its output has the wanted variance for a batch.

    .. math:: W \leftarrow W \sqrt{v / \operatorname{Var}[W x]}, \quad \text{from the first layer to the last}

    Parameters
    ----------
    model : torch module
    inputs
        A batch, as ``run`` takes it.
    variance : float
        ``v``: variance of a layer's outputs over batch, neurons and calls (time steps), about their mean.
    mean : float, optional
        Mean of the outputs, set by a common bias of the layer. For memoryless neurons ``θ - √v Q⁻¹(p)`` gives the rate p. By
        default biases are zero; a layer without a bias raises DomainError.
    fill : str
        Distribution of the weights before scaling.
    run : callable, optional
        ``run(model, inputs)`` does one forward pass from a reset state; default ``model(inputs)``. It must reset neurons with
        memory.
    tolerance : float
        Relative, of the variance.
    iterations : int
        Largest number of passes per layer; one is enough unless its output feeds back into its input.
    generator : torch.Generator, optional

    Returns
    -------
    torch module
        The model.

    Raises
    ------
    DomainError
        For values outside their domain, and if a layer's output does not vary (the layers before it are silent).
    ConvergenceError
        If ``iterations`` passes are not enough. After any exception or interrupt the model is unchanged.

    Notes
    -----
    The layer's output (a current) is scaled, not the potential of a neuron with memory. The result depends on the data. The
    variance is preserved, but need not be stable: near an unstable fixed point other data die out or grow.
    **Source**: ``mishkin2016``.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 50), torch.nn.ReLU(), torch.nn.Linear(50, 40))
    >>> x = torch.randn(100, 20, generator=torch.Generator().manual_seed(0))
    >>> round(float(vf.init.lsuv_(model, x)(x).detach().var()), 2)
    1.0
    """
    torch = require("torch", "torch")
    if not isinstance(model, torch.nn.Module):
        raise DomainError("model", model, "must be a torch module")
    v, tolerance = positive_number("variance", variance), probability("tolerance", tolerance, open_ends=True)
    shift = None if mean is None else scalar("mean", real_array("mean", mean))
    choice("fill", fill, FILLS)
    rounds = integer("iterations", iterations, minimum=1)
    check_generator(generator)
    forward: Callable[[Any, Any], Any] = (lambda model, inputs: model(inputs)) if run is None else called("run", run)

    def scaled() -> Any:
        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.modules.conv._ConvNd)):
                init_layer_(module, 1.0, fill=fill, generator=generator)
                if shift is not None and module.bias is not None:
                    check_representable("mean", shift, shift, module.bias.dtype)
                elif shift is not None:
                    raise DomainError("mean", mean, f"needs a bias, but {type(module).__name__} has none")
        with torch.no_grad():
            for name, module in _in_order(torch, model, inputs, forward):
                _scale(torch, name, module, lambda: forward(model, inputs), v, shift, tolerance, rounds)
        return model

    return all_or_nothing([model, generator], scaled)


def _in_order(torch: Any, model: Any, inputs: Any, run: Callable[[Any, Any], Any]) -> list[tuple[str, Any]]:
    """Layers in the order of their first call."""
    seen: dict[Any, str] = {}
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))]
    hooks = [m.register_forward_pre_hook(lambda module, _, name=n: seen.setdefault(module, name) and None) for n, m in layers]
    try:
        run(model, inputs)
    except DomainError:
        raise
    except Exception as error:
        kind = type(inputs).__name__ if not hasattr(inputs, "shape") else f"shape {tuple(inputs.shape)}"
        raise DomainError("inputs", kind, f"do not run through the model: {said(error, str)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return [(name, module) for module, name in seen.items()]


def _scale(
    torch: Any, name: str, module: Any, run: Callable[[], Any], v: float, shift: float | None, tolerance: float, rounds: int
) -> None:
    for passes in range(rounds + 1):
        out = _outputs(torch, module, run)
        var, centre = float(out.var(correction=0)), float(out.mean())
        if not var > 0:
            rule = "is a layer whose output does not vary: nothing reaches it; scale up the inputs"
            raise DomainError("inputs", name, rule)
        aside = 0.0 if shift is None else abs(centre - shift) / v**0.5
        if abs(var / v - 1) <= tolerance and aside <= tolerance:
            return
        if passes == rounds:
            raise ConvergenceError(f"layer {name} has variance {var:.4g}, not {v:.4g}: raise iterations or tolerance", var)
        ratio = (v / var) ** 0.5
        module.weight.mul_(ratio)
        if shift is not None:  # the mean due to the weights is scaled with them
            module.bias.fill_(shift - ratio * (centre - float(module.bias[0])))


def _outputs(torch: Any, module: Any, run: Callable[[], Any]) -> Any:
    caught: list[Any] = []
    hook = module.register_forward_hook(lambda _, __, out: caught.append(out.detach().double().flatten()))
    try:
        run()
    finally:
        hook.remove()
    return torch.cat(caught)
