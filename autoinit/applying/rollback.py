"""Restores tensors after an error: models get back the values and parameter objects that they had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..layers import is_lazy
from ..planning import Load
from .filling import writable

if TYPE_CHECKING:
    from .execution import Application

Table = dict[str, Tensor | None]
"""A module's parameters or buffers, by name."""


@contextmanager
def put_back_on_error(applications: Sequence[Application]) -> Iterator[None]:
    """Restore models whose modules have loading code, and those before them, if the code in this context fails (A).

    Whether loading code works is known only when it runs. A copy of the values is held meanwhile.
    """
    last = 0
    for number, each in enumerate(applications, 1):
        for step in each.plan.steps:
            last = number if isinstance(step, Load) and step.coded else last
    if not last:
        yield
        return
    applications = applications[:last]
    tensors = [tensor for each in applications for fqn in each.plan for tensor in each.targets.tensors(fqn)]
    tables: list[dict[str, Any]] = [each.targets.params for each in applications]
    for module in {id(module): module for each in applications for module in each.targets.modules.values()}.values():
        for table in tables_of(module):
            tables.append(table)
            tensors += (tensor for tensor in table.values() if tensor is not None)
    before = [(table, dict(table)) for table in tables]
    values = {each: each.detach().clone() for each in dict.fromkeys(tensors) if not is_lazy(each) and not each.is_meta}
    try:
        yield
    except BaseException:
        for table, entries in before:
            table.clear()
            table.update(entries)
        for tensor, value in values.items():
            put_back(tensor, value)
        for each in applications:
            each.outcomes.clear()
        raise


def put_back(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor the value, and the shape, that it had before."""
    if tensor.shape == value.shape:
        with writable([tensor]):
            tensor.data.copy_(value)
    else:
        tensor.data = value


def tables_of(module: nn.Module) -> tuple[Table, Table]:
    """The tables of a module's own parameters and buffers."""
    return module._parameters, module._buffers  # type: ignore[return-value]
