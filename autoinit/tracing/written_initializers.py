"""The ways to write down in a config what a parameter was filled with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from typing import TypeAlias

import torch

from .. import fills
from ..errors import ShapeError
from ..fans import Fans, torch_fans
from ..fills import Fill, TensorSpec
from ..initializers import Initializer, Normal, TruncNormal, registered
from ..initializers.variance import TRUNCATED_STD

DIGITS = 9
"""Significant digits of a number in a written config: enough to give the same float32 values."""
SHORT = 4
"""A number with so many digits or fewer was written by a person; a longer one was computed."""
SAME = 1e-6
"""Numbers of two fills that differ by less, relative to the larger one, are the same."""
ROOTS = 100
"""The square root of an integer below this is written as a root."""
KAIMING: dict[float, dict[str, object]] = {
    2.0: {},
    1.0: {"nonlinearity": "linear"},
    1 / 3: {"a": "sqrt(5)", "nonlinearity": "leaky_relu"},
}
"""Squared gains of Kaiming, with the arguments that give them."""

Written: TypeAlias = tuple[tuple[str, object], ...]
"""An initializer as the keys of a rule: `type`, then its arguments, then `fan` if there is one."""


def written(kind: str, **arguments: object) -> Written:
    """An initializer as keys; floats are rounded, and a root is written as one."""
    shown = {key: _shown(key, value) if isinstance(value, float) else value for key, value in arguments.items()}
    return (("type", kind), *shown.items())


KEEP, DEFAULT, ZERO = written("Keep"), written("Default"), written("Constant", val=0)


def constant_of(way: Written | None) -> float | None:
    """The value of a `Constant`; None for other initializers."""
    keys = dict(way or ())
    value = keys.get("val")
    return value if isinstance(value, (int, float)) else None


def implied_bias(way: Written) -> Written:
    """What a rule without the key `bias` gives to a bias beside a weight."""
    return way if way in (KEEP, DEFAULT) else ZERO


@dataclass(frozen=True, kw_only=True)
class TracedTensor:
    """What the ways to write an initializer depend on, besides the initializer.

    Args:
        shape: Shape of the parameter.
        dtype: Its dtype.
        layer_fans: Fans by the convention of its layer; None if it has several maps with fans of their own.
        weight_fans: Of a bias, the fans of the weight beside it as torch reads them.
        layer: Position in the list of like modules around it, from 1; None if there is no list.
        depth: Length of that list.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    layer_fans: Fans | None = None
    weight_fans: Fans | None = None
    layer: int | None = None
    depth: int | None = None

    def fill(self, initializer: Initializer) -> Fill | None:
        """What an initializer gives it, with fans as torch reads them; None if it is not defined for it."""
        with suppress(ShapeError):
            return initializer.fill(TensorSpec(shape=self.shape, dtype=self.dtype, fans=torch_fans(self.shape)))
        return None


def ways_to_write(initializer: Initializer, tensor: TracedTensor) -> list[Written]:
    """The ways to write an initializer for a tensor, those that a person would prefer first.

    Some may give other values, because the layer reads its axes in a way of its own: planning shows it.

    Example:
        >>> from autoinit.initializers import Kaiming, Normal
        >>> tensor = TracedTensor(shape=(8, 50), layer_fans=torch_fans((8, 50)))
        >>> for way in ways_to_write(Normal(std=0.2), tensor):
        ...     print(*(f"{key}={value}" for key, value in way))
        type=Normal std=0.2
        type=Kaiming mode=fan_in
        type=VarianceScaling scale=2 distribution=normal
    """
    fill = tensor.fill(initializer)
    if fill is None:
        return []
    as_called, by_fan = list(_as_called(initializer)), list(_by_fan(fill, tensor))
    known = [*_by_position(initializer, tensor), *filter(_has_known_gain, by_fan)]
    if initializer.reads != "nothing" or all(_is_short(value) for way in as_called for _, value in way):
        return list(dict.fromkeys([*as_called, *known]))
    return list(dict.fromkeys([*known, *as_called, *by_fan]))


def _as_called(initializer: Initializer) -> Iterator[Written]:
    """The initializer itself."""
    kind = next((name for name, factory in registered.items() if factory is type(initializer)), None)
    if kind is not None:
        given = {each.name: (getattr(initializer, each.name), each.default) for each in fields(initializer)}
        arguments = {name: value for name, (value, default) in given.items() if default is MISSING or value != default}
        if isinstance(initializer, TruncNormal):
            arguments |= {"a": initializer.a, "b": initializer.b}  # They are values, and left out they draw a warning.
        yield written(kind, **arguments)
        if initializer.reads == "layer":
            yield written(kind, **arguments, fan="torch")


