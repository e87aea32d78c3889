"""Hooks that measure the signal through a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import class_name
from ..planning import walk
from .measures import NOTHING, Moments, any_varies, dead_units, moments, signal_in, unit_axis
from .signals import Signal

COMPUTED = "parametrizations"  # This child computes the module's weights, and is no part of the signal.


@dataclass(kw_only=True)
class Observed:
    """Sums over the calls of one module."""

    layer: str
    calls: int = 0
    input: Moments = NOTHING
    output: Moments = NOTHING
    gradient: Moments = NOTHING
    dead: int = 0
    units: int = 0

    def add_gradient(self, gradient: Tensor) -> None:
        """The hook of an output."""
        self.gradient += moments(gradient)


def watched_modules(model: nn.Module) -> dict[str, nn.Module]:
    """By FQN, the modules that compute something themselves: without children, or with parameters of their own.

    Example:
        >>> attention = nn.MultiheadAttention(4, 2)
        >>> list(watched_modules(nn.Sequential(attention, nn.Sequential(nn.ReLU()))))
        ['0', '0.out_proj', '1.0']
    """
    found: dict[nn.Module, str] = {}
    scripted: list[str] = []
    for fqn, module, _ in walk(model):
        inside = any(fqn.startswith(f"{name}." if name else "") for name in scripted)
        if inside or COMPUTED in fqn.split("."):
            continue
        if isinstance(module, torch.jit.ScriptModule):
            scripted.append(fqn)  # It takes no hooks, and its children run without Python.
        elif not (module._modules.keys() - {COMPUTED}) or any(p is not None for p in module._parameters.values()):
            found.setdefault(module, fqn)
    return {fqn: module for module, fqn in found.items()}


class Watch:
    """Measures the signal through a model, forward and backward; keeps numbers, and no tensor."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = watched_modules(model)
        self.observed: dict[str, Observed] = {}  # The modules that were called, in the order of first calls.
        self.outputs = ExitStack()  # The hooks of outputs; closing it removes them.
        self._axes: dict[tuple[int, ...], int] = {}
        self._entered: dict[str, list[tuple[Moments, bool]]] = {fqn: [] for fqn in self.modules}

    def forward(self) -> ExitStack:
        """Watch the modules called in a `with` block. Checkpointing calls some again in backward, after the block."""
        with ExitStack() as hooks:
            for fqn, module in self.modules.items():
                hooks.enter_context(module.register_forward_pre_hook(partial(self._enter, fqn), with_kwargs=True))
                hooks.enter_context(module.register_forward_hook(partial(self._leave, fqn)))
            return hooks.pop_all()

    def _enter(self, fqn: str, module: nn.Module, *given: Any) -> None:
        self._entered[fqn].append((moments(signal_in(given)), any_varies(given)))

    def _leave(self, fqn: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        entered, varies = self._entered[fqn].pop()
        seen = self.observed.setdefault(fqn, Observed(layer=class_name(module)))
        seen.calls += 1
        seen.input += entered
        signal = signal_in(output)
        if signal is None:
            return
        seen.output += moments(signal)
        axis = unit_axis(module, signal, self._axes)
        if varies:
            dead, units = dead_units(signal, axis)
            seen.dead, seen.units = seen.dead + dead, seen.units + units
        # A hook on a leaf, a parameter or an input, would stay.
        if signal.requires_grad and not signal.is_leaf:
            self.outputs.enter_context(signal.register_hook(seen.add_gradient))  # type: ignore[no-untyped-call]

    def signals(self, norms: Mapping[str, float | None]) -> dict[str, Signal]:
        """The measurements of each module that was called, given the norm of each parameter's gradient."""
        own: dict[str, list[float]] = {}
        for fqn, norm in norms.items():
            if norm is not None:
                own.setdefault(fqn.rpartition(".")[0], []).append(norm)
        return {
            fqn: Signal(
                layer=seen.layer,
                calls=seen.calls,
                mean=seen.output.mean if seen.output.count else None,
                std=seen.output.std,
                input_std=seen.input.std,
                dead=seen.dead / seen.units if seen.units else None,
                nonfinite=seen.output.nonfinite / max(seen.output.count + seen.output.nonfinite, 1),
                finite_input=not seen.input.nonfinite,
                gradient=seen.gradient.rms,
                gradient_norm=math.hypot(*own[fqn]) if fqn in own else None,
            )
            for fqn, seen in self.observed.items()
        }
