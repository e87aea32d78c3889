"""From the rule that won a tensor to its fill: how its axes are read, where it is, and what may prevent the fill."""

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
from ..initializers.position import NOWHERE, Beside, Position, weight_names
from ..initializers.scaled import unscaled, with_default
from ..layers import class_name
from ..parametrized import Effective
from ..rules import Rule
from .entries import Deferred
from .matches import Candidate
from .policy import Fan
from .records import Record
from .tree import joined, unwrapped

NOTHING = Resolved(fill=None)


class Resolver:
    """Resolves each initializer once for tensors that are alike; `fan` is used where a rule says nothing on fans."""

    def __init__(self, fan: Fan, modules: Mapping[str, nn.Module], records: Sequence[Record]) -> None:
        self._fan = fan
        self._modules = modules
        self._records = records
        self._inner: dict[int, Mapping[str, Layout | None]] = {}
        self._found: dict[tuple[object, tuple[int, ...], torch.dtype, Layout | None, Position], Resolved] = {}
        self._by_name: dict[str, Record] = {}
        self._lists: dict[str, Mapping[str, tuple[int, int]]] = {}

    def resolve(
        self, candidate: Candidate | None, record: Record, shape: tuple[int, ...] | None, dtype: torch.dtype
    ) -> Resolved:
        """What a candidate gives to a tensor: nothing for a checkpoint, or while the tensor has no shape."""
        if candidate is None or candidate.initializer is None or shape is None:
            return NOTHING
        try:
            reading = self._reading(candidate.rule, candidate.initializer, record)
            scheme: Initializer | None = candidate.initializer
            key: object = id(scheme)
            if isinstance(unscaled(candidate.initializer), Default):
                key = scheme = with_default(candidate.initializer, self._default(record))
            # Without a scheme the layer's own method is called.
            found = NOTHING if scheme is None else self._cached(key, scheme, shape, dtype, *reading)
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

    def other_fans(
        self, candidate: Candidate | None, record: Record, shape: tuple[int, ...] | None, dtype: torch.dtype
    ) -> tuple[Fans, ...]:
        """The fans by the layer's convention, if torch's reading is used, the fill would differ and no one chose."""
        scheme = candidate.initializer if candidate is not None else None
        if candidate is None or scheme is None or shape is None or len(shape) < 2:
            return ()
        if candidate.rule.fan is not None or self._fan != "auto" or needs_of(scheme).convention != "torch":
            return ()
        layout, (_, position) = self._layout_of(record), self._reading(candidate.rule, scheme, record)
        if layout is None:
            return ()
        try:
            other = self._cached(id(scheme), scheme, shape, dtype, layout, position)
        except AutoInitError:  # It is not used, so that it need not be defined.
            return ()
        return () if other.fill == self._cached(id(scheme), scheme, shape, dtype, None, position).fill else other.fans

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
        """What is needed to resolve the winner, the last of the candidates, when a lazy parameter has its shape."""
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
        layout, position = self._reading(rule, scheme, record)
        return Deferred(scheme=scheme, layout=layout, rule=rule, rank=rank, position=position, otherwise=otherwise)

    def _reading(self, rule: Rule, scheme: Initializer, record: Record) -> tuple[Layout | None, Position]:
        """How the axes of a tensor are read, and where it is in the model, as far as an initializer needs to know."""
        needs = needs_of(scheme)
        layout = None if needs.convention == "nothing" else self._layout(rule, needs.convention, record)
        if not needs.fields:
            return layout, NOWHERE
        layer, depth = self.in_list(record.fqn, *record.aliases) if needs.list_around else (None, None)
        weight = self._weight_of(record) if needs.maps else None
        beside = None
        if weight is not None:
            read = self._layout(rule, needs.convention, weight)
            beside = Beside(name=weight.name, shape=weight.shape_and_dtype()[0], layout=read)
        return layout, Position(layer=layer, depth=depth, beside=beside)

    def _layout(self, rule: Rule, usual: str, record: Record) -> Layout | None:
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

    def in_list(self, *fqns: str) -> tuple[int, int] | tuple[None, None]:
        """Position and length of the outermost list of like modules, by the first name with a list around it."""
        for fqn in fqns:
            parts = fqn.split(".")
            for end in range(1, len(parts)):
                found = self._members_of(".".join(parts[: end - 1])).get(parts[end - 1])
                if found is not None:
                    return found
        return None, None

    def _members_of(self, container: str) -> Mapping[str, tuple[int, int]]:
        """The numbered children of a container with others of their class: the place of each, and their number."""
        if container not in self._lists:
            children = self._modules[container]._modules if container in self._modules else {}
            alike: dict[str, list[str]] = {}
            for name, child in children.items():
                if child is not None and name.isdigit():
                    # A child may be wrapped, and be parametrized; its class is that of the module inside.
                    alike.setdefault(class_name(unwrapped(child)), []).append(name)
            self._lists[container] = {
                name: (at, len(names)) for names in alike.values() if len(names) > 1 for at, name in enumerate(names, 1)
            }
        return self._lists[container]

    def _weight_of(self, record: Record) -> Record | None:
        """The weight beside a bias."""
        if "bias" not in record.name:
            return None
        if not self._by_name:
            self._by_name = {fqn: each for each in self._records for fqn in (each.fqn, *each.aliases)}
        owner = record.fqn.removesuffix(record.name)
        found = (self._by_name.get(owner + name) for name in weight_names(record.name))
        return next(filter(None, found), None)


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
