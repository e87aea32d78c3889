"""Fills that are pending because a lazy parameter has no shape yet: kept by module, written when there is a shape.

Modules are referenced weakly, and nothing is put on them or on their parameters.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ..errors import AutoInitError
from ..initializers import Constant, Dirac, Eye, Keep, resolve
from ..layers import is_lazy
from ..modes import without_modes
from ..patches import Patches
from ..planning import PENDING, Entry, Report
from .filling import fill_in
from .seeds import Values
from .targets import Targets

patches = Patches()
"""Installed while any fill is pending."""

_waiting: dict[int, list[Waiting]] = {}
"""By the id of the module."""

_lock = threading.RLock()


@dataclass(eq=False, kw_only=True)
class Waiting:
    """The pending fills of one module, from one application.

    Args:
        module: Weak reference to the module that has the parameters.
        path: FQN of the module.
        values: Source of the random values.
        report: Report to amend when a parameter gets its shape.
        entries: Plan entries by the parameter's name in the module (see `param_of`).
    """

    module: weakref.ref[nn.Module]
    path: str
    values: Values
    report: Report
    entries: dict[str, Entry] = field(default_factory=dict)


def may_draw(entry: Entry) -> bool:
    """Whether the fill of a lazy parameter, which is not known yet, can be random."""
    return entry.deferred is not None and not isinstance(entry.deferred.scheme, (Constant, Dirac, Eye, Keep))


def materialized(entry: Entry, shape: tuple[int, ...]) -> Entry:
    """The entry of a lazy parameter, now that it has a shape.

    Raises:
        ShapeError: its scheme is not defined for this shape.
    """
    if entry.deferred is None:
        return entry
    try:
        found = resolve(entry.deferred.scheme, shape, entry.dtype, entry.deferred.layout)
    except AutoInitError as error:
        raise type(error)(f"{entry.origin}: {entry.fqn}: {error}", origin=entry.origin, fqn=entry.fqn) from error
    return replace(entry, shape=shape, fill=found.fill, fans=found.fans, deferred=None)


def leave(waiting: Waiting) -> None:
    """Leave fills pending, after those that are pending for the same module already."""
    module = waiting.module()
    if module is None:
        return
    with _lock:
        # An id is used again: what is left under it of a module that is gone goes with its finalizer.
        _waiting.setdefault(id(module), []).append(waiting)
        patches.acquire()
        weakref.finalize(module, forget, id(module), waiting).atexit = False


def forget(key: int, waiting: Waiting) -> None:
    """Drop the fills of a module that is gone, or that has all of its shapes."""
    with _lock:
        queue = _waiting.get(key, [])
        if waiting in queue:
            queue.remove(waiting)
            patches.release()
            if not queue:
                del _waiting[key]


def is_waiting(module: nn.Module) -> bool:
    """Whether any parameter of a module has a pending fill."""
    return id(module) in _waiting and bool(queue_of(module))


def queue_of(module: nn.Module) -> list[Waiting]:
    """The pending fills of a module, in the order of the applications."""
    return [waiting for waiting in list(_waiting.get(id(module), ())) if waiting.module() is module]


def param_of(module: nn.Module, name: str) -> Tensor | None:
    """A parameter by its name in a module, which may be dotted: `scales.0`, of a list that is never called itself."""
    *path, last = name.split(".")
    owner: nn.Module | None = module
    for part in path:
        # A copy that is being made has neither modules nor parameters yet.
        owner = None if owner is None else vars(owner).get("_modules", {}).get(part)
    found: Tensor | None = None if owner is None else vars(owner).get("_parameters", {}).get(last)
    return found


def modules_waiting() -> list[nn.Module]:
    """The modules with pending fills."""
    with _lock:
        found = [waiting.module() for queue in _waiting.values() for waiting in queue[-1:]]
    return [module for module in found if module is not None]


def modules_by_param() -> dict[int, list[nn.Module]]:
    """The modules with pending fills, by the ids of the parameters that get them."""
    found: dict[int, list[nn.Module]] = {}
    for module in modules_waiting():
        for name in {name for waiting in queue_of(module) for name in waiting.entries}:
            found.setdefault(id(param_of(module, name)), []).append(module)
    return found


def take(module: nn.Module) -> list[tuple[Waiting, Entry, Tensor]]:
    """End the wait of a module's parameters that have a shape by now; gives them in the order of the applications."""
    taken = []
    with _lock:
        for waiting in queue_of(module):
            for name in list(waiting.entries):
                param = param_of(module, name)
                if param is not None and not is_lazy(param):
                    taken.append((waiting, waiting.entries.pop(name), param))
            if not waiting.entries:
                forget(id(module), waiting)
    # A tied parameter may have been filled in the call of another module.
    return [each for each in taken if each[0].report[each[1].fqn].outcome == PENDING]


def copy_waiting(module: nn.Module, copied: nn.Module) -> None:
    """Leave pending for a copy of a module what is pending for the module; no report is of the copy."""
    if module is copied or is_waiting(copied):
        return
    for waiting in queue_of(module):
        report = replace(waiting.report, entries=dict(waiting.report.entries))
        leave(replace(waiting, module=weakref.ref(copied), report=report, entries=dict(waiting.entries)))


def write(param: Tensor, entry: Entry, values: Values) -> Entry:
    """Write the fill of a parameter that has its shape; gives the entry with shape and fill.

    Raises:
        ShapeError: its scheme is not defined for this shape.
    """
    known = materialized(entry, tuple(param.shape))
    if known.fill is not None:
        targets = Targets(params={entry.fqn: param})
        with without_modes():
            for _ in fill_in([known], targets, values):
                pass
    return known
