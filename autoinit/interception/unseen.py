"""Functions that use or change values unseen by a dispatch mode, and tell the construction record of it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..construction import Watch, current_watch, current_watches, tensors_in
from .context import innermost
from .deferring import declare_loaded
from .run import Run, open_runs


def _watch_here() -> Watch | None:
    """What watches the running code, if anything does."""
    run = innermost(Run)
    return run.deferral.watch if run is not None else None


def registering(register: Callable[..., None]) -> Callable[..., None]:
    """`nn.Module.register_parameter`: the moment to watch access to addresses."""

    @functools.wraps(register)
    def register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, param)
        if (watch := current_watch()) is not None:
            watch.watch_functions()

    return register_parameter


def on_trunc_normal(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """torch draws these by rejection, and reads what it has drawn: operators would come in pieces."""
    watch = _watch_here()
    if watch is not None and kwargs.get("generator") is None and len(args) == 5 and watch.postpone_trunc_normal(*args):
        return args[0]
    return wrapped(*args, **kwargs)


def on_generator(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Reading or setting the state of the generator has to find it where it would be."""
    if (watch := _watch_here()) is not None:
        watch.postponed.run_draws()
    return wrapped(*args, **kwargs)


def on_thread(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """What another thread does is not seen: once one gets work, nothing is postponed, and all values are compared."""
    if (watch := _watch_here()) is not None:
        watch.stop_postponing()
        watch.record.all_exposed = True
        for run in open_runs:
            if run.deferral.watch is watch:
                watch.expose(run.tensors())
    return wrapped(*args, **kwargs)


def on_address(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A function in C that hands out memory, of which no mode is told."""
    if (watch := _watch_here()) is not None:
        watch.expose(tensors_in((args, kwargs)))
    return wrapped(*args, **kwargs)


def on_load_state_dict(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A state dict is handed over as data, unless it is one of the block's own models', in a pause as well."""
    state = args[0] if args else kwargs.get("state_dict")
    for watch in current_watches() if isinstance(state, Mapping) else ():
        own = (tensor for run in open_runs if run.deferral.watch is watch for tensor in run.tensors())
        declare_loaded(watch, state, own, "load_state_dict", sys._getframe(1))
    return wrapped(*args, **kwargs)


def on_pretrained(wrapped: Callable[..., nn.Embedding], instance: object, args: Any, kwargs: Any) -> nn.Embedding:
    """Vectors that are handed over as pretrained are data by declaration, wherever they were made."""
    module = wrapped(*args, **kwargs)
    if (watch := _watch_here()) is not None:
        watch.record.declare(module.weight, "from_pretrained", sys._getframe(1))
    return module
