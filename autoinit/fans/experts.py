"""Stacked experts: one tensor holds the weights of all, in one of two orders of axes that its name does not tell."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from .layout import Layout

EXPERTS = frozenset({"gate_up_proj", "up_proj", "down_proj"})
"""What transformers, and what copies it, calls the parameters of stacked experts."""


def stacked_layout(module: nn.Module, name: str) -> Layout | None:
    """How a parameter of stacked experts is read; None for what is not certain to be one.

    A module of transformers says itself what it does (`is_transposed`, `is_concatenated`, as
    `transformers.integrations.moe` sets them). Others are told by the shapes, which fit one order only: what goes down
    is as wide as half of what goes up.

    Example:
        >>> import torch
        >>> experts = nn.Module()
        >>> experts.gate_up_proj = nn.Parameter(torch.empty(4, 64, 256))
        >>> experts.down_proj = nn.Parameter(torch.empty(4, 128, 64))
        >>> stacked_layout(experts, "gate_up_proj").axes
        'expert,in,out'
    """
    if name not in EXPERTS or (shape := _shape(module, name)) is None:
        return None
    transposed = module.__dict__.get("is_transposed")
    if not isinstance(transposed, bool):
        transposed = _is_transposed(_shape(module, "gate_up_proj"), _shape(module, "down_proj"))
    if transposed is None:
        return None
    axes = "expert,in,out" if transposed else "expert,out,in"
    if name != "gate_up_proj":
        return Layout(axes=axes, label=f"experts {axes.partition(',')[2]}")
    # gpt-oss alternates: a row of the gate, then one of what it gates.
    alternates = module.__dict__.get("is_concatenated") is False
    repeats = shape[2 if transposed else 1] // 2 if alternates else 1
    return Layout(axes=axes, splits=2, repeats=repeats, label=f"experts {axes.partition(',')[2]} gate, up")


def _shape(module: nn.Module, name: str) -> tuple[int, ...] | None:
    param = module._parameters.get(name)
    return tuple(param.shape) if param is not None and not is_lazy(param) and param.dim() == 3 else None


def _is_transposed(gate_up: tuple[int, ...] | None, down: tuple[int, ...] | None) -> bool | None:
    """The order that the shapes of a pair fit; None for neither."""
    if gate_up is None or down is None:
        return None
    if gate_up[1:] == (2 * down[2], down[1]):
        return False
    return True if gate_up[1:] == (down[2], 2 * down[1]) else None
