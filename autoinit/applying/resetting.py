"""Layers initialized by the method that their constructors call, `reset_parameters()`, for rules of type `Default`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn

from ..errors import ApplyError, AutoInitError
from ..fills import seeded
from ..layers import is_lazy
from ..planning import Reset, joined
from .filling import writable
from .module_code import WriteRecorder
from .rollback import put_back, tables_of
from .seeds import Values
from .targets import Targets


def reset_layer(step: Reset, targets: Targets, values: Values) -> list[str]:
    """Call the method of a layer, with torch's generators seeded from the layer's key.

    Everything else that the method writes, such as buffers and modules below, gets its values back.

    Returns:
        FQNs of the rule's parameters that the method wrote to.

    Raises:
        ApplyError: The method failed; the layer is as it was.
    """
    layer = targets.modules[step.fqn]
    won = {fqn: targets.tensors(fqn) for fqn in step.params}
    mine = {id(tensor) for tensors in won.values() for tensor in tensors}
    device = next(chain.from_iterable(won.values())).device
    seed = values.key(joined(step.fqn, step.method), 0).offset >> 1
    is_inference = any(param.is_inference() for param in layer.parameters())
    recorder = WriteRecorder(chain.from_iterable(won.values()))
    with _restored(layer, mine), torch.inference_mode() if is_inference else nullcontext():
        try:
            with seeded(device, seed), recorder:
                getattr(layer, step.method)()
        except AutoInitError:
            raise
        except Exception as error:
            text = f"{step.rule.origin}: {step.fqn or step.model}: {step} failed: {type(error).__name__}: {error}"
            raise ApplyError(text, origin=step.rule.origin, fqn=step.fqn) from error
        tables = [table for module in layer.modules() for table in tables_of(module)]
        present = {id(tensor) for table in tables for tensor in table.values()}
        return [
            fqn
            for fqn, tensors in won.items()
            if any(recorder.wrote(tensor) or id(tensor) not in present for tensor in tensors)
        ]


@contextmanager
def _restored(layer: nn.Module, mine: set[int]) -> Iterator[None]:
    """A context that changes only the values of some tensors of a layer; if it fails, none."""
    tables = [(table, dict(table)) for module in layer.modules() for table in tables_of(module)]
    tensors = {id(tensor): tensor for _, before in tables for tensor in before.values() if tensor is not None}
    values = {key: tensor.detach().clone() for key, tensor in tensors.items() if not is_lazy(tensor)}
    is_done = False
    try:
        yield
        is_done = True
    finally:
        for table, before in tables:
            for name, old in before.items():
                new = table.get(name)
                if is_done and old is not None and new is not None and new is not old and id(old) in mine:
                    _take_values(old, new)
            table.clear()
            table.update(before)
        for key, value in values.items():
            if not (is_done and key in mine):
                put_back(tensors[key], value)


def _take_values(old: Tensor, new: Tensor) -> None:
    """Write to a parameter what the method has put in its place, if that has the shape."""
    if old.shape == new.shape:
        with writable([old]):
            old.data.copy_(new.detach())
