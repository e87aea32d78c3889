"""How the axes of a weight are read: which are summed over, which are outputs, and which number separate maps."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
from .fan_in_out import Fans

REST = "..."
ROLES = {"in": "in", "out": "out", "kernel": "kernel", "stack": "stack", "expert": "stack", "head": "stack"}
"""The words for an axis, and what each means."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Separate maps of one shape in a weight.

    Args:
        start: where it begins on the axis that is split, in each repeat.
        size: how much of that axis it has, in each repeat.
        shape: of one map, in torch's order: (out, in, *kernel).
        copies: how many maps it consists of: experts, groups.
        fans: of each.
    """

    start: int
    size: int
    shape: tuple[int, ...]
    copies: int
    fans: Fans


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The axes of a weight, where they are not torch's (out, in, *kernel), or hold several maps.

    Args:
        axes: a word for each axis, separated by commas: `in` is summed over, `out` is not, `kernel` counts for both;
            `stack` (or `expert`, `head`) numbers separate maps. `...` at the end stands for kernel axes.
        splits: separate maps along the first `out` axis, such as q, k and v: a number of equal ones, or their sizes.
        repeats: how often these follow each other along that axis: 1 for all of q, then all of k; the number of heads
            where each head has its own q, k and v beside each other.
        groups: of a convolution: the first axis holds the channels of all groups.
        fan_in, fan_out: numbers instead of those that follow from the axes.
        label: what messages and plans call it; not part of equality.

    Raises:
        ConfigError, ConfigTypeError: a field has a wrong value or type.

    Example:
        >>> Layout(axes="in,out").parts((768, 3072))[0].fans
        Fans(fan_in=768, fan_out=3072, convention='in,out')
        >>> [
        ...     part.fans.fan_out
        ...     for part in Layout(axes="out,in", splits=(64, 16, 16)).parts((96, 64))
        ... ]
        [64, 16, 16]
    """

    axes: str = "out,in,..."
    splits: int | tuple[int, ...] = 1
    repeats: int = 1
    groups: int = 1
    fan_in: float | None = None
    fan_out: float | None = None
    label: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        self._check_axes()
        splits = self.splits
        if isinstance(splits, Sequence) and not isinstance(splits, str):
            splits = tuple(_count("splits", size) for size in splits)
            if not splits:
                raise ConfigError("splits: an empty list. Give a number of parts, or their sizes.")
        else:
            splits = _count("splits", splits)
        object.__setattr__(self, "splits", splits)
        for name in ("repeats", "groups"):
            object.__setattr__(self, name, _count(name, getattr(self, name)))
        for name in ("fan_in", "fan_out"):
            _check_fan(name, getattr(self, name))
        if self._is_split and self.groups > 1:
            raise ConfigError("splits and groups divide the same axis. Give one of them.")
        if self._is_split and "out" not in self._words:
            raise ConfigError(f"splits divide an 'out' axis, and axes={self.axes!r} has none.")

    def _check_axes(self) -> None:
        if not isinstance(self.axes, str):
            raise ConfigTypeError(f"axes={self.axes!r} must be a string such as 'expert,in,out'.")
        object.__setattr__(self, "axes", ",".join(word.strip() for word in self.axes.split(",")))
        for word in self._words:
            if word == REST:
                raise ConfigError(f"axes={self.axes!r}: '...' stands for what is left, so it must be the last.")
            if word not in ROLES:
                raise ConfigError(f"axes={self.axes!r}: {word!r} is no axis.{nearest(word, ROLES)} Known: {KNOWN}.")

    @property
    def _words(self) -> list[str]:
        words = self.axes.split(",")
        return words[:-1] if words[-1] == REST else words

    @property
    def _is_split(self) -> bool:
        return self.splits != 1 or self.repeats != 1

    @property
    def is_plain(self) -> bool:
        """Whether it is one map with its axes in torch's order."""
        roles = [ROLES[word] for word in self._words]
        return (
            not self._is_split and self.groups == 1 and roles == sorted(roles, key=ORDER.index) and "stack" not in roles
        )

    @property
    def is_numbers(self) -> bool:
        """Whether it gives numbers and says nothing of axes."""
        return bool(self.fan_in or self.fan_out) and self == Layout(fan_in=self.fan_in, fan_out=self.fan_out)

    @property
    def convention(self) -> str:
        """What it is called."""
        if self.label:
            return self.label
        shown = [self.axes if self.axes != "out,in,..." or not (self.fan_in or self.fan_out) else ""]
        for name, default in (("splits", 1), ("repeats", 1), ("groups", 1), ("fan_in", None), ("fan_out", None)):
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return " ".join(filter(None, shown))

    def roles(self, shape: Sequence[int]) -> list[str]:
        """What each axis of a shape is.

        Raises:
            ShapeError: the shape has another number of axes.
        """
        roles = [ROLES[word] for word in self._words]
        if self.axes.endswith(REST) and len(shape) > len(roles):
            roles += ["kernel"] * (len(shape) - len(roles))
        if len(roles) != len(shape):
            raise ShapeError(
                f"fan layout {self.axes!r} is for {len(roles)} axes, and shape {tuple(shape)} has {len(shape)}: "
                "write a word for each axis, or narrow the rule with name= or params=."
            )
        return roles

    def parts(self, shape: Sequence[int]) -> tuple[Part, ...]:
        """The maps that a weight of this shape holds.

        Raises:
            ShapeError: splits, repeats or groups do not divide it, or it has another number of axes.
        """
        if self.is_numbers and self.fan_in and self.fan_out:
            fans = Fans(fan_in=self.fan_in, fan_out=self.fan_out, convention=self.convention)
            return (Part(start=0, size=0, shape=tuple(shape), copies=1, fans=fans),)
        roles = self.roles(shape)
        sizes = list(shape)
        copies = math.prod(size for size, role in zip(sizes, roles, strict=True) if role == "stack")
        if self.groups > 1:
            axis = _first(roles, ("in", "out"))
            _divide(sizes[axis], self.groups, f"groups={self.groups}", shape)
            sizes[axis] //= self.groups
            copies *= self.groups
        found = []
        for start, size in self._ranges(shape, roles):
            if self._is_split:
                sizes[roles.index("out")] = self.repeats * size
            found.append(self._part(start, size, sizes, roles, copies))
        return tuple(found)

    def _part(self, start: int, size: int, sizes: Sequence[int], roles: Sequence[str], copies: int) -> Part:
        def of(role: str) -> list[int]:
            return [size for size, each in zip(sizes, roles, strict=True) if each == role]

        out, in_, kernel = math.prod(of("out")), math.prod(of("in")), of("kernel")
        field = math.prod(kernel)
        fans = Fans(
            fan_in=in_ * field if self.fan_in is None else self.fan_in,
            fan_out=out * field if self.fan_out is None else self.fan_out,
            convention=self.convention,
        )
        return Part(start=start, size=size, shape=(out, in_, *kernel), copies=copies, fans=fans)

    def _ranges(self, shape: Sequence[int], roles: Sequence[str]) -> list[tuple[int, int]]:
        if not self._is_split:
            return [(0, 0)]
        whole = shape[roles.index("out")]
        if isinstance(self.splits, int):
            _divide(whole, self.splits * self.repeats, f"splits={self.splits}, repeats={self.repeats}", shape)
            sizes = [whole // (self.splits * self.repeats)] * self.splits
        else:
            sizes = list(self.splits)
            if sum(sizes) * self.repeats != whole:
                raise ShapeError(
                    f"splits={self.splits} with repeats={self.repeats} make {sum(sizes) * self.repeats}, and the axis "
                    f"that they divide has {whole} in shape {tuple(shape)}."
                )
        return list(zip(itertools.accumulate([0, *sizes[:-1]]), sizes, strict=True))

    def region(self, tensor: Tensor, part: Part) -> Tensor:
        """The view of a tensor that is one part, its axes in their order."""
        if not self._is_split:
            return tensor
        axis = self.roles(tensor.shape).index("out")
        return _unflattened(tensor, axis, self.repeats).narrow(axis + 1, part.start, part.size)

    def maps(self, tensor: Tensor, part: Part) -> Iterator[Tensor]:
        """Views of the maps that a part consists of: first what is `out`, then what is `in`, then the kernel."""
        roles = self.roles(tensor.shape)
        view = self.region(tensor, part)
        if self._is_split:
            roles.insert(roles.index("out"), "out")
        if self.groups > 1:
            axis = _first(roles, ("in", "out"))
            view = _unflattened(view, axis, self.groups)
            roles.insert(axis, "stack")
        order = [axis for role in ORDER for axis, each in enumerate(roles) if each == role]
        view = view.permute(order)
        for index in itertools.product(*map(range, view.shape[: roles.count("stack")])):
            yield view[index]


KNOWN = ", ".join(ROLES)
ORDER = ("stack", "out", "in", "kernel")


def _unflattened(tensor: Tensor, axis: int, size: int) -> Tensor:
    view: Tensor = tensor.unflatten(axis, (size, -1))  # type: ignore[no-untyped-call]
    return view


def _first(roles: Sequence[str], wanted: Sequence[str]) -> int:
    return next((axis for axis, role in enumerate(roles) if role in wanted), 0)


def _divide(whole: int, by: int, what: str, shape: Sequence[int]) -> None:
    if whole % by:
        raise ShapeError(f"{what} do not divide an axis of {whole} in shape {tuple(shape)}.")


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ConfigTypeError(f"{name}={value!r} must be a positive integer, not {type(value).__name__}.")
    if value < 1:
        raise ConfigError(f"{name}={value!r} must be at least 1.")
    return int(value)


def _check_fan(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigTypeError(f"{name}={value!r} must be a number, not {type(value).__name__}.")
    if not 0 < float(value) < math.inf:
        raise ConfigError(f"{name}={value!r} must be positive and finite.")
