"""From the rule that won a tensor to its fill: whose convention its axes are read by, and what may stand in the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from ..errors import ParametrizationError, ShapeError
from ..fans import Layout, inner_layouts, own_layout
from ..fills import Constant, Padded
from ..initializers import Initializer, Resolved, resolve
from ..parametrized import Effective
from ..rules import Rule
from .candidates import Candidate
from .entries import Deferred
from .policy import Fan
from .records import Record


class Resolver:
    """Resolves each scheme once for tensors that are alike.

    Args:
        fan: whose convention counts where a rule does not say.
        modules: those of the model, by FQN.
    """

    def __init__(self, fan: Fan, modules: Mapping[str, nn.Module]) -> None:
        self._fan = fan
        self._modules = modules
        self._inner: dict[int, Mapping[str, Layout | None]] = {}
        self._found: dict[tuple[int, tuple[int, ...], torch.dtype, Layout | None], Resolved] = {}

    def resolve(self, candidate: Candidate, record: Record, shape: tuple[int, ...], dtype: torch.dtype) -> Resolved:
        """What a candidate gives to a tensor.

        Raises:
            ShapeError: the scheme is not defined for it, or its memory cannot hold it.
            ParametrizationError: the weight cannot be set.
        """
        scheme = candidate.initializer
        if scheme is None:
            return Resolved(fill=None)
        try:
            layout = self._layout(candidate.rule, scheme, record)
            key = (id(scheme), shape, dtype, layout)
            found = self._found.get(key)
            if found is None:
                found = self._found[key] = resolve(scheme, shape, dtype, layout)
            if candidate.rule.padding == "keep":
                found = _padded(found, record, shape)
            if found.fill is not None:
                _check_memory(found, record)
        except (ShapeError, ParametrizationError) as error:
            text = f"{candidate.rule.describe()}: {record.fqn} of {record.layer}: {error}"
            raise type(error)(text, origin=candidate.rule.origin, fqn=record.fqn) from error
        return found

    def defer(self, candidate: Candidate, record: Record) -> Deferred | None:
        """What is needed to resolve a candidate for a lazy parameter later."""
        if candidate.initializer is None:
            return None
        return Deferred(
            scheme=candidate.initializer, layout=self._layout(candidate.rule, candidate.initializer, record)
        )

    def _layout(self, rule: Rule, scheme: Initializer, record: Record) -> Layout | None:
        if scheme.reads == "nothing":
            return None
        fan = rule.fan
        if isinstance(fan, Layout) and not fan.is_numbers:
            return fan
        whose = fan if isinstance(fan, str) else scheme.reads if self._fan == "auto" else self._fan
        layout = None if whose == "torch" else self._layout_of(record)
        if isinstance(fan, Layout):
            base = layout or Layout()
            return replace(
                base, fan_in=fan.fan_in or base.fan_in, fan_out=fan.fan_out or base.fan_out, label=fan.convention
            )
        return layout

    def _layout_of(self, record: Record) -> Layout | None:
        """How the modules around a tensor, or its own layer, read its axes, under any of its names.

        Raises:
            ShapeError: a convention failed.
        """
        for fqn in (record.fqn, *record.aliases):
            for outer, path in splits(fqn):
                module = self._modules.get(outer)
                if module is None:
                    continue
                if id(module) not in self._inner:
                    self._inner[id(module)] = dict(inner_layouts(module))
                if path in self._inner[id(module)]:
                    return self._inner[id(module)][path]
        return own_layout(record.owner, record.name)


def splits(fqn: str) -> Iterator[tuple[str, str]]:
    """The modules around a parameter, the outermost first, each with the parameter's path in it.

    Example:
        >>> list(splits("block.attn.qkv.weight"))
        [('', 'block.attn.qkv.weight'), ('block', 'attn.qkv.weight'), ('block.attn', 'qkv.weight')]
    """
    outer, path = "", fqn
    while "." in path:
        yield outer, path
        name, _, path = path.partition(".")
        outer = f"{outer}.{name}" if outer else name


def _padded(found: Resolved, record: Record, shape: tuple[int, ...]) -> Resolved:
    """What a tensor gets if the rows that embeddings have for padding stay zero."""
    fill, padding = found.fill, record.padding
    if fill is None or padding is None or (isinstance(fill, Constant) and fill.value == 0):
        return found
    size = shape[padding.axis]
    rows = tuple(sorted({row % size for row in padding.rows if -size <= row < size}))
    return replace(found, fill=Padded(fill, rows, size, padding.axis)) if rows else found


def _check_memory(found: Resolved, record: Record) -> None:
    if record.weight is not None:
        _check_weight(found, record.weight, record.stored)
    elif not isinstance(found.fill, Constant) and is_expanded(record.param):
        raise ShapeError(
            f"elements of shape {tuple(record.param.shape)} share memory, because the parameter is expanded: they "
            f"cannot get values of their own from {found.fill}. Make it contiguous, or give it a Constant."
        )


def _check_weight(found: Resolved, weight: Effective, stored: Sequence[str]) -> None:
    if weight.obstacle is not None:
        module, _, name = stored[0].rpartition(".")
        raise ParametrizationError(
            f"it cannot be set, because {weight.obstacle}. Give the parametrization a right_inverse, write a rule for "
            f"what is stored (name={module!r}, params={name!r}), or one of type 'Keep' for {weight.name!r}."
        )
    if weight.refuses_zeros and isinstance(found.fill, Constant) and found.fill.value == 0:
        raise ParametrizationError(f"it cannot be zero under {weight.through}. Write a rule of type 'Keep' for it.")


def is_expanded(tensor: torch.Tensor) -> bool:
    """Whether elements of a tensor share memory because an axis was expanded.

    Example:
        >>> is_expanded(torch.zeros(1).expand(3)), is_expanded(torch.zeros(3, 1))
        (True, False)
    """
    if tensor.layout != torch.strided:
        return False
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
