"""The ways to write down in a config what a parameter was filled with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields

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
KAIMING = {2.0: {"nonlinearity": "relu"}, 1.0: {"nonlinearity": "linear"}, 1 / 3: {"a": "sqrt(5)"}}
"""Squared gains of Kaiming, with the arguments that give them."""


@dataclass(frozen=True)
class Written:
    """An initializer as the keys of a rule.

    Args:
        keys: `type`, then its arguments, then `fan` if there is one.
    """

    keys: tuple[tuple[str, object], ...]

    @classmethod
    def of(cls, kind: str, **arguments: object) -> Written:
        """From the `type` and the other keys, in their order; floats are rounded, and a root is written as one."""
        shown = {key: _shown(key, value) if isinstance(value, float) else value for key, value in arguments.items()}
        return cls((("type", kind), *shown.items()))

    @property
    def constant(self) -> float | None:
        """The value of a `Constant`; None for other initializers."""
        keys = dict(self.keys)
        value = keys.get("val")
        return value if keys["type"] == "Constant" and isinstance(value, (int, float)) else None

    @property
    def is_known(self) -> bool:
        """Of an initializer by fan, whether its gain is one that people write: 1, that of ReLU, or torch's default."""
        keys = dict(self.keys)
        return "gain" not in keys and keys.get("scale", 1) in [_rounded(gain) for gain in KAIMING]

    def __str__(self) -> str:
        (_, kind), *arguments = self.keys
        return f"{kind}({', '.join(f'{key}={value}' for key, value in arguments)})"


KEEP = Written.of("Keep")
DEFAULT = Written.of("Default")


def zero_or(value: float) -> Written:
    """A constant."""
    return Written.of("Constant", val=float(value))


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
        try:
            return initializer.fill(TensorSpec(shape=self.shape, dtype=self.dtype, fans=torch_fans(self.shape)))
        except ShapeError:
            return None


def ways_to_write(initializer: Initializer, tensor: TracedTensor) -> Iterator[Written]:
    """The ways to write an initializer for a tensor, those that a person would prefer first.

    Example:
        >>> from autoinit.initializers import Kaiming, Normal
        >>> tensor = TracedTensor(shape=(8, 50), layer_fans=torch_fans((8, 50)))
        >>> for written in ways_to_write(Kaiming(mode="fan_in"), tensor):
        ...     print(written)
        Kaiming(mode=fan_in)
        VarianceScaling(scale=2, distribution=normal)
        >>> for written in ways_to_write(Normal(std=0.0123456), tensor):
        ...     print(written)
        Normal(std=0.0123456)
        VarianceScaling(scale=0.00762069197, distribution=normal)
        VarianceScaling(scale=0.00121931071, mode=fan_out, distribution=normal)
        Xavier(gain=0.0664830906)
    """
    fill = tensor.fill(initializer)
    if fill is None:
        return
    as_called = list(_as_called(initializer, tensor))
    by_fan = list(_by_fan(fill, tensor))
    known = [*_by_position(initializer, tensor), *(written for written in by_fan if written.is_known)]
    if initializer.reads != "nothing" or all(_is_short(value) for written in as_called for _, value in written.keys):
        yield from dict.fromkeys([*as_called, *known])
    else:
        yield from dict.fromkeys([*known, *as_called, *by_fan])


def _as_called(initializer: Initializer, tensor: TracedTensor) -> Iterator[Written]:
    """The initializer itself."""
    kind = next((name for name, factory in registered.items() if factory is type(initializer)), None)
    if kind is None:
        return
    arguments = {
        f.name: getattr(initializer, f.name)
        for f in fields(initializer)
        if f.default is MISSING or getattr(initializer, f.name) != f.default
    }
    if isinstance(initializer, TruncNormal):
        arguments |= {"a": initializer.a, "b": initializer.b}  # They are values, and left out they draw a warning.
    if kind == "Kaiming" and arguments.get("nonlinearity") != "leaky_relu":
        arguments.pop("a", None)
    fans = torch_fans(tensor.shape)
    if initializer.reads != "layer" or fans is None or _are_same(fans, tensor.layer_fans):
        yield Written.of(kind, **arguments)
    if initializer.reads == "layer" and fans is not None:
        yield Written.of(kind, **arguments, fan="torch")


def _by_position(initializer: Initializer, tensor: TracedTensor) -> Iterator[Written]:
    """Normal initializers with a std that falls with the layer's position, or with the depth of the model."""
    if not isinstance(initializer, Normal | TruncNormal) or initializer.mean != 0:
        return
    for name, count in (("layer", tensor.layer), ("depth", tensor.depth)):
        for factor in (2, 1) if count else ():
            divisor = f"sqrt({factor} * {name})" if factor > 1 else f"sqrt({name})"
            root = math.sqrt(factor * (count or 1))
            std = _rounded(initializer.std * root)
            if not _is_short(std):
                continue
            if isinstance(initializer, Normal):
                yield Written.of("Normal", std=f"{std}/{divisor}")
                continue
            yield Written.of("TruncNormal", std=f"{std}/{divisor}", a=initializer.a, b=initializer.b)
            bounds = {"a": _rounded(initializer.a * root), "b": _rounded(initializer.b * root)}
            yield Written.of("TruncNormal", std=std, **bounds, scale=f"1/{divisor}")


