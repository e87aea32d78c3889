"""What a forward pass changes of a model and of the generators, put back afterwards."""

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

    Values that forward itself writes to parameters, and attributes that it sets, are left as they are.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with unchanged(norm):
        ...     _ = norm(torch.ones(4, 2))
        >>> norm.running_mean, norm.num_batches_tracked
        (tensor([0., 0.]), tensor(0))
    """
    modes = {module: module.training for module in model.modules()}
    tables = [(table, dict(table)) for module in modes for table in _tables(module)]
    gradients = [(param, param.requires_grad, param.grad) for param in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers() if not buffer.is_meta]
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for table, before in tables:
            table.clear()
            table.update(before)
        for param, requires_grad, gradient in gradients:
            # An inference tensor takes neither.
            if param.requires_grad is not requires_grad:
                param.requires_grad_(requires_grad)
            if param.grad is not gradient:
                param.grad = gradient
        with torch.no_grad():
            for buffer, values in buffers:
                if not torch.equal(buffer, values):
                    buffer.copy_(values)


def _tables(module: nn.Module) -> tuple[dict[str, Any], ...]:
    # Those of a scripted module are not dicts, and nothing changes what is in them.
    return () if isinstance(module, torch.jit.ScriptModule) else (module._parameters, module._buffers)


@contextmanager
def generators_kept(kind: str, devices: Sequence[int]) -> Iterator[None]:
    """Put the generators of torch, Python and NumPy back: torch's on the CPU and on some devices of one kind."""
    # Without an import of NumPy, nothing has drawn from it.
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
    """Seed the generators that a forward pass may draw from, and put them back: torch's, Python's and NumPy's.

    Example:
        >>> model, before = nn.ReLU(), torch.get_rng_state()
        >>> with seeded(0, model):
        ...     _ = torch.rand(3), random.random()
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    held = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    devices = sorted({device.index for device in held if device.index is not None})
    kind = next((device.type for device in held if device.index is not None), "cuda")
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
    """Run what is compiled as it was written: compiled code does not know of hooks that come later."""
    # Where nobody has imported the compiler, nothing is compiled; importing it would take seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
