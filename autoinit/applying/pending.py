"""Fills of lazy parameters, which wait for a shape: written when torch gives them one.

Nothing is put on a module. While any fill waits, `initialize_parameters` of the lazy classes concerned is wrapped:
torch calls it, at the first forward pass, to give the parameters their shapes and values.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..errors import AutoInitError
from ..initializers import Constant, Dirac, Eye, Keep, resolve
from ..modes import without_modes
from ..patches import Patches
from ..planning import FILLED, LOADED, Entry, Report
from .filling import fill_in
from .targets import Targets
from .values import Values

_patches = Patches()
_waiting: dict[int, list[Waiting]] = {}
_lock = threading.RLock()


@dataclass(eq=False, kw_only=True)
class Waiting:
    """The fills of one lazy module that one application has left for later.

    Args:
        module: weakly.
        entries: by the parameter's name in the module.
        values: where their random values come from.
        report: which will say of them what became of them.
    """

    module: weakref.ref[nn.Module]
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


def wait(report: Report, values: Values, targets: Targets) -> None:
    """Leave the fills of parameters that are lazy still for when they are not."""
    for fqn, entry in report.items():
        if entry.deferred is not None and is_lazy(targets.params[fqn]):
            path, _, name = fqn.rpartition(".")
            _enter(targets.modules[path], name, entry, report, values)


def _enter(module: nn.Module, name: str, entry: Entry, report: Report, values: Values) -> None:
    with _lock:
        queue = _waiting.setdefault(id(module), [])
        if not queue or queue[-1].report is not report:
            queue[:] = [each for each in queue if each.module() is module]
            queue.append(Waiting(module=weakref.ref(module), values=values.fixed(), report=report))
            _patches.acquire()
            weakref.finalize(module, _forget, id(module), queue[-1]).atexit = False
        queue[-1].entries[name] = entry
        owner = next(base for base in type(module).__mro__ if "initialize_parameters" in base.__dict__)
        _patches.also(owner, "initialize_parameters", _on_initialize_parameters)


def _forget(key: int, waiting: Waiting) -> None:
    with _lock:
        queue = _waiting.get(key, [])
        if waiting in queue:
            queue.remove(waiting)
            _patches.release()
            if not queue:
                del _waiting[key]


def _on_initialize_parameters(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    queue = [waiting for waiting in _waiting.get(id(instance), []) if waiting.module() is instance]
    was_lazy = {name for name, param in instance._parameters.items() if param is not None and is_lazy(param)}
    result = wrapped(*args, **kwargs)
    for waiting in queue:
        _forget(id(instance), waiting)
        for name, entry in waiting.entries.items():
            _write(instance, name, entry, waiting, loaded=name not in was_lazy)
    return result


def _write(module: nn.Module, name: str, entry: Entry, waiting: Waiting, *, loaded: bool) -> None:
    param = module._parameters.get(name)
    if param is None:
        return
    known = materialized(entry, tuple(param.shape))
    if not loaded and known.fill is not None:
        targets = Targets(params={entry.fqn: param}, modules={}, fqns={}, weights={})
        with without_modes():
            for _ in fill_in([known], targets, waiting.values):
                pass
    waiting.report.amend(known, LOADED if loaded else FILLED)
