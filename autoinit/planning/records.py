"""The tensors of one model that can be filled, each once, whatever its names and wherever its values are stored."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import Tensor, nn

from .. import _torch
from ..layers import is_lazy
from ..parametrized import Effective
from .matches import Candidate
from .steps import Load, OwnInit
from .tree import Node, joined

rank_of = attrgetter("rank")


@dataclass(eq=False, slots=True)
class Record:
    """One tensor that can be filled, and what the walk over its model found out about it.

    Args:
        fqn: Its first name; `aliases` are the others.
        param: The parameter or buffer. For a parametrized weight, the first tensor that is stored for it.
        owner: The module that has it, under the attribute `name`.
        weight: How it is set, if it is parametrized.
        stored: The FQNs of the tensors that are stored for a parametrized weight.
        within: The parametrized weight that it is stored for.
        kept: Why it is left alone.
        own: The call of a module's own `init_weights` that will run over it.
        load: The load whose checkpoint has its name, if the loading code of a module decides.
        padding: The rows that embeddings use for padding, in ascending order, along `padding_axis`.
        candidates: The rules that match it under its first name.
        alias_candidates: The rules that match it under another name, with that name.
    """

    fqn: str
    param: Tensor
    owner: nn.Module
    name: str
    weight: Effective | None = None
    stored: tuple[str, ...] = ()
    within: Record | None = None
    kept: str | None = None
    own: OwnInit | None = None
    load: Load | None = None
    padding: tuple[int, ...] = ()
    padding_axis: int = 0
    # Tuples: of a million records most have one candidate, and no other name.
    aliases: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    alias_candidates: tuple[tuple[str, Candidate], ...] = ()

    def ranked(self) -> tuple[Candidate, ...]:
        """All candidates in rising precedence: the last one wins."""
        if not self.alias_candidates and len(self.candidates) < 2:
            return self.candidates
        others = (candidate for _, candidate in self.alias_candidates)
        return tuple(sorted((*self.candidates, *others), key=rank_of))

    @property
    def winner(self) -> Candidate | None:
        """The candidate of highest precedence."""
        ranked = self.ranked()
        return ranked[-1] if ranked else None

    def under(self, fqn: str) -> Record:
        """Add one of the tensor's names; returns the record."""
        if fqn != self.fqn and fqn not in self.aliases:
            self.aliases += (fqn,)
        return self

    def pad(self, table: Tensor | None, row: int) -> None:
        """Add the `padding_idx` of an embedding whose weight is this tensor, or one of the same memory."""
        axis = 0
        if table is not None and table is not self.param and self.weight is None:
            axes = list(zip(self.param.shape, self.param.stride(), strict=True))
            rows = (table.shape[0], table.stride(0))
            if rows not in axes:
                return  # The same memory in other pieces: no axis of this tensor has the rows of the table.
            axis = axes.index(rows)
        self.padding, self.padding_axis = tuple(sorted({*self.padding, row})), axis

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that hold its values."""
        return (self.param,) if self.weight is None else tuple(self.weight.stored.values())

    def shape_and_dtype(self) -> tuple[tuple[int, ...] | None, torch.dtype]:
        """Of the tensor as forward uses it; no shape while it is lazy."""
        if is_lazy(self.param):
            return None, self.param.dtype
        used = self.param if self.weight is None else self.weight.picture()
        return tuple(used.shape), used.dtype


class Records(list[Record]):
    """Every tensor of a model that can be filled, in model order."""

    def __init__(self) -> None:
        super().__init__()
        self.by_id: dict[int, Record] = {}
        """By the id of each of its tensors, also of those with the same memory; by minus the id where a rule names a
        tensor that is stored for a weight."""
        self._by_address: dict[int, Record] = {}

    def param(self, node: Node, name: str, param: Tensor) -> Record:
        """The record of a parameter under one of its names; parameters that share all memory have one record."""
        record = self.by_id.get(id(param))
        if record is None and type(param) is nn.Parameter and param.layout == torch.strided and param.numel():
            address = _torch.storage_id(param) if param.is_meta else param.data_ptr()
            record = self._by_address.get(address)
            if record is None or record.param.numel() != param.numel():
                record = self._by_address[address] = self.get_or_add(node, name, param)
            self.by_id[id(param)] = record
        if record is None:
            record = self.get_or_add(node, name, param)
        fqn = joined(node.fqn, name)
        return record if record.fqn == fqn else record.under(fqn)

    def weight(self, node: Node, weight: Effective) -> Record:
        """The record of a parametrized weight; its stored tensors then belong to it."""
        first, *others = weight.stored.values()
        record = self.by_id.get(id(first))
        if record is not None:
            return record.under(joined(node.fqn, weight.name))
        record = self.get_or_add(node, weight.name, first)
        record.weight = weight
        record.stored = tuple(joined(node.fqn, name) for name in weight.stored)
        self.by_id |= dict.fromkeys(map(id, others), record)
        return record

    def get_or_add(self, node: Node, name: str, tensor: Tensor, within: Record | None = None) -> Record:
        """The record of a tensor; of a tensor that is stored for the weight `within`, its own."""
        key = id(tensor) if within is None else -id(tensor)
        record = self.by_id.get(key)
        if record is None:
            record = self.by_id[key] = Record(joined(node.fqn, name), tensor, node.module, name, within=within)
            self.append(record)
        return record
