"""The values of one write: the operator that wrote them, its sources, the line, and initialization or data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FrameType

import torch
import wrapt

from ..errors import PACKAGE

INTERNAL = (*(os.path.dirname(path) + os.sep for path in (torch.__file__, wrapt.__file__)), PACKAGE)
"""Folders of code between the user's line and the operator."""
AUTOINIT = "autoinit"  # The operator of values that autoinit itself has written.
PART = "part"  # The operator of a part of other content.


@dataclass(frozen=True, slots=True)
class Place:
    """A line of code that wrote values."""

    code: CodeType
    line: int
    called: str  # Name of the function of torch that the line called (`load_state_dict`), or "".

    def __str__(self) -> str:
        return f"{os.path.basename(self.code.co_filename)}:{self.line}"

    @classmethod
    def of(cls, frame: FrameType | None) -> Place | None:
        """The first line outside of torch and autoinit, from a frame upwards."""
        called = ""
        while frame is not None:
            name = _name_if_internal(frame.f_code)
            if name is None:
                return cls(frame.f_code, frame.f_lineno, called)
            called = name or called
            frame = frame.f_back
        return None


@lru_cache(maxsize=4096)
def _name_if_internal(code: CodeType) -> str | None:
    """Name of a function of torch or autoinit, "" if private; None for other functions."""
    if not code.co_filename.startswith((*INTERNAL, "<frozen", "<eval_with_key>")):
        return None
    return "" if code.co_name.startswith(("_", "<", "on_", "wrap", "handle_torch")) else code.co_name


@dataclass(eq=False, slots=True)
class Content:
    """The values of one write."""

    operator: str  # Name of the operator that wrote them, as `aten.normal_.default`.
    numbers: tuple[object, ...] = ()  # Its arguments that are not tensors.
    is_data: bool = False  # They are data, and not initialization (contract O1).
    sources: tuple[Content, ...] = field(default=(), repr=False)  # Contents from which they were computed.
    copied_from: Content | None = field(default=None, repr=False)  # Content of which they are a whole copy.
    place: Place | None = None  # Line that wrote them.
    reason: str = ""  # Kind of data: "made outside the block", "gradients", ...
    is_cast: bool = False  # The copy has another dtype or other strides.
    parts: dict[object, Content] | None = field(default=None, repr=False)  # Parts of these values, by their region.

    def describe(self) -> str:
        """Kind and place of data, for a report."""
        called = self.place.called if self.place is not None and self.operator != AUTOINIT else ""
        called = f"torch.{called}" if hasattr(torch, called) else called
        known = ", ".join(filter(None, (called or self.reason, str(self.place or ""))))
        return f"data ({known})" if known else "data"

    def part(self, key: object) -> Content:
        """A part of these values, the same object for the same key; a part of a copy is a copy of that part."""
        if self.parts is None:
            self.parts = {}
        if key not in self.parts:
            copied = self.copied_from.part(key) if self.copied_from is not None and not self.is_cast else None
            self.parts[key] = Content(PART, (key,), self.is_data, (self,), copied, self.place, self.reason)
        return self.parts[key]

    @property
    def whole(self) -> Content:
        """The content of which this is a part, or itself."""
        content = self
        while content.operator == PART:
            content = content.sources[0]
        return content

    def copy(self, operator: str, place: Place | None, *, is_cast: bool = False) -> Content:
        """The same values in other memory, perhaps in another dtype or order."""
        place = (self.place or place) if self.is_data else place
        return Content(operator, (), self.is_data, (), self, place, self.reason, is_cast)

    @property
    def original(self) -> Content:
        """The first content of a chain of copies, or itself."""
        content = self
        while content.copied_from is not None:
            content = content.copied_from
        return content

    def ancestors(self) -> Iterator[Content]:
        """Everything that it was computed from, itself included."""
        seen, left = {id(self)}, [self]
        while left:
            content = left.pop()
            yield content
            for source in content.sources if content.copied_from is None else (*content.sources, content.copied_from):
                if id(source) not in seen:
                    seen.add(id(source))
                    left.append(source)


def outside(reason: str = "made outside the block", place: Place | None = None) -> Content:
    """Values that no operator in the block wrote."""
    return Content("unobserved", is_data=True, place=place, reason=reason)


def computed(
    operator: str, numbers: tuple[object, ...], sources: Sequence[Content], place: Place | None = None, reason: str = ""
) -> Content:
    """The result of an operator: data if one of its sources is, or if a reason is given."""
    data = None
    if sources:
        sources = tuple({id(source): source for source in sources}.values())
        place = place or sources[0].place
        data = next((source for source in sources if source.is_data), None)
    if data is not None and not reason:
        # The line where the data was loaded says more than the line that reshaped it.
        place, reason = data.place or place, data.reason
    return Content(operator, numbers, data is not None or bool(reason), tuple(sources), place=place, reason=reason)
