"""Hooks that measure what runs through a model, and are gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..layers import class_name
from ..planning import walk
from .moments import NOTHING, Moments, moments
from .signals import Signal
from .tensors import any_varies, signal_in
from .units import dead_units, unit_axis

COMPUTED = "parametrizations"
"""The child of a module that computes its weights; what happens there is no part of the signal."""


@dataclass(kw_only=True)
class Observed:
    """What one module did, over all its calls."""

    layer: str
    calls: int = 0
    input: Moments = NOTHING
    output: Moments = NOTHING
    gradient: Moments = NOTHING
    dead: int = 0
    units: int = 0

    def signal(self, gradient_norm: float | None) -> Signal:
        """The numbers that a user sees; the norm is of the gradient of the module's own parameters."""
        values = self.output.count + self.output.nonfinite
        return Signal(
            layer=self.layer,
            calls=self.calls,
            mean=self.output.mean if self.output.count else None,
            std=self.output.std,
            input_std=self.input.std,
            dead=self.dead / self.units if self.units else None,
            nonfinite=self.output.nonfinite / values if values else 0.0,
            finite_input=not self.input.nonfinite,
            gradient=self.gradient.rms,
            gradient_norm=gradient_norm,
        )


def watched_modules(model: nn.Module) -> dict[str, nn.Module]:
    """By FQN, the modules that do something themselves: those without children, and those with parameters of their own.

    Example:
        >>> list(
        ...     watched_modules(
        ...         nn.Sequential(nn.MultiheadAttention(4, 2), nn.Sequential(nn.ReLU()))
        ...     )
        ... )
        ['0', '0.out_proj', '1.0']
    """
    found: dict[nn.Module, str] = {}
    scripted: list[str] = []
    for fqn, module, _ in walk(model):
        inside = any(fqn.startswith(f"{name}." if name else "") for name in scripted)
        if inside or COMPUTED in fqn.split("."):
            continue
        if isinstance(module, torch.jit.ScriptModule):
            # It takes no hooks, and what it contains runs without Python.
            scripted.append(fqn)
        elif not (module._modules.keys() - {COMPUTED}) or any(p is not None for p in module._parameters.values()):
            found.setdefault(module, fqn)
    return {fqn: module for module, fqn in found.items()}


class Watch:
    """Measures the signal through a model, forward and backward; keeps numbers, and no tensor.

    Attributes:
        observed: by FQN, in the order of first calls.
    """

    def __init__(self, model: nn.Module) -> None:
        self.observed: dict[str, Observed] = {}
        self._modules = watched_modules(model)
        self._axes: dict[tuple[int, ...], int] = {}
        self._entered: dict[str, list[tuple[Moments, bool]]] = {fqn: [] for fqn in self._modules}
        self._handles: list[RemovableHandle] = []

    @property
    def uncalled(self) -> tuple[str, ...]:
        """FQNs of the modules that have not been called."""
        return tuple(fqn for fqn in self._modules if fqn not in self.observed)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Watch what is called in the block; what checkpointing calls again, in backward, comes after it."""
        hooks: list[RemovableHandle] = []
        try:
            for fqn, module in self._modules.items():
                hooks.append(module.register_forward_pre_hook(self._before(fqn), with_kwargs=True))
                hooks.append(module.register_forward_hook(self._after(fqn)))
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def close(self) -> None:
        """Remove the hooks of outputs that are still alive."""
        for handle in self._handles:
            handle.remove()

    def _before(self, fqn: str) -> Callable[..., None]:
        def enter(module: nn.Module, *given: Any) -> None:
            signal = signal_in(given)
            self._entered[fqn].append((NOTHING if signal is None else moments(signal), any_varies(given)))

        return enter

    def _after(self, fqn: str) -> Callable[..., None]:
        def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            entered, informed = self._entered[fqn].pop()
            seen = self.observed.setdefault(fqn, Observed(layer=class_name(module)))
            seen.calls += 1
            seen.input += entered
            signal = signal_in(output)
            if signal is None:
                return
            seen.output += moments(signal)
            axis = unit_axis(module, signal, self._axes)
            if informed:
                dead, units = dead_units(signal, axis)
                seen.dead, seen.units = seen.dead + dead, seen.units + units
            self._follow(seen, signal)

        return leave

    def _follow(self, seen: Observed, signal: Tensor) -> None:
        # A leaf is a parameter or an input, on which a hook would leave a trace.
        if signal.requires_grad and not signal.is_leaf:

            def measure(gradient: Tensor) -> None:
                seen.gradient += moments(gradient)

            self._handles.append(signal.register_hook(measure))  # type: ignore[no-untyped-call]
