"""Fans of a weight, and its axes: summed over, outputs, kernel, or numbering separate maps."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from torch import Tensor

from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest


@dataclass(frozen=True, kw_only=True)
class Fans:
    """`fan_in` and `fan_out` of one weight, with the name of the convention that read them from its shape."""

    fan_in: float
    fan_out: float
    convention: str

    def __str__(self) -> str:
        return f"in {self.fan_in:g}, out {self.fan_out:g} ({self.convention})"


def torch_fans(shape: Sequence[int]) -> Fans | None:
    """Fans as `torch.nn.init` reads them: axes (out, in, *receptive field); None under two dimensions.

    Example:
        >>> torch_fans((8, 4, 3, 3))
        Fans(fan_in=36, fan_out=72, convention='torch')
        >>> torch_fans((8,)) is None
        True
    """
    if len(shape) < 2:
        return None
    receptive_field = math.prod(shape[2:])
    return Fans(fan_in=shape[1] * receptive_field, fan_out=shape[0] * receptive_field, convention="torch")


REST = "..."
ROLES = {"in": "in", "out": "out", "kernel": "kernel", "stack": "stack", "expert": "stack", "head": "stack"}
"""The words for an axis, and the role that each means."""
ORDER = ("stack", "out", "in", "kernel")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Separate maps of one shape in a weight.

    Args:
        start: first index on the axis that is split, in each repeat.
        size: number of indices on that axis, in each repeat; 0 if no axis is split.
        shape: shape of one map, in torch's order: (out, in, *kernel).
        copies: number of maps: experts, groups.
        fans: fans of each map.
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
        repeats: number of times that the splits follow each other along that axis: 1 for all of q, then all of k; the
            number of heads where each head has its own q, k and v beside each other.
        groups: groups of a convolution, whose first axis holds the channels of all groups.
        fan_in, fan_out: numbers instead of those that follow from the axes.
        label: its name in messages and plans; not part of equality.

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
        if not isinstance(self.axes, str):
            raise ConfigTypeError(f"axes={self.axes!r} must be a string such as 'expert,in,out'.")
        object.__setattr__(self, "axes", ",".join(word.strip() for word in self.axes.split(",")))
        for word in self._words:
            if word == REST:
                raise ConfigError(f"axes={self.axes!r}: '...' stands for what is left, so it must be the last.")
            if word not in ROLES:
                known = ", ".join(ROLES)
                raise ConfigError(f"axes={self.axes!r}: {word!r} is no axis.{nearest(word, ROLES)} Known: {known}.")
        if isinstance(self.splits, Sequence) and not isinstance(self.splits, str):
            object.__setattr__(self, "splits", tuple(_count("splits", size) for size in self.splits))
            if not self.splits:
                raise ConfigError("splits: an empty list. Give a number of parts, or their sizes.")
        else:
            object.__setattr__(self, "splits", _count("splits", self.splits))
        for name in ("repeats", "groups"):
            object.__setattr__(self, name, _count(name, getattr(self, name)))
        for name in ("fan_in", "fan_out"):
            _check_fan(name, getattr(self, name))
        if self._is_split and self.groups > 1:
            raise ConfigError("splits and groups divide the same axis. Give one of them.")
        if self._is_split and "out" not in self._words:
            raise ConfigError(f"splits divide an 'out' axis, and axes={self.axes!r} has none.")

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
        is_in_order = roles == sorted(roles, key=ORDER.index) and "stack" not in roles
        return is_in_order and not self._is_split and self.groups == 1

    @property
    def is_numbers(self) -> bool:
        """Whether it gives numbers and no axes."""
        return bool(self.fan_in or self.fan_out) and self == Layout(fan_in=self.fan_in, fan_out=self.fan_out)

    @property
    def convention(self) -> str:
        """Its name in messages and plans."""
        if self.label:
            return self.label
        _, *others, _ = fields(self)
        shown = [f"{f.name}={getattr(self, f.name)}" for f in others if getattr(self, f.name) != f.default]
        return " ".join(shown if self.axes == "out,in,..." and (self.fan_in or self.fan_out) else [self.axes, *shown])

    def roles(self, shape: Sequence[int]) -> list[str]:
        """The role of each axis of a shape.

        Raises:
            ShapeError: the shape has another number of axes.
        """
        roles = [ROLES[word] for word in self._words]
        if self.axes.endswith(REST):
            roles += ["kernel"] * (len(shape) - len(roles))
        if len(roles) != len(shape):
            raise ShapeError(
                f"fan layout {self.axes!r} is for {len(roles)} axes, and shape {tuple(shape)} has {len(shape)}: "
                "write a word for each axis, or narrow the rule with name= or params=."
            )
        return roles

    def _divided_axis(self, roles: Sequence[str]) -> int:
        wanted = ("out",) if self._is_split else ("in", "out")
        return next((axis for axis, role in enumerate(roles) if role in wanted), 0)

    def parts(self, shape: Sequence[int]) -> tuple[Part, ...]:
        """The maps that a weight of this shape holds.

        Raises:
            ShapeError: splits, repeats or groups do not divide it, or it has another number of axes.
        """
        if self.is_numbers and self.fan_in and self.fan_out:
            fans = Fans(fan_in=self.fan_in, fan_out=self.fan_out, convention=self.convention)
            return (Part(start=0, size=0, shape=tuple(shape), copies=1, fans=fans),)
        roles, sizes = self.roles(shape), list(shape)
        axis, start, found = self._divided_axis(roles), 0, []
        for size in self._split_sizes(shape, axis):
            if self._is_split:
                sizes[axis] = self.repeats * size
            elif self.groups > 1:
                sizes[axis] = _divide(shape, axis, self.groups, f"groups={self.groups}")
            of = {role: [s for s, each in zip(sizes, roles, strict=True) if each == role] for role in ORDER}
            out, in_, field = (math.prod(of[role]) for role in ("out", "in", "kernel"))
            fan_in, fan_out = self.fan_in or in_ * field, self.fan_out or out * field
            fans = Fans(fan_in=fan_in, fan_out=fan_out, convention=self.convention)
            copies = self.groups * math.prod(of["stack"])
            found.append(Part(start=start, size=size, shape=(out, in_, *of["kernel"]), copies=copies, fans=fans))
            start += size
        return tuple(found)

    def _split_sizes(self, shape: Sequence[int], axis: int) -> Sequence[int]:
        if not self._is_split:
            return [0]
        if isinstance(self.splits, int):
            what = f"splits={self.splits}, repeats={self.repeats}"
            return [_divide(shape, axis, self.splits * self.repeats, what)] * self.splits
        if (total := sum(self.splits) * self.repeats) != shape[axis]:
            raise ShapeError(
                f"splits={self.splits} with repeats={self.repeats} make {total}, and the axis that they divide has "
                f"{shape[axis]} in shape {tuple(shape)}."
            )
        return self.splits

    def region(self, tensor: Tensor, part: Part) -> Tensor:
        """The view of a tensor that is one part, its axes in their order."""
        if not self._is_split:
            return tensor
        axis = self._divided_axis(self.roles(tensor.shape))
        return _unflattened(tensor, axis, self.repeats).narrow(axis + 1, part.start, part.size)

    def maps(self, tensor: Tensor, part: Part) -> Iterator[Tensor]:
        """Views of the maps of a part, with their axes in the order out, in, kernel."""
        roles, view = self.roles(tensor.shape), self.region(tensor, part)
        axis = self._divided_axis(roles)
        if self._is_split:
            roles.insert(axis, "out")
        elif self.groups > 1:
            view = _unflattened(view, axis, self.groups)
            roles.insert(axis, "stack")
        view = view.permute([axis for role in ORDER for axis, each in enumerate(roles) if each == role])
        for index in itertools.product(*map(range, view.shape[: roles.count("stack")])):
            yield view[index]


def _unflattened(tensor: Tensor, axis: int, size: int) -> Tensor:
    view: Tensor = tensor.unflatten(axis, (size, -1))  # type: ignore[no-untyped-call]
    return view


def _divide(shape: Sequence[int], axis: int, by: int, what: str) -> int:
    if shape[axis] % by:
        raise ShapeError(f"{what} do not divide an axis of {shape[axis]} in shape {tuple(shape)}.")
    return shape[axis] // by


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
