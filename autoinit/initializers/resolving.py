"""From a scheme and a tensor's description to a fill: read by its layout, checked against its dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..errors import ShapeError
from ..fans import Fans, Layout, torch_fans
from ..fills import Blocks, Constant, Elementwise, Fill, TensorSpec
from .initializer import Initializer

WAY_OUT = "Narrow the rule with name= or params= to leave it out, or write a rule of type 'Keep' for it."


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a tensor gets.

    Args:
        fill: None to leave it as it is.
        fans: those that the scheme was given, one for each kind of map in the weight; empty if it takes no notice.
    """

    fill: Fill | None
    fans: tuple[Fans, ...] = ()


def resolve(scheme: Initializer, shape: tuple[int, ...], dtype: torch.dtype, layout: Layout | None = None) -> Resolved:
    """What a scheme gives to a tensor of this shape and dtype, its axes read by a layout or as torch does.

    Raises:
        ShapeError: the scheme is not defined for such a tensor.

    Example:
        >>> from autoinit.initializers import LeCun
        >>> found = resolve(
        ...     LeCun(distribution="normal"), (400, 100), torch.float32, Layout(axes="in,out")
        ... )
        >>> found.fill, found.fans[0].fan_in
        (Normal(mean=0.0, std=0.05), 400)
    """
    if layout is None:
        fans = torch_fans(shape)
        fill = scheme.fill(TensorSpec(shape=shape, dtype=dtype, fans=fans))
        check_dtype(fill, dtype)
        return Resolved(fill=fill, fans=(fans,) if fans and scheme.reads != "nothing" else ())
    return _by_layout(scheme, shape, dtype, layout)


def _by_layout(scheme: Initializer, shape: tuple[int, ...], dtype: torch.dtype, layout: Layout) -> Resolved:
    parts = layout.parts(shape)
    found = [scheme.fill(TensorSpec(shape=part.shape, dtype=dtype, fans=part.fans)) for part in parts]
    fans = tuple(dict.fromkeys(part.fans for part in parts))
    fills = [fill for fill in found if fill is not None]
    if len(fills) < len(found):
        return Resolved(fill=None, fans=fans)
    for fill in fills:
        check_dtype(fill, dtype)
    first = fills[0]
    if isinstance(first, (Elementwise, Constant)) and all(fill == first for fill in fills):
        return Resolved(fill=first, fans=fans)
    if layout.is_plain and parts[0].shape == shape:
        return Resolved(fill=first, fans=fans)
    return Resolved(fill=Blocks(layout, parts, tuple(fills)), fans=fans)


def check_dtype(fill: Fill | None, dtype: torch.dtype) -> None:
    """Require that values of a dtype can be what a fill makes.

    Raises:
        ShapeError: they cannot; the message says why and what to do instead.
    """
    if fill is None:
        return
    if dtype.is_complex:
        if isinstance(fill, Elementwise):
            raise ShapeError(f"{fill} is not defined for a parameter of dtype {dtype}: use Normal or Constant.")
        _check_range(fill, dtype)
    elif not dtype.is_floating_point:
        kind = (
            "quantized values, which come from a float weight"
            if "qu" in str(dtype) or "qint" in str(dtype)
            else "integers"
        )
        raise ShapeError(f"a parameter of dtype {dtype} holds {kind}; it cannot get {fill}. {WAY_OUT}")
    elif dtype.itemsize == 1 and not _is_signed(dtype):
        raise ShapeError(f"a parameter of dtype {dtype} holds scales or packed values; it cannot get {fill}. {WAY_OUT}")
    else:
        _check_range(fill, dtype)


def _is_signed(dtype: torch.dtype) -> bool:
    try:
        return torch.finfo(dtype).min < 0
    except (TypeError, RuntimeError):  # Two values a byte: torch knows no limits of them.
        return False


def _check_range(fill: Fill, dtype: torch.dtype) -> None:
    largest = abs(fill.value) if isinstance(fill, Constant) else getattr(fill, "largest", None)
    limit = torch.finfo(dtype).max
    if largest is None or not limit < largest < math.inf:
        return
    if isinstance(fill, Constant):
        raise ShapeError(f"Constant: val={fill.value!r} is beyond {dtype}.")
    raise ShapeError(
        f"{fill} reaches {largest:g}, and the largest {str(dtype).removeprefix('torch.')} is {limit:g}: "
        "make it narrower, or keep the parameter in a wider dtype."
    )
