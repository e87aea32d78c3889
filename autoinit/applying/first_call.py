"""One call of a module that gives lazy parameters their shapes, and what it leaves in them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import warn
from ..planning import FILLED, KEPT, LOADED, PENDING, Entry, joined
from .lazy_fills import Waiting, materialized, param_of, queue_of, take, write

SHOWN = 5
"""How many parameters a warning names."""


class FirstCall:
    """A call of a module with pending fills.

    Args:
        module: Module that is called.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.is_in_forward = False
        self._beside: dict[str, tuple[Waiting, Entry, Tensor]] = {}
        self._filled: dict[int, Tensor] = {}
        self.lost: list[Entry] = []
        """Entries of the parameters that the call has overwritten."""

    def begin(self) -> None:
        """Drop the fills of parameters that have a shape before the call, and remember what is beside the others."""
        for waiting, entry, param in take(self.module):
            waiting.report.amend(replace(entry, shape=tuple(param.shape), deferred=None), LOADED)
        self._beside = _filled_beside(self.module)

    def fill(self) -> None:
        """Fill the parameters that have a shape now, and restore what was written beside them."""
        taken = take(self.module)
        for waiting, entry, param in taken:
            _amend(waiting, write(param, entry, waiting.values))
        for name, (_, _, before) in self._beside.items() if taken else ():
            now = self.module._parameters.get(name)
            if now is not None and now.shape == before.shape and not _is_same(now, before):
                with torch.no_grad():
                    now.copy_(before)

    def fill_at_once(self, param: Tensor) -> None:
        """Fill a parameter that forward has just given its shape, and which it may use next."""
        for waiting in queue_of(self.module):
            for name, entry in waiting.entries.items():
                if param_of(self.module, name) is param:
                    write(param, entry, waiting.values)
                    self._filled[id(param)] = param.detach().clone()

    def compare(self) -> None:
        """Note which of the parameters that forward gave a shape, and of those beside them, it has overwritten."""
        taken = take(self.module)
        for waiting, entry, param in taken:
            known = materialized(entry, tuple(param.shape))
            before = self._filled.get(id(param))
            if known.fill is None or (before is not None and _is_same(param, before)):
                _amend(waiting, known)
            else:
                self.lost.append(entry)
        for name, (waiting, entry, before) in self._beside.items() if taken else ():
            now = self.module._parameters.get(name)
            if now is None or not _is_same(now, before):
                waiting.report.amend(entry, PENDING)
                self.lost.append(entry)


def _filled_beside(module: nn.Module) -> dict[str, tuple[Waiting, Entry, Tensor]]:
    """The values of the module's other parameters that rules have filled: many layers reset all they have at once."""
    found: dict[str, tuple[Waiting, Entry, Tensor]] = {}
    for waiting in queue_of(module):
        for name, param in module._parameters.items():
            entry = waiting.report.get(joined(waiting.path, name))
            if entry is None or entry.outcome != FILLED or type(param) is not nn.Parameter:
                continue
            if param.layout == torch.strided and not param.is_meta:
                found[name] = (waiting, entry, param.detach().clone())
    return found


def _is_same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _amend(waiting: Waiting, known: Entry) -> None:
    waiting.report.amend(known, KEPT if known.fill is None else FILLED)


def warn_of(lost: list[Entry]) -> None:
    """Warn of the parameters that first calls have overwritten, if there are any."""
    if not lost:
        return
    texts = list(dict.fromkeys(f"{entry.fqn} ({entry.origin})" for entry in lost))
    names, more = ", ".join(texts[:SHOWN]), f" and {len(texts) - SHOWN} others" if len(texts) > SHOWN else ""
    warn(
        f"{names}{more}: pending, and not filled. The first call of the module wrote other values there when it gave "
        "parameters their shape. Call initialize(model, init_cfg) after the first call to fill them."
    )
