"""Restores tensors after an error: models get back the values and parameter objects that they had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..layers import is_lazy
from .filling import writable

if TYPE_CHECKING:
    from .execution import Application

Table = dict[str, Tensor | None]
"""A module's parameters or buffers, by name."""


@contextmanager
def put_back_on_error(applications: Sequence[Application]) -> Iterator[None]:
    """Restore the parameters and buffers of some models if the code in this context fails (A).

    Whether the loading code of a module works is known only when it runs. A copy of the values is held meanwhile.
    """
    modules = {id(module): module for each in applications for module in each.targets.modules.values()}
    tables = [table for module in modules.values() for table in tables_of(module)]
    bound: list[dict[str, Any]] = [*tables, *(each.targets.params for each in applications)]
    before = [(table, dict(table)) for table in bound]
    values = {tensor: tensor.detach().clone() for tensor in _tensors(applications, tables)}
    try:
        yield
    except BaseException:
        for table, entries in before:
            table.clear()
            table.update(entries)
        for tensor, value in values.items():
            put_back(tensor, value)
        for each in applications:
            each.forget()
        raise


def before_loading_code(applications: Sequence[Application]) -> Sequence[Application]:
    """The models of a block that are written before the last one whose modules have loading code."""
    last = max((number for number, each in enumerate(applications) if each.plan.runs_loading_code), default=0)
    return applications[:last]


def put_back(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor the value, and the shape, that it had before."""
    if tensor.shape == value.shape:
        with writable([tensor]):
            tensor.data.copy_(value)
    else:
        tensor.data = value


def tables_of(module: nn.Module) -> tuple[Table, Table]:
    """Where a module has its own parameters and buffers, by name."""
    return module._parameters, module._buffers  # type: ignore[return-value]


def _tensors(applications: Sequence[Application], tables: Iterable[Table]) -> Iterator[Tensor]:
    """What some plans and their modules hold and can be copied: not lazy, and with memory."""
    planned = (tensor for each in applications for fqn in each.plan for tensor in each.targets.tensors(fqn))
    stored = (tensor for table in tables for tensor in table.values())
    for tensor in dict.fromkeys((*planned, *stored)):
        if tensor is not None and not is_lazy(tensor) and not tensor.is_meta:
            yield tensor
