"""Put back what a forward pass changes of a model and of the RNG states."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put every module's mode, parameters, their gradients, and buffers back, on success and exception.

    Values that forward itself writes to parameters, and attributes that it sets, stay.
    """
    modes = {module: module.training for module in model.modules()}
    # The tables of a scripted module are not dicts, and nothing changes their entries.
    plain = [module for module in modes if not isinstance(module, torch.jit.ScriptModule)]
    tables: list[dict[str, Any]] = [table for module in plain for table in (module._parameters, module._buffers)]
    entries = [dict(table) for table in tables]
    gradients = [(param, param.requires_grad, param.grad) for param in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers() if not buffer.is_meta]
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for table, before in zip(tables, entries, strict=True):
            table.clear()
            table.update(before)
        for param, requires_grad, gradient in gradients:
            # Neither can be set on an inference tensor.
            if param.requires_grad is not requires_grad:
                param.requires_grad_(requires_grad)
            if param.grad is not gradient:
                param.grad = gradient
        with torch.no_grad():
            for buffer, values in buffers:
                if not torch.equal(buffer, values):
                    buffer.copy_(values)


@contextmanager
def generators_kept(kind: str, devices: Sequence[int]) -> Iterator[None]:
    """Put the RNG states of torch (the CPU and some devices of one kind), Python and NumPy back."""
    # A program that has not imported NumPy has drawn nothing from it.
    numpy, python = sys.modules.get("numpy"), random.getstate()
    state = numpy and numpy.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices, device_type=kind):
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(state)


@contextmanager
def seeded(seed: int, model: nn.Module) -> Iterator[None]:
    """Seed the generators that a forward pass may draw from (torch's, Python's and NumPy's), and put them back."""
    held = {tensor.device for tensor in (*model.parameters(), *model.buffers()) if tensor.device.index is not None}
    devices = sorted({device.index for device in held})
    kind = next((device.type for device in held), "cuda")
    with generators_kept(kind, devices):
        # `torch.manual_seed` would also seed devices that are not put back.
        torch.default_generator.manual_seed(seed)
        for index in devices:
            with torch.get_device_module(kind).device(index):
                torch.get_device_module(kind).manual_seed(seed)
        random.seed(seed)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(seed % 2**32)
        yield


def uncompiled() -> AbstractContextManager[object]:
    """Run compiled modules as they were written: compiled code ignores hooks that are registered later."""
    # Without the compiler, whose import takes seconds, nothing is compiled.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
