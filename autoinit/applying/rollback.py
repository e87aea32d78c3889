"""Restores tensors after an error: models get back the values and parameter objects that they had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ..layers import is_lazy
from ..planning import Plan
from .filling import writable
from .targets import Targets

Work = Sequence[tuple[Plan, Targets]]


@contextmanager
def put_back_on_error(work: Work) -> Iterator[None]:
    """Restore the parameters and buffers of some models if the code in this context fails (A).

    Whether the loading code of a module works is known only when it runs. A copy of the values is held meanwhile.
    """
    modules = {id(module): module for _, targets in work for module in targets.modules.values()}
    tables = [(table, dict(table)) for module in modules.values() for table in tables_of(module)]
    values = {tensor: tensor.detach().clone() for tensor in _tensors(work, modules.values())}
    params = [(targets.params, dict(targets.params)) for _, targets in work]
    try:
        yield
    except BaseException:
        for table, before in tables:
            table.clear()
            table.update(before)
        for found, bound in params:
            found.update(bound)
        for tensor, value in values.items():
            put_back(tensor, value)
        for _, targets in work:
            targets.written.clear()
        raise


def before_loading_code(work: Work) -> Work:
    """The models of a block that are written before the last one whose modules have loading code."""
    last = max((number for number, (plan, _) in enumerate(work) if plan.runs_loading_code), default=0)
    return work[:last]


def put_back(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor the value, and the shape, that it had before."""
    if tensor.shape == value.shape:
        with writable([tensor]):
            tensor.data.copy_(value)
    else:
        tensor.data = value


def tables_of(module: nn.Module) -> tuple[dict[str, Tensor | None], dict[str, Tensor | None]]:
    """Where a module has its own parameters and buffers, by name."""
    return module._parameters, module._buffers  # type: ignore[return-value]


def _tensors(work: Work, modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    """What some plans and their modules hold and can be copied: not lazy, and with memory."""
    planned = (tensor for plan, targets in work for fqn in plan for tensor in targets.tensors(fqn))
    stored = (tensor for module in modules for table in tables_of(module) for tensor in table.values())
    for tensor in dict.fromkeys((*planned, *stored)):
        if tensor is not None and not is_lazy(tensor) and not tensor.is_meta:
            yield tensor
