"""Snapshots of tensors and of the tables that hold them: restored after an error, or after code that wrote too much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..layers import is_lazy
from ..planning import Load
from .filling import writable

if TYPE_CHECKING:
    from .execution import Application

Table = dict[str, Any]
"""Tensors by name, such as the parameters or the buffers of a module; None for one that is not there."""


class Snapshot:
    """The tensors in some tables, and the values of these and of other tensors, where they have any."""

    def __init__(self, tables: Iterable[Table], others: Iterable[Tensor] = ()) -> None:
        self.tables = [(table, dict(table)) for table in tables]
        held = (tensor for _, before in self.tables for tensor in before.values() if tensor is not None)
        tensors = dict.fromkeys((*held, *others))
        self._values = {each: each.detach().clone() for each in tensors if not is_lazy(each) and not each.is_meta}

    def restore(self, has_changed: Callable[[Tensor], bool] = lambda _: True) -> None:
        """Restore the tables, and the values of tensors that `has_changed` is true of, with their shapes."""
        for table, before in self.tables:
            table.clear()
            table.update(before)
        for tensor, value in filter(lambda item: has_changed(item[0]), self._values.items()):
            if tensor.shape != value.shape:
                tensor.data = value
                continue
            with writable([tensor]):
                tensor.data.copy_(value)


def tables_of(modules: Iterable[nn.Module]) -> Iterator[Table]:
    """The tables of the modules' own parameters and buffers."""
    for module in modules:
        yield from (module._parameters, module._buffers)


@contextmanager
def put_back_on_error(applications: Sequence[Application]) -> Iterator[None]:
    """Restore models whose modules have loading code, and those before them, if the code in this context fails (A).

    Whether loading code works is known only when it runs. A copy of the values is held meanwhile.
    """
    coded = [any(isinstance(step, Load) and step.coded for step in each.plan.steps) for each in applications]
    while coded and not coded[-1]:
        coded.pop()
    if not coded:
        yield
        return
    targets = [each.targets for each in applications[: len(coded)]]
    tables = [table for each in targets for table in (each.params, *tables_of(each.modules.values()))]
    others = [
        tensor for each in applications[: len(coded)] for fqn in each.plan for tensor in each.targets.tensors(fqn)
    ]
    snapshot = Snapshot(tables, others)
    try:
        yield
    except BaseException:  # An interrupt, too.
        snapshot.restore()
        for each in applications[: len(coded)]:
            each.outcomes.clear()
        raise
