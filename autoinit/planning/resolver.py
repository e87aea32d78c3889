"""From the rule that won a tensor to its fill: whose convention its axes are read by, and what may stand in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..errors import ParametrizationError, ShapeError
from ..fans import Layout
from ..fills import Constant, Padded
from ..initializers import Initializer, Resolved, resolve
from ..parametrized import Effective
from ..rules import Rule
from .claims import Claim
from .entries import Deferred
from .layouts import Layouts
from .policy import Fan
from .records import Record


class Resolver:
    """Resolves each scheme once for tensors that are alike.

    Args:
        fan: whose convention counts where a rule does not say.
        layouts: how the model's weights are read.
    """

    def __init__(self, fan: Fan, layouts: Layouts) -> None:
        self._fan = fan
        self._layouts = layouts
        self._found: dict[tuple[int, tuple[int, ...], torch.dtype, Layout | None], Resolved] = {}

    def resolve(self, claim: Claim, record: Record, shape: tuple[int, ...], dtype: torch.dtype) -> Resolved:
        """What a claim gives to a tensor.

        Raises:
            ShapeError: the scheme is not defined for it, or its memory cannot hold it.
            ParametrizationError: the weight cannot be set.
        """
        scheme = claim.scheme
        if scheme is None:
            return Resolved(fill=None)
        try:
            layout = self._layout(claim.rule, scheme, record)
            key = (id(scheme), shape, dtype, layout)
            found = self._found.get(key)
            if found is None:
                found = self._found[key] = resolve(scheme, shape, dtype, layout)
            if claim.rule.padding == "keep":
                found = _padded(found, record, shape)
            if found.fill is not None:
                _check_memory(found, record)
        except (ShapeError, ParametrizationError) as error:
            text = f"{claim.rule.describe()}: {record.fqn} of {record.layer}: {error}"
            raise type(error)(text, origin=claim.rule.origin, fqn=record.fqn) from error
        return found

    def defer(self, claim: Claim, record: Record) -> Deferred | None:
        """What is needed to resolve a claim on a lazy parameter later."""
        if claim.scheme is None:
            return None
        return Deferred(scheme=claim.scheme, layout=self._layout(claim.rule, claim.scheme, record))

    def _layout(self, rule: Rule, scheme: Initializer, record: Record) -> Layout | None:
        if scheme.reads == "nothing":
            return None
        fan = rule.fan
        if isinstance(fan, Layout) and not fan.is_numbers:
            return fan
        whose = fan if isinstance(fan, str) else scheme.reads if self._fan == "auto" else self._fan
        layout = None if whose == "torch" else self._layouts.of(record)
        if isinstance(fan, Layout):
            base = layout or Layout()
            return replace(
                base, fan_in=fan.fan_in or base.fan_in, fan_out=fan.fan_out or base.fan_out, label=fan.convention
            )
        return layout


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
