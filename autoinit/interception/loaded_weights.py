"""Loaded weights: state dicts, pretrained vectors and unpickled modules are data, whatever made their values.

What operators show (a copy from memory that is older than the block, a file) is in the construction record already.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from traceback import walk_stack
from typing import Any

from torch import nn

from ..construction import current_watches
from ..patches import PACKAGES
from .deferral import is_plain, tensors_of, watch_here
from .recording import record
from .scope import extents_here


def on_load_state_dict(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Declare a state dict as data, in a pause too, unless its tensors come from models of the block."""
    state = args[0] if args else kwargs.get("state_dict")
    for watch in current_watches() if isinstance(state, Mapping) else ():
        with watch.aside():
            contents = map(watch.record.content, tensors_of(watch))
            own = {id(content.whole.original) for content in contents if content is not None}
            for value in filter(is_plain, state.values()):
                content = watch.record.content(value)
                if content is None or content.is_data or any(id(each) in own for each in content.ancestors()):
                    continue
                watch.record.declare(value, "load_state_dict", sys._getframe(1))
    return wrapped(*args, **kwargs)


def on_pretrained(wrapped: Callable[..., nn.Embedding], instance: object, args: Any, kwargs: Any) -> nn.Embedding:
    """Vectors that are passed as pretrained are data, wherever they were made."""
    module = wrapped(*args, **kwargs)
    if (watch := watch_here()) is not None:
        watch.record.declare(module.weight, "from_pretrained", sys._getframe(1))
    return module


def on_setstate(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    """Record an unpickled module: it was loaded as a whole, and its own rules and `init_weights` do not run."""
    extents = [each for each in extents_here()[1] if instance not in each.built]
    for extent in extents if extents and not _is_copying(instance) else ():
        record(extent, instance)
        extent.built.called.add(id(instance))
        extent.built.carried_out.add(id(instance))
    wrapped(*args, **kwargs)


def _is_copying(instance: nn.Module) -> bool:
    """Whether `copy` sets a state, through `__setstate__` of subclasses and wrappers of other libraries."""
    for frame, _ in walk_stack(sys._getframe(2)):
        file = frame.f_code.co_filename
        if file == copy.__file__:
            return True
        if not file.startswith(PACKAGES) and not any(value is instance for value in frame.f_locals.values()):
            return False
    return False
