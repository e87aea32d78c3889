"""Hooks that measure what runs through a model, and are gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..layers import class_name
from ..planning import walk
from .measures import Moments, any_varies, moments
from .tensors import signal_in, tensors_in
from .units import Units, dead_units

COMPUTED = "parametrizations"
"""The child of a module that computes its weights; what happens there is no part of the signal."""


@dataclass(kw_only=True)
class Observed:
    """What one module did, over all its calls."""

    layer: str
    calls: int = 0
    input: Moments = field(default_factory=Moments)
    output: Moments = field(default_factory=Moments)
    gradient: Moments = field(default_factory=Moments)
    dead: int = 0
    units: int = 0


def watched_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that do something themselves: those without children, and those with parameters of their own.

    Example:
        >>> model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.Sequential(nn.ReLU()))
        >>> [name for name, _ in watched_modules(model)]
        ['0', '0.out_proj', '1.0']
    """
    seen: set[nn.Module] = set()
    scripted: list[str] = []
    for fqn, module, _ in walk(model):
        inside = any(fqn.startswith(f"{name}." if name else "") for name in scripted)
        if module in seen or inside or COMPUTED in fqn.split("."):
            continue
        seen.add(module)
        if isinstance(module, torch.jit.ScriptModule):
            # It takes no hooks, and what it contains runs without Python.
            scripted.append(fqn)
        elif not (module._modules.keys() - {COMPUTED}) or any(p is not None for p in module._parameters.values()):
            yield fqn, module


class Watch:
    """Measures the signal through a model, forward and backward; keeps numbers, and no tensor.

    Attributes:
        observed: by FQN, in the order of first calls.
        uncalled: FQNs of the modules that have not been called.
    """

    def __init__(self, model: nn.Module) -> None:
        self.observed: dict[str, Observed] = {}
        self._modules = dict(watched_modules(model))
        self._units = Units()
        self._entered: dict[str, list[tuple[Moments, bool]]] = {fqn: [] for fqn in self._modules}
        self._handles: list[RemovableHandle] = []

    @property
    def uncalled(self) -> tuple[str, ...]:
        """What forward did not use."""
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
        """Take the hooks off the outputs that somebody keeps; the others are gone with them."""
        for handle in self._handles:
            handle.remove()

    def _before(self, fqn: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = (args, kwargs)
            signal = signal_in(given)
            found = Moments() if signal is None else moments(signal)
            self._entered[fqn].append((found, any_varies(tensors_in(given))))

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
            axis = self._units.axis(module, signal)
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
