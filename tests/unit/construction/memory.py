"""What the interpreter of construction programs knows of memory: a number for each element's value, copied with it.

Two tensors hold the same value if their numbers are equal, which is all there is to whole copies: a later fill or write
of a part gives new numbers. NumPy indexing makes the numbers of a view share those of its base, as torch's memory does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Where a value comes from (contract O1). EITHER: the contracts do not say, for example a write through a raw pointer.
NEVER, INIT, DATA, EITHER = range(4)
NAMES = ("never written", "initialization", "data", "either")

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Values:
    """Every value that a program made, by number.

    `fixed`: equal in every run, whatever the generator's state. `seen`: something read it, or wrote data to a part of
    the tensor that held it, so the constructor's value was there at that time.
    """

    def __init__(self) -> None:
        self.origin = np.zeros(0, np.int8)
        self.fixed = np.zeros(0, bool)
        self.seen = np.zeros(0, bool)
        self._transposed: dict[bytes, Numbers] = {}

    def transposed(self, numbers: Numbers) -> Numbers:
        """Number the transposition of a matrix: copies of one matrix transposed are copies of each other."""
        key = numbers.tobytes()
        if key not in self._transposed:
            self.seen[numbers] = True
            self._transposed[key] = self.new(numbers.shape, self.origin[numbers.T], self.fixed[numbers.T], seen=True)
        return self._transposed[key]

    def new(self, shape: tuple[int, ...], origin: object, fixed: object, *, seen: object = False) -> Numbers:
        """Number new values, with one origin for all or one for each."""
        start, count = len(self.origin), int(np.prod(shape))
        for name, value in (("origin", origin), ("fixed", fixed), ("seen", seen)):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.broadcast_to(value, shape).ravel().astype(column.dtype)]))
        return np.arange(start, start + count).reshape(shape)

    def derived(
        self, origin: int, fixed: bool, shape: tuple[int, ...], *inputs: Numbers, seen: object = None
    ) -> Numbers:
        """Number what is computed of other values; elementwise where the shapes agree. It reads them, unless `seen`."""
        same = all(numbers.shape == shape for numbers in inputs)
        origins, all_fixed = np.full(shape, origin), np.full(shape, fixed)
        for numbers in inputs:
            if seen is None:
                self.seen[numbers] = True
            of, is_fixed = self.origin[numbers], self.fixed[numbers]
            if not same:
                of = np.full(shape, DATA if (of == DATA).any() else INIT if (of == INIT).all() else EITHER)
                is_fixed = np.full(shape, is_fixed.all())
            origins = combined(origins, of)
            all_fixed = all_fixed & is_fixed
        return self.new(shape, origins, all_fixed, seen=True if seen is None else seen)

    def as_data(self, numbers: Numbers) -> Numbers:
        """Number the same values as data, which nothing has read since they were written."""
        known = self.seen[numbers] | self.fixed[numbers]
        return self.derived(DATA, True, numbers.shape, numbers, seen=known)


def combined(one: Numbers, other: Numbers) -> Numbers:
    """The origin of what is computed of two values: data taints, and so does memory that was never written."""
    known = (one == INIT) & (other == INIT)
    return np.where((one == DATA) | (other == DATA), DATA, np.where(known, INIT, EITHER))


@dataclass(eq=False)
class Memory:
    """The number of each element's value in a storage that is one tensor; `outside` if it existed before the block."""

    numbers: Numbers
    outside: bool = False


@dataclass(eq=False)
class Slot:
    """A parameter: one object, maybe under several names."""

    memory: Memory
    trainable: bool = True

    @property
    def numbers(self) -> Numbers:
        return self.memory.numbers


@dataclass
class Buffer:
    """A buffer, in its dtype ("float32", or "float16" for a rounded copy)."""

    numbers: Numbers
    dtype: str = "float32"


@dataclass
class World:
    """The model that a program builds: parameters and buffers by name, of weights with `size` rows and columns."""

    size: int
    values: Values = field(default_factory=Values)
    slots: dict[str, Slot] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    """Layers that were built outside the block, whatever memory their parameters got since."""

    def shape(self, name: str) -> tuple[int, ...]:
        return (self.size,) if name.endswith("bias") else (self.size, self.size)

    def make(self, name: str, origin: object, fixed: object, *, outside: bool = False) -> None:
        """Replace a parameter by a new one with new values."""
        self.slots[name] = Slot(Memory(self.values.new(self.shape(name), origin, fixed), outside))

    def write(self, name: str, region: Any, origin: int, fixed: bool, *, derived: bool = False) -> None:
        """Write a parameter in place: all of it (region `...`) or a part."""
        numbers = self.slots[name].numbers
        if self.slots[name].memory.outside:
            origin = DATA  # Whatever is written there, it belongs to somebody else.
        old = numbers[region]
        if isinstance(region, list) and (self.values.origin[numbers] == DATA).any():
            origin = DATA  # Which elements an operator with indices has written is not known.
        # A fill of a part and arithmetic with numbers may be postponed as a fill of the whole: data is written at once.
        if origin != INIT:
            self.values.seen[numbers] |= region is not Ellipsis or derived
        if derived:
            known = self.values.seen[old] | self.values.fixed[old]
            numbers[region] = self.values.derived(origin, fixed, old.shape, old, seen=known)
        else:
            numbers[region] = self.values.new(old.shape, origin, fixed)