def _by_position(initializer: Initializer, tensor: TracedTensor) -> Iterator[Written]:
    """Normal initializers with a std that falls with the layer's position, or with the depth of the model."""
    if not isinstance(initializer, Normal | TruncNormal) or initializer.mean != 0:
        return
    for name, count in (("layer", tensor.layer), ("depth", tensor.depth)):
        for factor, divisor in ((2, f"sqrt(2 * {name})"), (1, f"sqrt({name})")):
            root = math.sqrt(factor * (count or 0))
            std = _rounded(initializer.std * root)
            if not count or not _is_short(std):
                continue
            if isinstance(initializer, Normal):
                yield written("Normal", std=f"{std}/{divisor}")
            else:
                yield written("TruncNormal", std=f"{std}/{divisor}", a=initializer.a, b=initializer.b)
                bounds = {"a": initializer.a * root, "b": initializer.b * root}
                yield written("TruncNormal", std=std, **bounds, scale=f"1/{divisor}")


def _by_fan(fill: Fill, tensor: TracedTensor) -> Iterator[Written]:
    """Initializers whose numbers follow from the fans."""
    distribution, variance = _spread(fill)
    fans, beside, by_layer = torch_fans(tensor.shape), tensor.weight_fans, tensor.layer_fans
    if fans is None:
        if beside is not None and distribution == "uniform" and _is_close(3 * variance * beside.fan_in, 1.0):
            yield written("Uniform", a="-1/sqrt(fan_in)", b="1/sqrt(fan_in)")  # Torch's default for biases.
        return
    if not distribution or not min(fans.fan_in, fans.fan_out):
        return
    last = {"distribution": distribution} if distribution != "normal" else {}
    if distribution != "truncated_normal":
        for mode, fan in (({"mode": "fan_in"}, fans.fan_in), ({}, fans.fan_out)):
            known = (arguments for gain, arguments in KAIMING.items() if _is_close(variance * fan, gain))
            yield from (written("Kaiming", **mode, **arguments, **last) for arguments in known)
    if by_layer is not None:
        shape = {"distribution": distribution} if distribution != "truncated_normal" else {}
        yield written("VarianceScaling", scale=variance * by_layer.fan_in, **shape)
        yield written("VarianceScaling", scale=variance * by_layer.fan_out, mode="fan_out", **shape)
    if distribution != "truncated_normal":
        gain = _rounded(math.sqrt(variance * (fans.fan_in + fans.fan_out) / 2))
        yield written("Xavier", **({"gain": float(gain)} if gain != 1 else {}), **last)


def _has_known_gain(way: Written) -> bool:
    """Whether the gain of an initializer by fan is one that people write: 1, that of ReLU, or torch's default."""
    keys = dict(way)
    return "gain" not in keys and keys.get("scale", 1) in [_rounded(gain) for gain in KAIMING]


def _spread(fill: Fill) -> tuple[str, float]:
    """Distribution and variance of a fill of zero mean that an initializer by fan may give; `""` for other fills."""
    if isinstance(fill, fills.Normal | fills.ComplexNormal) and fill.mean == 0:
        return "normal", fill.std**2
    if isinstance(fill, fills.Uniform) and fill.low == -fill.high:
        return "uniform", fill.high**2 / 3
    if isinstance(fill, fills.TruncNormal) and fill.loc == 0 and fill.low == -fill.high:
        return (
            ("truncated_normal", (fill.scale * TRUNCATED_STD) ** 2) if _is_close(fill.high / fill.scale, 2) else ("", 0)
        )
    return "", 0


def _shown(key: str, value: float) -> float | int | str:
    """A number of an initializer; a gain or slope that is a square root as one."""
    squared = value**2
    if key in ("a", "gain") and 2 <= squared < ROOTS and math.isclose(squared, round(squared), rel_tol=1e-9):
        return _rounded(value) if value.is_integer() or value < 0 else f"sqrt({round(squared)})"
    return _rounded(value)


def _rounded(value: float) -> float | int:
    """A float with `DIGITS` digits; an integer if it is one, because configs are read by people."""
    if not math.isfinite(value):
        return value
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded


def _is_short(value: object) -> bool:
    return not isinstance(value, float) or value == float(f"{value:.{SHORT}g}")


def is_same_fill(one: Fill | None, other: Fill | None) -> bool:
    """Whether two fills give the same values, up to rounding of their numbers; rows for padding are left aside.

    Example:
        >>> is_same_fill(fills.Normal(0.0, 0.02), fills.Normal(0.0, 0.02 + 1e-12))
        True
    """
    first, second = (fill.fill if isinstance(fill, fills.Padded) else fill for fill in (one, other))
    if type(first) is not type(second) or first is None or isinstance(first, fills.Blocks):
        return bool(first == second)
    names = [each.name for each in fields(first)]  # type: ignore[arg-type]
    return all(_is_close(getattr(first, name), getattr(second, name)) for name in names)


def _is_close(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return one == other or math.isclose(one, other, rel_tol=SAME, abs_tol=1e-12)
    return one == other
