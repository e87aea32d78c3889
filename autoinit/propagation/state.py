"""What a forward pass changes of a model and of the generators, put back afterwards."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from .tensors import carries_signal

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One module as it was.

    Args:
        training: its mode.
        parameters: by name, each with whether it requires a gradient, and its gradient.
        buffers: by name, each with a copy of its values where it has any.
    """

    module: nn.Module
    training: bool
    parameters: dict[str, Parameter | None]
    gradients: list[tuple[Parameter, bool, Tensor | None]]
    buffers: dict[str, Tensor | None]
    values: list[tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, module: nn.Module) -> Kept:
        """Remember a module; buffers are copied, parameters are not."""
        # The tables of a scripted module are not dicts, and nothing changes what is in them.
        scripted = isinstance(module, torch.jit.ScriptModule)
        parameters = [param for param in module._parameters.values() if param is not None]
        buffers = [buffer for buffer in module._buffers.values() if buffer is not None and not buffer.is_meta]
        return cls(
            module=module,
            training=module.training,
            parameters={} if scripted else dict(module._parameters),
            gradients=[(param, param.requires_grad, param.grad) for param in parameters],
            buffers={} if scripted else dict(module._buffers),
            values=[(buffer, buffer.detach().clone()) for buffer in buffers],
        )

    def put_back(self) -> None:
        """Undo what was changed since; what was not is not written to."""
        self.module.training = self.training
        if not isinstance(self.module, torch.jit.ScriptModule):
            _reset(self.module._parameters, self.parameters)
            _reset(self.module._buffers, self.buffers)
        for param, requires_grad, gradient in self.gradients:
            if param.requires_grad is not requires_grad:
                param.requires_grad_(requires_grad)
            if param.grad is not gradient:
                param.grad = gradient
        with torch.no_grad():
            for buffer, values in self.values:
                if not _same(buffer, values):
                    buffer.copy_(values)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    equal = one == other
    return bool((equal | ((one != one) & (other != other))).all() if carries_signal(one) else equal.all())


def _reset(table: dict[str, T], before: dict[str, T]) -> None:
    if table.keys() != before.keys() or any(table[name] is not value for name, value in before.items()):
        table.clear()
        table.update(before)


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
    kept = [Kept.of(module) for module in model.modules()]
    try:
        yield
    finally:
        for each in kept:
            each.put_back()


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
    accelerators = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    devices = sorted({device.index for device in accelerators if device.index is not None})
    kind = next((device.type for device in accelerators if device.index is not None), "cuda")
    numpy = sys.modules.get("numpy")
    states = random.getstate(), numpy and numpy.random.get_state()
    with torch.random.fork_rng(devices=devices, device_type=kind):
        _seed(seed, kind, devices)
        random.seed(seed)
        if numpy is not None:
            numpy.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            if numpy is not None:
                numpy.random.set_state(states[1])


def _seed(seed: int, kind: str, devices: list[int]) -> None:
    # `torch.manual_seed` would seed devices, too, that are not put back.
    torch.default_generator.manual_seed(seed)
    if devices:
        accelerator = torch.get_device_module(kind)
        for index in devices:
            with accelerator.device(index):
                accelerator.manual_seed(seed)


def uncompiled() -> AbstractContextManager[object]:
    """Run what is compiled as it was written: compiled code does not know of hooks that come later."""
    # Where nobody has imported the compiler, nothing is compiled; importing it would take seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
