"""What memory holds: the operator that wrote it, what that read, and whether it is initialization or data."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import CodeType, FrameType

import torch
import wrapt

from ..errors import PACKAGE

INTERNAL = (*(os.path.dirname(path) + os.sep for path in (torch.__file__, wrapt.__file__)), PACKAGE)
"""Code between the line that a user wrote and the operator that it led to."""


AUTOINIT = "autoinit"
"""The operator of what autoinit itself has written."""
PART = "part"
"""The operator of a piece of other content."""


class Origin(Enum):
    """Where values came from (contract O1)."""

    INITIALIZATION = "initialization"
    """Numbers, random draws, and what was computed from these in the block."""
    DATA = "data"
    """Everything else: files, NumPy, memory from before the block, other processes, gradients."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of code that wrote values.

    Args:
        code: of the function with that line.
        line: its number.
        called: what the line called, if that is code of torch's: `load_state_dict`.
    """

    code: CodeType
    line: int
    called: str

    def __str__(self) -> str:
        return f"{os.path.basename(self.code.co_filename)}:{self.line}"

    @classmethod
    def of(cls, frame: FrameType | None) -> Place | None:
        """The first line outside of torch and autoinit, from a frame upwards."""
        called = ""
        while frame is not None:
            code = frame.f_code
            name = _name_if_internal(code)
            if name is None:
                return cls(code, frame.f_lineno, _qualified(called))
            called = name or called
            frame = frame.f_back
        return None


@lru_cache(maxsize=4096)
def _name_if_internal(code: CodeType) -> str | None:
    """What a function of torch or autoinit is called, "" if that says nothing; None for functions of others."""
    if not code.co_filename.startswith((*INTERNAL, "<frozen", "<eval_with_key>")):
        return None
    return "" if code.co_name.startswith(("_", "<", "on_", "wrap", "handle_torch")) else code.co_name


@lru_cache(maxsize=1024)
def _qualified(name: str) -> str:
    return f"torch.{name}" if hasattr(torch, name) else name


@dataclass(eq=False, slots=True)
class Content:
    """The values that one write put into memory.

    Args:
        operator: what wrote them, as `aten.normal_.default`.
        numbers: the arguments of the operator that are not tensors.
        origin: initialization or data.
        sources: the contents that they were computed from.
        copied_from: the content that they are a whole copy of, perhaps in another dtype.
        place: the line that wrote them.
        reason: of data, what kind: "made outside the block", "gradients", ...
        is_cast: of a copy, whether its bytes are others.
    """

    operator: str
    numbers: tuple[object, ...] = ()
    origin: Origin = Origin.INITIALIZATION
    sources: tuple[Content, ...] = field(default=(), repr=False)
    copied_from: Content | None = field(default=None, repr=False)
    place: Place | None = None
    reason: str = ""
    is_cast: bool = False
    parts: dict[object, Content] = field(default_factory=dict, repr=False)
    """Contents that are pieces of this one, by their place in it."""

    @property
    def is_data(self) -> bool:
        return self.origin is Origin.DATA

    def describe(self) -> str:
        """Kind and place of data, for a report.

        Example:
            >>> Content("unobserved", origin=Origin.DATA, reason="made outside the block").describe()
            'data (made outside the block)'
        """
        called = self.place.called if self.place is not None and self.operator != AUTOINIT else ""
        known = (called or self.reason, str(self.place) if self.place is not None else "")
        return f"data ({', '.join(filter(None, known))})" if any(known) else "data"

    def part(self, key: object) -> Content:
        """A piece of this content, the same object each time it is asked for; of a copy, a copy of that piece.

        Args:
            key: which piece: the same for the same bytes of the whole.
        """
        found = self.parts.get(key)
        if found is None:
            copied = self.copied_from.part(key) if self.copied_from is not None and not self.is_cast else None
            found = Content(PART, (key,), self.origin, (self,), copied, self.place, self.reason)
            self.parts[key] = found
        return found

    @property
    def whole(self) -> Content:
        """What it is a piece of; itself if of nothing."""
        content = self
        while content.operator == PART:
            content = content.sources[0]
        return content

    def copy(self, operator: str, place: Place | None, *, is_cast: bool = False) -> Content:
        """The same values in other memory, perhaps in another dtype or order."""
        place = (self.place or place) if self.is_data else place
        return Content(operator, (), self.origin, (), self, place, self.reason, is_cast)

    @property
    def original(self) -> Content:
        """What it is a copy of a copy of; itself if it is not a copy."""
        content = self
        while content.copied_from is not None:
            content = content.copied_from
        return content

    def ancestors(self) -> Iterator[Content]:
        """Everything that it was computed from, itself included."""
        seen, waiting = {id(self)}, [self]
        while waiting:
            content = waiting.pop()
            yield content
            read = content.sources if content.copied_from is None else (*content.sources, content.copied_from)
            new = [source for source in read if id(source) not in seen]
            seen.update(map(id, new))
            waiting += new


def outside(reason: str = "made outside the block", place: Place | None = None) -> Content:
    """Values that nobody saw written."""
    return Content("unobserved", origin=Origin.DATA, place=place, reason=reason)


def computed(
    operator: str,
    numbers: tuple[object, ...],
    sources: Collection[Content],
    place: Place | None = None,
    reason: str = "",
) -> Content:
    """The result of an operator: data if anything that it read is, or if a reason is given."""
    sources = tuple({id(source): source for source in sources}.values()) if sources else ()
    data = next((source for source in sources if source.is_data), None)
    if data is not None and not reason:
        # The line where the data came from says more than the line that reshaped it.
        return Content(operator, numbers, Origin.DATA, sources, place=data.place or place, reason=data.reason)
    if place is None and sources:
        place = sources[0].place
    origin = Origin.DATA if reason else Origin.INITIALIZATION
    return Content(operator, numbers, origin, sources, place=place, reason=reason)
