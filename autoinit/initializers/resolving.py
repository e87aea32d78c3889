"""From a scheme and a tensor's shape, dtype and layout to a fill."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ..errors import ShapeError
from ..fans import Fans, Layout, Part, torch_fans
from ..fans.layout import REST, ROLES
from ..fills import Blocks, Constant, Elementwise, Fill, TensorSpec
from .initializer import Initializer, needs_of
from .position import NOWHERE, MapNumbers, Position, is_vector

WAY_OUT = "Narrow the rule with name= or params= to leave it out, or write a rule of type 'Keep' for it."


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The fill of one tensor.

    Args:
        fill: None to leave the tensor as it is.
        fans: the fans that the scheme was given, one for each kind of map in the weight; empty if it ignores axes.
    """

    fill: Fill | None
    fans: tuple[Fans, ...] = ()


def resolve(
    scheme: Initializer,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layout: Layout | None = None,
    position: Position = NOWHERE,
) -> Resolved:
    """The fill that a scheme gives to a tensor of this shape and dtype, its axes read by a layout or as torch does.

    Args:
        scheme: The initializer.
        shape: Shape of the tensor.
        dtype: Dtype of the tensor.
        layout: How its axes are read; None for torch's reading.
        position: What the scheme's expressions and lists need to know of the model around the tensor.

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
    needs = needs_of(scheme)
    beside = position.beside
    if beside is not None and beside.shape is not None:
        layout, parts = _bias_parts(shape, beside.shape, beside.layout)
    else:
        parts = layout.parts(shape) if layout is not None else ()
    if needs.lists and is_vector(scheme, shape):
        layout, parts = None, tuple([replace(part, shape=shape) for part in parts[:1]])
    maps = [(part.shape, part.fans) for part in parts] if parts else [(shape, torch_fans(shape))]
    fans = tuple(dict.fromkeys(each for _, each in maps if each is not None)) if needs.fans else ()
    fills = []
    for at, (size, each) in enumerate(maps):
        numbered = scheme
        if needs.fields:
            numbers = MapNumbers(shape=shape, fans=each, position=position, at=at, count=len(maps))
            numbered = numbers.put_into(scheme)
        fill = numbered.fill(TensorSpec(shape=size, dtype=dtype, fans=each))
        if fill is None:
            return Resolved(fill=None, fans=fans)
        _check_dtype(fill, dtype)
        fills.append(fill)
    first = fills[0]
    is_one = isinstance(first, (Elementwise, Constant)) and all(fill == first for fill in fills)
    if layout is None or is_one or (layout.is_plain and maps[0][0] == shape):
        return Resolved(fill=first, fans=fans)
    return Resolved(fill=Blocks(layout, parts, tuple(fills)), fans=fans)


def _bias_parts(
    shape: tuple[int, ...], weight: tuple[int, ...], layout: Layout | None
) -> tuple[Layout | None, tuple[Part, ...]]:
    """The maps in a bias of a shape, with the fans of those in the weight beside it; a layout if there are several.

    None, and no maps, if the weight has no fans.
    """
    of_weight = layout.parts(weight) if layout is not None else ()
    if layout is None or len(of_weight) == 1:
        fans = of_weight[0].fans if of_weight else torch_fans(weight)
        return None, () if fans is None else (Part(start=0, size=0, shape=shape, copies=1, fans=fans),)
    words = [word for word in layout.axes.split(",") if word != REST and ROLES[word] in ("stack", "out")]
    found = Layout(axes=",".join(words), splits=layout.splits, repeats=layout.repeats, label=layout.label)
    of_bias = zip(found.parts(shape), of_weight, strict=True)
    return found, tuple([replace(part, shape=part.shape[:1], fans=other.fans) for part, other in of_bias])


def _check_dtype(fill: Fill, dtype: torch.dtype) -> None:
    """Require that a dtype can hold the values of a fill."""
    name = str(dtype)
    if dtype.is_complex and isinstance(fill, Elementwise):
        raise ShapeError(f"{fill} is not defined for a parameter of dtype {name}: use Normal or Constant.")
    if not dtype.is_complex and not dtype.is_floating_point:
        kind = "quantized values, which come from a float weight" if "qu" in name or "qint" in name else "integers"
        raise ShapeError(f"a parameter of dtype {name} holds {kind}; it cannot get {fill}. {WAY_OUT}")
    if dtype.itemsize == 1 and not _is_signed(dtype):
        raise ShapeError(f"a parameter of dtype {name} holds scales or packed values; it cannot get {fill}. {WAY_OUT}")
    largest = abs(fill.value) if isinstance(fill, Constant) else getattr(fill, "largest", None)
    limit = torch.finfo(dtype).max
    if largest is None or not limit < largest < math.inf:
        return
    if isinstance(fill, Constant):
        raise ShapeError(f"Constant: val={fill.value!r} is beyond {name}.")
    raise ShapeError(
        f"{fill} reaches {largest:g}, and the largest {name.removeprefix('torch.')} is {limit:g}: "
        "make it narrower, or keep the parameter in a wider dtype."
    )


def _is_signed(dtype: torch.dtype) -> bool:
    try:
        return torch.finfo(dtype).min < 0
    except (TypeError, RuntimeError):  # torch has no finfo for dtypes that pack two values into a byte.
        return False
