"""Fills that are pending because a lazy parameter has no shape yet: kept by module, written when there is a shape.

Modules are referenced weakly, and nothing is put on them or on their parameters.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ..errors import AutoInitError
from ..initializers import Constant, Default, Dirac, Eye, Initializer, Keep, Resolved, resolve
from ..initializers.defaults import default_of
from ..initializers.scaled import unscaled, with_default
from ..layers import is_lazy
from ..modes import without_modes
from ..patches import Patches
from ..planning import PENDING, Entry, Report
from .filling import fill
from .seeds import Values
from .targets import Targets

patches = Patches()
"""Installed while any fill is pending."""

_lock = threading.RLock()


@dataclass(eq=False, kw_only=True)
class Pending:
    """The pending fills of one module, from one application: entries by the parameter's name, which may be dotted.

    `module` is the one whose call gives the parameters their shapes, `path` its FQN; the report is amended then.
    """

    module: weakref.ref[nn.Module]
    path: str
    values: Values
    report: Report
    entries: dict[str, Entry] = field(default_factory=dict)

    def leave(self) -> None:
        """Leave the fills pending, after those that are pending for the same module already."""
        module = self.module()
        if module is not None:
            with _lock:
                # An id is used again: the finalizer removes what is left under it.
                _pending.setdefault(id(module), []).append(self)
                patches.acquire()
                weakref.finalize(module, self.forget, id(module)).atexit = False

    def forget(self, key: int) -> None:
        """Drop the fills of a module that is gone, or that has all of its shapes."""
        with _lock:
            fills = _pending.get(key, [])
            if self in fills:
                fills.remove(self)
                patches.release()
                if not fills:
                    del _pending[key]

    def materialized(self, module: nn.Module) -> Iterator[tuple[str, Entry, nn.Module, Tensor]]:
        """Name, entry, layer and tensor of the parameters that have a shape now."""
        for name, entry in list(self.entries.items()):
            owner, param = owner_and_param(module, name)
            if param is not None and not is_lazy(param):
                yield name, entry, owner, param

    def write(self, entry: Entry, param: Tensor) -> None:
        """Write the fill, if there is one, to a parameter that has its shape."""
        with without_modes():
            fill([entry], Targets({entry.fqn: param}, {}, {}), self.values, {})


_pending: dict[int, list[Pending]] = {}
"""By the id of the module."""


def with_shape(entry: Entry, param: Tensor, owner: nn.Module) -> Entry:
    """The entry of a formerly lazy parameter that now has a shape; `owner` is its layer.

    Raises:
        ShapeError: The initializer is not defined for this shape.
    """
    shape, deferred = tuple(param.shape), entry.deferred
    chosen = deferred.fitting(len(shape)) if deferred is not None else None
    if chosen is None:
        return replace(entry, shape=shape, rule=None, fill=None, overrides=(), deferred=None)
    rule, overrides, position = chosen.rule, entry.overrides, chosen.position
    if chosen is not deferred:
        overrides = tuple(each for each in overrides if each is not rule and each.fits(len(shape)))
    if position.beside is not None and position.beside.shape is None:
        weight = owner_and_param(owner, position.beside.name)[1]
        if weight is not None and not is_lazy(weight):
            position = replace(position, beside=replace(position.beside, shape=tuple(weight.shape)))
    scheme: Initializer | None = chosen.scheme
    try:
        if isinstance(unscaled(chosen.scheme), Default):
            # Without a closed form it stays as the layer's own code has made it, which is its default.
            scheme = with_default(chosen.scheme, default_of(owner, entry.fqn.rpartition(".")[2]))
        found = Resolved(fill=None)
        if scheme is not None:
            found = resolve(scheme, shape, entry.dtype, chosen.layout, position)
    except AutoInitError as error:
        raise type(error)(f"{rule.origin}: {entry.fqn}: {error}", origin=rule.origin, fqn=entry.fqn) from error
    known = replace(entry, shape=shape, rule=rule, overrides=overrides, rank=chosen.rank, deferred=None)
    return replace(known, fill=found.fill, fans=found.fans)


def may_draw(entry: Entry) -> bool:
    """Whether the fill of a lazy parameter, which is not known yet, can be random."""
    deferred = entry.deferred
    while deferred is not None and isinstance(unscaled(deferred.scheme), (Constant, Dirac, Eye, Keep)):
        deferred = deferred.otherwise
    return deferred is not None


def pending_of(module: nn.Module) -> list[Pending]:
    """The pending fills of a module, in the order of the applications."""
    return [each for each in list(_pending.get(id(module), ())) if each.module() is module]


def pending_modules() -> list[nn.Module]:
    """The modules with pending fills."""
    with _lock:
        found = [fills[-1].module() for fills in _pending.values()]
    return [module for module in found if module is not None]


def owner_and_param(module: nn.Module, name: str) -> tuple[nn.Module, Tensor | None]:
    """A layer and its parameter, by a name that may be dotted: `scales.0`, of a list that is never called itself."""
    *path, last = name.split(".")
    for part in path:
        # A copy that is being made has neither modules nor parameters yet.
        below = vars(module).get("_modules", {}).get(part)
        if below is None:
            return module, None
        module = below
    return module, vars(module).get("_parameters", {}).get(last)


def take(module: nn.Module) -> list[tuple[Pending, Entry, nn.Module, Tensor]]:
    """Remove the pending fills of parameters that have a shape: entry, layer and tensor of each, in order."""
    taken = []
    with _lock:
        for pending in pending_of(module):
            for name, entry, owner, param in pending.materialized(module):
                del pending.entries[name]
                taken.append((pending, entry, owner, param))
            if not pending.entries:
                pending.forget(id(module))
    # A tied parameter may have been filled in the call of another module.
    return [each for each in taken if each[0].report[each[1].fqn].outcome == PENDING]


def copy_pending(module: nn.Module, copied: nn.Module) -> None:
    """Leave pending for a copy of a module what is pending for the module; the copy is in no report."""
    if module is not copied and not pending_of(copied):
        for each in pending_of(module):
            report = replace(each.report, entries=dict(each.report.entries))
            replace(each, module=weakref.ref(copied), report=report, entries=dict(each.entries)).leave()
