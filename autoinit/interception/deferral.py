"""Postponed fills of constructors: dropped where a plan replaces them, run before code that no operator shows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import _torch
from ..applying import Application
from ..construction import Postponed, Region, Watch, current_watch, has_memory, plain, tensors_in
from ..fills import calls_function
from ..planning import Load, Plan, loads_rule
from .extents import open_extents
from .scope import Run, extents_here


@contextmanager
def without_replaced_fills(scope: Run, applications: Sequence[Application], *, ends: bool) -> Iterator[None]:
    """Around applying plans: postponed fills that they replace are dropped, others run before.

    The construction record notes meanwhile which block fills. If the code in this context fails, the dropped fills
    run after all. If the block goes on, nothing stays postponed.
    """
    if scope.watch is None:
        yield
        return
    postponed, record = scope.watch.postponed, scope.watch.record
    dropped = postponed.drop(_regions(_replaced(applications, postponed))) if postponed else []
    runs_code = any(not isinstance(step, Load) for each in applications for step in each.plan.steps)
    if runs_code or scope.owns_watch or not ends:
        postponed.run_all()
    elif scope.seed is None and any(draws(each.plan) for each in applications):
        postponed.run_draws()  # The other fills wait for the block around, but for those where a plan writes.
    before, record.writer = record.writer, id(scope)
    try:
        yield
    except BaseException:
        written = _regions(tensor for each in applications for tensor in each.memory(each.outcomes))
        params = (param for each in applications for param in each.targets.params.values())
        tensors = {_torch.storage_id(param): param for param in params if is_plain(param)}
        postponed.run_those([fill for fill in dropped if not fill.lies_in(written)], tensors)
        raise
    finally:
        record.writer = before


def draws(plan: Plan) -> bool:
    """Whether a plan draws any value."""
    return any(entry.fill is not None and entry.fill.is_random for entry in plan.values())


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor with memory of its own in this process."""
    return isinstance(value, Tensor) and not is_lazy(value) and plain(value) is value and has_memory(value)


def _regions(tensors: Iterable[Tensor]) -> dict[int, list[Region]]:
    """The memory of tensors, by storage."""
    regions: dict[int, list[Region]] = {}
    for tensor in tensors:
        regions.setdefault(_torch.storage_id(tensor), []).append(Region.of(tensor))
    return regions


def _replaced(applications: Sequence[Application], postponed: Postponed) -> Iterator[Tensor]:
    """The tensors with postponed fills that a plan overwrites before any code can read them."""
    for each in applications:
        first_code = min((step.rank for step in each.plan.steps if not isinstance(step, Load)), default=(math.inf,))
        for fqn, entry in each.plan.items():
            param = each.targets.params[fqn]
            if fqn in each.targets.weights or not is_plain(param) or _torch.storage_id(param) not in postponed:
                continue
            overwrites = not calls_function(entry.fill) if entry.fill else entry.rule and loads_rule(entry.rule)
            if entry.kept is None and entry.rank < first_code and overwrites:
                yield param


def watch_here() -> Watch | None:
    """The watch over the running code; an observer's is off while a block's is there."""
    watches = [each.watch for each in extents_here()[1] if each.watch is not None]
    return next((watch for watch in watches if not watch.yields), watches[0] if watches else None)


def tensors_of(watch: Watch) -> Iterator[Tensor]:
    """The parameters and buffers with memory of all modules that were built under a watch."""
    for module in (module for each in open_extents if each.watch is watch for module in each.built):
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
    watch = watch_here()
    if watch is not None and kwargs.get("generator") is None and len(args) == 5 and watch.postpone_trunc_normal(*args):
        return args[0]
    return wrapped(*args, **kwargs)


def on_generator(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Run postponed draws before the RNG state is read or set."""
    if (watch := watch_here()) is not None:
        watch.postponed.run_draws()
    return wrapped(*args, **kwargs)


def on_thread(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Once another thread gets work, nothing is postponed, and its writes are found by comparing values."""
    if (watch := watch_here()) is not None:
        watch.stop_postponing()
        watch.record.all_exposed = True
        watch.expose(tensors_of(watch))
    return wrapped(*args, **kwargs)


def on_address(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A function in C that gives away memory without passing through a mode."""
    if (watch := watch_here()) is not None:
        watch.expose(tensors_in((args, kwargs)))
    return wrapped(*args, **kwargs)
