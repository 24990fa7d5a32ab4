"""Fills: functions that fill a weight tensor in place with independent random weights of a given gain.

They follow ``torch.nn.init``: a trailing underscore, no gradient, the tensor returned. Gains come from ``gains``, ``published``
and :func:`varflow.init.calculate_gain`; whole layers are filled by ``layers``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from varflow._checks import DomainError, non_negative_number, positive_number, real_number, require
from varflow.init.fans import fan_in as fan_in_of

Tensor = Any  # torch is imported where it is needed


def normal_(tensor: Tensor, gain: float = 1.0, *, mean_gain: float = 0.0, fan: Any = None, generator: Any = None) -> Tensor:
    r"""Fill with normal weights of a given gain.

    .. math:: w \sim N(m_g/n,\; g^2/n)

    Parameters
    ----------
    tensor : torch.Tensor
        Of a floating-point dtype, any device, any strides; ``(out, in, *kernel)`` unless ``fan`` is given. Meta tensors are
        unchanged; so are tensors without elements, with a warning.
    gain, mean_gain : float
        ``g = σ_w √n`` and ``m_g = n E[w]``.
    fan : int or torch layer, optional
        ``n``, or a layer for its :func:`varflow.init.fan_in`. By default ``in · kernel`` of the tensor, which is wrong for
        transposed convolutions: give the layer.
    generator : torch.Generator, optional

    Returns
    -------
    torch.Tensor
        The same tensor.

    Raises
    ------
    DomainError
        For values outside their domain, integer tensors, tensors without a fan, tensors that autograd knows to be computed (a
        parametrised layer's weight).

    Notes
    -----
    **Accuracy**: the standard deviation is computed in double precision. Half precision is drawn in single precision and
    rounded, because torch's draws in bfloat16 are on a grid so coarse that it shifts the mean of uniform weights.
    Convolutions: see ``varflow.init``.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> layer = torch.nn.Linear(512, 256)
    >>> weight = vf.init.normal_(layer.weight, vf.gain(threshold=1.0), generator=torch.Generator().manual_seed(0))
    >>> weight is layer.weight, round(float(weight.detach().std()) * 512**0.5, 2)
    (True, 2.51)
    """
    return _fill(tensor, gain, fan, generator, lambda w, std: w.normal_(0.0, std, generator=generator), mean_gain)


def uniform_(tensor: Tensor, gain: float = 1.0, *, mean_gain: float = 0.0, fan: Any = None, generator: Any = None) -> Tensor:
    r"""Fill with uniform weights of a given gain, ``w ~ U(m_g/n ± g √(3/n))``.

    Parameters
    ----------
    tensor, gain, mean_gain, fan, generator
        As in :func:`varflow.init.normal_`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> weight = vf.init.uniform_(torch.empty(100, 300), 2.0)
    >>> bool(weight.abs().max() <= 2 * (3 / 300) ** 0.5)
    True
    """

    def draw(w: Tensor, std: float) -> None:
        w.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std, generator=generator)

    return _fill(tensor, gain, fan, generator, draw, mean_gain)


def truncated_normal_(tensor: Tensor, gain: float = 1.0, *, cut: float = 2.0, fan: Any = None, generator: Any = None) -> Tensor:
    r"""Fill with truncated normal weights, scaled so that they have the gain after truncation.

    .. math:: w = \frac{g}{\sqrt n} \frac{z}{s}, \quad z \sim N(0, 1) \text{ given } |z| \le c, \qquad
              s^2 = 1 - \frac{2 c\, \varphi(c)}{2\Phi(c) - 1}

    Parameters
    ----------
    tensor, gain, fan, generator
        As in :func:`varflow.init.normal_`.
    cut : float
        ``c > 0``, in standard deviations before truncation. ``torch.nn.init.trunc_normal_`` omits ``s``: at ``c = 2`` its
        weights are 12 % too small.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> weight = vf.init.truncated_normal_(torch.empty(100, 300), 2.0)
    >>> bool(weight.abs().max() <= 2 * 2.0 / 300**0.5 / 0.8796)
    True
    """
    c = positive_number("cut", cut)
    inside = math.erf(c / math.sqrt(2))
    s = truncated_std(c)

    def draw(w: Tensor, std: float) -> None:  # by inversion; erfinv(±1) is infinite
        w.uniform_(-inside, inside, generator=generator).erfinv_().mul_(math.sqrt(2)).clamp_(-c, c).mul_(std / s)

    return _fill(tensor, gain, fan, generator, draw)


def truncated_std(cut: float) -> float:
    """Standard deviation of a standard normal variable truncated to ``±cut``."""
    if cut < 0.1:  # the formula below cancels; the series is accurate to 1e-9
        return cut / math.sqrt(3) * (1 - cut**2 / 15)
    density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def sign_(tensor: Tensor, gain: float = 1.0, *, fan: Any = None, generator: Any = None) -> Tensor:
    """Fill with weights ``±g/√n``, each sign with probability 1/2.

    Parameters
    ----------
    tensor, gain, fan, generator
        As in :func:`varflow.init.normal_`. Half precision rounds the magnitude by up to 0.2 % (bfloat16).

    Examples
    --------
    >>> import torch, varflow as vf
    >>> sorted(set(vf.init.sign_(torch.empty(50, 16), 2.0).flatten().tolist()))
    [-0.5, 0.5]
    """

    def draw(w: Tensor, std: float) -> None:
        w.bernoulli_(0.5, generator=generator).mul_(2 * std).sub_(std)

    return _fill(tensor, gain, fan, generator, draw)


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, fan: Any = None, generator: Any = None) -> Tensor:
    r"""Fill with a random orthogonal matrix of a given gain: rows are orthogonal, or columns if there are fewer.

    .. math:: \frac{1}{N} \sum w^2 = \frac{g^2}{n} \quad \text{exactly}, \qquad W W^\top = g^2 I \text{ if } \text{out} \le n

    Parameters
    ----------
    tensor, gain, fan, generator
        As in :func:`varflow.init.normal_`; the tensor has at least two axes, all but the first combined. For ``out > n`` it is
        ``√(out/n)`` times ``torch.nn.init.orthogonal_``, which fixes ``WᵀW`` and so has a smaller gain.

    Notes
    -----
    **Source**: ``saxe2013``; the matrix is uniformly (Haar) distributed. Rows are not independent, as finite-width results
    would need.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> W = vf.init.orthogonal_(torch.empty(3, 5, dtype=torch.float64), 2.0)
    >>> (W @ W.T).round(decimals=6).abs().tolist()
    [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
    """
    torch = require("torch", "torch")
    if isinstance(tensor, torch.Tensor) and tensor.ndim < 2:
        raise DomainError("tensor", tuple(tensor.shape), "must have at least two axes to be made orthogonal")

    def draw(w: Tensor, std: float) -> None:
        rows, columns = w.shape[0], w[0].numel()
        gaussian = torch.empty(rows, columns, dtype=w.dtype, device=w.device).normal_(generator=generator)
        q, r = torch.linalg.qr(gaussian if rows >= columns else gaussian.T)
        q = q * torch.where(r.diagonal() < 0, -1.0, 1.0).to(w.dtype)  # makes the distribution uniform (Haar)
        w.copy_((q if rows >= columns else q.T).reshape(w.shape)).mul_(std * math.sqrt(max(rows, columns)))

    return _fill(tensor, gain, fan, generator, draw)


def _fill(
    tensor: Tensor, gain: float, fan: Any, generator: Any, draw: Callable[[Tensor, float], Any], mean_gain: float = 0.0
) -> Tensor:
    """Check, draw with the standard deviation ``g/√n``, shift by the mean ``m_g/n``."""
    torch = require("torch", "torch")
    g, m_g = non_negative_number("gain", gain), real_number("mean_gain", mean_gain)
    check_floating(tensor)
    check_generator(generator)
    if not tensor.numel():
        warnings.warn("a tensor without elements is unchanged", stacklevel=3)
        return tensor
    n = fan_of(tensor, fan)
    check_representable("gain", g, g / math.sqrt(n), tensor.dtype)
    check_representable("mean_gain", m_g, m_g / n, tensor.dtype)
    if tensor.is_meta:
        return tensor
    with torch.no_grad():
        single = tensor.dtype in (torch.float32, torch.float64)
        work = tensor if single else torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)
        draw(work, g / math.sqrt(n))
        if m_g:
            work.add_(m_g / n)
        if work is not tensor:
            tensor.copy_(work)
    return tensor


def check_representable(name: str, value: float, weight: float, dtype: Any) -> None:
    """Raise if weights of this size would be infinite or 0 in this dtype."""
    info = require("torch", "torch").finfo(dtype)
    if weight and not info.tiny * info.eps <= abs(weight) <= info.max / 100:
        raise DomainError(name, value, f"gives weights of size {abs(weight):.3g}, which {dtype} cannot hold")


def check_generator(generator: Any) -> None:
    """Raise unless ``generator`` is a torch.Generator or None."""
    if generator is not None and not isinstance(generator, require("torch", "torch").Generator):
        raise DomainError("generator", generator, "must be a torch.Generator, such as torch.Generator().manual_seed(0)")


def check_floating(tensor: Tensor) -> None:
    """Raise unless ``tensor`` is a floating-point torch tensor with a shape."""
    torch = require("torch", "torch")
    if not isinstance(tensor, torch.Tensor):
        raise DomainError("tensor", tensor, "must be a torch tensor; for a layer, give its .weight")
    if "Uninitialized" in type(tensor).__name__:
        raise DomainError("tensor", type(tensor).__name__, "has no shape yet: run one batch through its layer first")
    if not tensor.is_floating_point():
        raise DomainError("tensor", str(tensor.dtype), "must be of a floating-point dtype")
    owner = tensor._base if tensor._is_view() else tensor
    if not owner.is_leaf:  # as layer.weight with weight norm
        rule = "is computed from other tensors, so filling it has no effect: fill those, or, where torch's parametrize computes"
        words = f"{rule} it, set layer.weight = vf.init.normal_(layer.weight.detach(), gain)"
        raise DomainError("tensor", tuple(tensor.shape), words)


def fan_of(tensor: Tensor, fan: Any) -> float:
    """Fan-in: the number given, or that of a layer given; by default the product of all axes of the tensor but the first."""
    if fan is None:
        if tensor.ndim < 2:
            raise DomainError("tensor", tuple(tensor.shape), "has fewer than two axes and so no fan-in: give fan=")
        return tensor[0].numel()
    return fan_in_of(fan) if hasattr(fan, "weight") else positive_number("fan", fan)
