"""Copies and unpickled modules: made without a constructor, and known to the block all the same."""

from __future__ import annotations

import copy
import copyreg
import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import nn

from ..patches import PACKAGES
from .context import innermost, is_paused_within
from .run import Run, runs_of

_make: Callable[..., Any] = copyreg.__newobj__  # type: ignore[attr-defined]


class Remake:
    """Makes the empty object that a copy of a module starts as, and records it beside its original.

    `copy.deepcopy` calls no constructor. It asks the original how to be made again (`__reduce_ex__`), which is where
    this is handed out; so no module has to carry a mark that copies would inherit and somebody would have to remove.
    """

    def __init__(self, original: nn.Module) -> None:
        self._original = original

    def __call__(self, cls: type[nn.Module], *args: object) -> nn.Module:
        made: nn.Module = _make(cls, *args)
        note_copy(made, self._original)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled inside a block, a module must not need autoinit to be read again.
        return functools.partial, (_make,)


def on_reduce(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    """Record the copy that is about to be made of a module of a block."""
    value = wrapped(*args, **kwargs)
    if isinstance(value, tuple) and value[0] is _make and any(runs_of(instance)):
        return (Remake(instance), *value[1:])
    return value


def on_deepcopy(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    """Record the copy that a class makes in its own way."""
    made = wrapped(*args, **kwargs)
    if isinstance(made, nn.Module) and made is not instance:
        note_copy(made, instance)
    return made


def note_copy(made: nn.Module, original: nn.Module) -> None:
    """Record a copy in the blocks that the original was built in, unless they are paused."""
    for run in runs_of(original):
        if made not in run.built and not is_paused_within(run):
            run.built.add_copy(made, original)


def on_setstate(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    """Unpickling, and copying what was built elsewhere, call this in place of a constructor."""
    run = innermost(Run)
    if run is not None and instance not in run.built and not _is_copying(sys._getframe(1), instance):
        run.notice_unpickled(instance)
    wrapped(*args, **kwargs)


def _is_copying(frame: FrameType | None, instance: nn.Module) -> bool:
    """Whether `copy` sets a state, by way of `__setstate__` of subclasses and what other libraries put around it."""
    while frame is not None and frame.f_code.co_filename != copy.__file__:
        is_between = frame.f_code.co_filename.startswith(PACKAGES)
        if not is_between and not any(value is instance for value in frame.f_locals.values()):
            return False
        frame = frame.f_back
    return frame is not None