def _by_fan(fill: Fill, tensor: TracedTensor) -> Iterator[Written]:
    """Initializers whose numbers follow from the fans."""
    if isinstance(fill, fills.Uniform) and fill.low == -fill.high and tensor.weight_fans is not None:
        yield from _by_weight(fill.high, tensor.weight_fans)
    spread = _spread(fill)
    fans = torch_fans(tensor.shape)
    if spread is None or fans is None or not min(fans.fan_in, fans.fan_out):
        return
    distribution, variance = spread
    yield from _kaiming(distribution, variance, fans)
    agrees = _are_same(fans, tensor.layer_fans)
    for reading, keys in ((fans, {} if agrees else {"fan": "torch"}), (tensor.layer_fans, {})):
        if reading is not None:
            for mode, fan in (("fan_in", reading.fan_in), ("fan_out", reading.fan_out)):
                given = {"mode": mode} if mode != "fan_in" else {}
                shape = {"distribution": distribution} if distribution != "truncated_normal" else {}
                yield Written.of("VarianceScaling", scale=variance * fan, **given, **shape, **keys)
    yield from _xavier(distribution, variance, fans, tensor.layer_fans)


def _by_weight(bound: float, fans: Fans) -> Iterator[Written]:
    """Uniform within 1/sqrt(fan_in) of the weight beside it: torch's default for biases."""
    if fans.fan_in and math.isclose(bound * math.sqrt(fans.fan_in), 1.0, rel_tol=SAME):
        yield Written.of("Uniform", a="-1/sqrt(fan_in)", b="1/sqrt(fan_in)")
        yield Written.of("Uniform", a="-1/sqrt(fan_in)", b="1/sqrt(fan_in)", fan="torch")


def _kaiming(distribution: str, variance: float, fans: Fans) -> Iterator[Written]:
    if distribution == "truncated_normal":
        return
    last = {"distribution": distribution} if distribution != "normal" else {}
    for mode, fan in (("fan_in", fans.fan_in), ("fan_out", fans.fan_out)):
        for gain, arguments in KAIMING.items():
            if math.isclose(variance * fan, gain, rel_tol=SAME):
                first = {"mode": mode} if mode != "fan_out" else {}
                slope = {"nonlinearity": "leaky_relu"} if "a" in arguments else {}
                shown = {} if arguments.get("nonlinearity") == "relu" else arguments
                yield Written.of("Kaiming", **first, **shown, **slope, **last)


def _xavier(distribution: str, variance: float, fans: Fans, layer_fans: Fans | None) -> Iterator[Written]:
    if distribution == "truncated_normal":
        return
    last = {"distribution": distribution} if distribution != "normal" else {}
    agrees = _are_same(fans, layer_fans)
    for reading, keys in ((fans, {}), (None if agrees else layer_fans, {"fan": "layer"})):
        if reading is not None:
            gain = _rounded(math.sqrt(variance * (reading.fan_in + reading.fan_out) / 2))
            yield Written.of("Xavier", **({"gain": gain} if gain != 1 else {}), **last, **keys)


def _spread(fill: Fill) -> tuple[str, float] | None:
    """Distribution and variance of a fill of zero mean that an initializer by fan may give."""
    if isinstance(fill, fills.Normal | fills.ComplexNormal) and fill.mean == 0:
        return "normal", fill.std**2
    if isinstance(fill, fills.Uniform) and fill.low == -fill.high:
        return "uniform", fill.high**2 / 3
    if isinstance(fill, fills.TruncNormal) and fill.loc == 0:
        bounds = (fill.low / fill.scale, fill.high / fill.scale)
        if math.isclose(bounds[0], -2, rel_tol=SAME) and math.isclose(bounds[1], 2, rel_tol=SAME):
            return "truncated_normal", (fill.scale * TRUNCATED_STD) ** 2
    return None


def _are_same(fans: Fans, other: Fans | None) -> bool:
    return other is not None and (fans.fan_in, fans.fan_out) == (other.fan_in, other.fan_out)


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
    one, other = (fill.fill if isinstance(fill, fills.Padded) else fill for fill in (one, other))
    if type(one) is not type(other) or one is None or other is None or isinstance(one, fills.Blocks):
        return one == other
    numbers: Mapping[str, tuple[object, object]] = {
        f.name: (getattr(one, f.name), getattr(other, f.name))
        for f in fields(one)  # type: ignore[arg-type]
    }
    return all(_is_same_number(*pair) for pair in numbers.values())


def _is_same_number(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=SAME, abs_tol=1e-12)
    return one == other
