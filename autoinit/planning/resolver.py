"""From the rule that won a tensor to its fill: by whose convention its axes are read, and what may prevent the fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from ..errors import AutoInitError, ParametrizationError, ShapeError
from ..fans import Fans, Layout, inner_layouts, own_layout
from ..fills import Constant, Padded
from ..initializers import Default, Initializer, Resolved, resolve
from ..initializers.defaults import default_of
from ..initializers.initializer import needs_of
from ..initializers.position import Position
from ..initializers.scaled import unscaled, with_default
from ..layers import class_name
from ..parametrized import Effective
from ..rules import Rule
from .entries import Deferred
from .matches import Candidate
from .policy import Fan
from .positions import Positions
from .records import Record
from .tree import joined

NOTHING = Resolved(fill=None)


class Resolver:
    """Resolves each initializer once for tensors that are alike; `fan` says how fans are read where a rule does not."""

    def __init__(self, fan: Fan, modules: Mapping[str, nn.Module], records: Sequence[Record]) -> None:
        self._fan = fan
        self._modules = modules
        self._positions = Positions(modules, records)
        self._inner: dict[int, Mapping[str, Layout | None]] = {}
        self._found: dict[tuple[object, tuple[int, ...], torch.dtype, Layout | None, Position], Resolved] = {}

    def resolve(
        self, candidate: Candidate | None, record: Record, shape: tuple[int, ...] | None, dtype: torch.dtype
    ) -> Resolved:
        """What a candidate gives to a tensor: nothing for a checkpoint, or while the tensor has no shape.

        Raises:
            ShapeError: The initializer is not defined for it, or its memory cannot hold it.
            ParametrizationError: The weight cannot be set.
        """
        if candidate is None or candidate.initializer is None or shape is None:
            return NOTHING
        try:
            found = self._resolved(candidate.rule, candidate.initializer, record, shape, dtype)
            if record.padding and candidate.rule.padding == "keep":
                found = _padded(found, record, shape[record.padding_axis])
            if record.weight is not None:
                _check_weight(found, record.weight, record.stored)
            elif not isinstance(found.fill, Constant | None) and is_expanded(record.param):
                raise ShapeError(
                    f"elements of shape {tuple(record.param.shape)} share memory, because the parameter is expanded: "
                    f"they cannot get values of their own from {found.fill}. Make it contiguous, or give it a Constant."
                )
        except (ShapeError, ParametrizationError) as error:
            text = f"{candidate.rule.describe()}: {record.fqn} of {class_name(record.owner)}: {error}"
            raise type(error)(text, origin=candidate.rule.origin, fqn=record.fqn) from error
        return found

    def _resolved(
        self, rule: Rule, scheme: Initializer, record: Record, shape: tuple[int, ...], dtype: torch.dtype
    ) -> Resolved:
        layout, position = self._layout(rule, scheme, record), self._position(rule, scheme, record)
        if not isinstance(unscaled(scheme), Default):
            return self._cached(id(scheme), scheme, shape, dtype, layout, position)
        default = with_default(scheme, self._default(record))
        if default is None:  # The layer's own method is called.
            return NOTHING
        return self._cached(default, default, shape, dtype, layout, position)

    def other_fans(
        self, candidate: Candidate | None, record: Record, shape: tuple[int, ...] | None, dtype: torch.dtype
    ) -> tuple[Fans, ...]:
        """The fans by the layer's convention, if torch's reading is used, the fill would differ and no one chose."""
        scheme = None if candidate is None or candidate.rule.fan is not None else candidate.initializer
        if candidate is None or scheme is None or self._fan != "auto" or shape is None or len(shape) < 2:
            return ()
        layout = self._layout_of(record) if needs_of(scheme).convention == "torch" else None
        if layout is None:
            return ()
        position, key = self._position(candidate.rule, scheme, record), id(scheme)
        try:
            other = self._cached(key, scheme, shape, dtype, layout, position)
        except AutoInitError:  # It is not used, so that it need not be defined.
            return ()
        return () if other.fill == self._cached(key, scheme, shape, dtype, None, position).fill else other.fans

    def _cached(
        self,
        key: object,
        scheme: Initializer,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        layout: Layout | None,
        position: Position,
    ) -> Resolved:
        found = self._found.get((key, shape, dtype, layout, position))
        if found is None:
            found = resolve(scheme, shape, dtype, layout, position)
            self._found[key, shape, dtype, layout, position] = found
        return found

    def _default(self, record: Record) -> Initializer | None:
        """What the layer's constructor gives to a tensor; None if only the layer's method knows."""
        outer = self._modules.get(record.fqn.rpartition(".")[0].rpartition(".")[0])
        if isinstance(outer, nn.MultiheadAttention) and record.owner is outer.out_proj and record.name == "bias":
            return default_of(outer, "in_proj_bias")  # The attention sets both.
        return default_of(record.owner, record.name)

    def defer(self, candidates: Sequence[Candidate], record: Record) -> Deferred | None:
        """What is needed to resolve the winner for a lazy parameter later; the last of the candidates is the highest.

        Raises:
            ShapeError: A checkpoint has the parameter if the `ndim` of the winner does not fit.
        """
        *others, (rank, rule, scheme) = candidates
        if scheme is None:
            return None
        otherwise = None
        if rule.ndim and others:
            if others[-1].initializer is None:
                text = (
                    f"{rule.describe()}: {record.fqn} has no shape yet, so ndim cannot choose between this rule and "
                    f"{others[-1].rule.origin}. Call the model once before, or narrow the rule with name= or params=."
                )
                raise ShapeError(text, origin=rule.origin, fqn=record.fqn)
            otherwise = self.defer(others, record)
        if isinstance(scheme, Default):
            default_of(record.owner, record.name)
        layout, position = self._layout(rule, scheme, record), self._position(rule, scheme, record)
        return Deferred(scheme=scheme, layout=layout, rule=rule, rank=rank, position=position, otherwise=otherwise)

    def _position(self, rule: Rule, scheme: Initializer, record: Record) -> Position:
        return self._positions.of(scheme, record, lambda weight: self._layout(rule, scheme, weight))

    def _layout(self, rule: Rule, scheme: Initializer, record: Record) -> Layout | None:
        usual = needs_of(scheme).convention
        if usual == "nothing":
            return None
        fan = rule.fan
        if isinstance(fan, Layout) and not fan.is_numbers:
            return fan
        convention = fan if isinstance(fan, str) else usual if self._fan == "auto" else self._fan
        layout = None if convention == "torch" else self._layout_of(record)
        if not isinstance(fan, Layout):
            return layout
        base = layout or Layout()
        return replace(
            base, fan_in=fan.fan_in or base.fan_in, fan_out=fan.fan_out or base.fan_out, label=fan.convention
        )

    def _layout_of(self, record: Record) -> Layout | None:
        """How a module around a tensor, the outermost first, or its own layer reads its axes, by any of its names."""
        for fqn in (record.fqn, *record.aliases):
            outer, path = "", fqn
            while "." in path:
                module = self._modules.get(outer)
                if module is not None:
                    if id(module) not in self._inner:
                        self._inner[id(module)] = dict(inner_layouts(module))
                    if path in self._inner[id(module)]:
                        return self._inner[id(module)][path]
                name, _, path = path.partition(".")
                outer = joined(outer, name)
        return own_layout(record.owner, record.name)


def _padded(found: Resolved, record: Record, size: int) -> Resolved:
    """What a tensor gets if the rows that embeddings use for padding stay zero."""
    fill, rows = found.fill, tuple(sorted({row % size for row in record.padding if -size <= row < size}))
    if not rows or fill is None or (isinstance(fill, Constant) and fill.value == 0):
        return found
    return replace(found, fill=Padded(fill, rows, size, record.padding_axis))


def _check_weight(found: Resolved, weight: Effective, stored: Sequence[str]) -> None:
    if found.fill is None:
        return
    if weight.obstacle is not None:
        module, _, name = stored[0].rpartition(".")
        raise ParametrizationError(
            f"it cannot be set, because {weight.obstacle}. Give the parametrization a right_inverse, write a rule for "
            f"what is stored (name={module!r}, params={name!r}), or one of type 'Keep' for {weight.name!r}."
        )
    if weight.refuses_zeros and isinstance(found.fill, Constant) and found.fill.value == 0:
        raise ParametrizationError(f"it cannot be zero under {weight.through}. Write a rule of type 'Keep' for it.")


def is_expanded(tensor: torch.Tensor) -> bool:
    """Whether elements of a tensor share memory because an axis was expanded."""
    if tensor.layout != torch.strided or 0 not in tensor.stride():
        return False
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
