"""Functions that use or change values where no operator shows it: they update the construction record themselves."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ..construction import Watch, current_watch, current_watches, tensors_in
from .extents import observers_here, open_observers
from .replaced_fills import is_plain
from .scope import innermost, open_scopes


def _watch_here() -> Watch | None:
    scope = innermost()
    if scope is not None and scope.watch is not None:
        return scope.watch
    return next((observer.watch for observer in observers_here()), None)


def _tensors_of(watch: Watch) -> Iterator[Tensor]:
    """The parameters and buffers with memory of all modules that were built under a watch."""
    built = [each.built for each in open_scopes if each.watch is watch]
    built += [each.built for each in open_observers if each.watch is watch]
    for module in (module for each in built for module in each):
        for table in (module.__dict__.get("_parameters", {}), module.__dict__.get("_buffers", {})):
            yield from filter(is_plain, table.values())


def registering(register: Callable[..., None]) -> Callable[..., None]:
    """`nn.Module.register_parameter`: the first chance to see address reads if the default device's mode was busy."""

    @functools.wraps(register)
    def register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, param)
        if (watch := current_watch()) is not None:
            watch.watch_functions()

    return register_parameter


def on_trunc_normal(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """torch draws these by rejection and reads what it has drawn, so they are postponed as a whole."""
    watch = _watch_here()
    if watch is not None and kwargs.get("generator") is None and len(args) == 5 and watch.postpone_trunc_normal(*args):
        return args[0]
    return wrapped(*args, **kwargs)


def on_generator(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Run postponed draws before the RNG state is read or set."""
    if (watch := _watch_here()) is not None:
        watch.postponed.run_draws()
    return wrapped(*args, **kwargs)


def on_thread(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Once another thread gets work, nothing is postponed, and its writes are found by comparing values."""
    if (watch := _watch_here()) is not None:
        watch.stop_postponing()
        watch.record.all_exposed = True
        watch.expose(_tensors_of(watch))
    return wrapped(*args, **kwargs)


def on_address(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A function in C that gives away memory without passing through a mode."""
    if (watch := _watch_here()) is not None:
        watch.expose(tensors_in((args, kwargs)))
    return wrapped(*args, **kwargs)


def on_load_state_dict(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Declare a state dict as data, in a pause too, unless its tensors come from models of the block."""
    state = args[0] if args else kwargs.get("state_dict")
    for watch in current_watches() if isinstance(state, Mapping) else ():
        with watch.aside():
            contents = map(watch.record.content, _tensors_of(watch))
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
    if (watch := _watch_here()) is not None:
        watch.record.declare(module.weight, "from_pretrained", sys._getframe(1))
    return module
