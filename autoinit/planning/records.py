"""The tensors of one model that can be filled, each once, whatever its names and wherever its values are stored."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import _torch
from ..layers import is_lazy
from ..parametrized import Effective
from .candidates import Candidate
from .steps import Load, OwnInit
from .tree import Node, joined

rank_of = attrgetter("rank")


class Padding(NamedTuple):
    """The rows of a tensor that embeddings use for padding, in ascending order, and the axis that they lie along."""

    rows: tuple[int, ...]
    axis: int


@dataclass(eq=False, slots=True)
class Record:
    """One tensor that can be filled, and what the walk over its model found out about it.

    Args:
        fqn: Its first name.
        param: The parameter or buffer. For a parametrized weight, the first tensor that is stored for it.
        owner: The module that it belongs to.
        name: Its name in that module.
        weight: How it is set, if it is parametrized.
        within: The parametrized weight that it is stored for.
        kept: Why it is left alone.
        own: The call of a module's own `init_weights` that will run over it.
        load: The load whose checkpoint has its name, if the loading code of a module decides.
        padding: The rows that embeddings use for padding.
        aliases: Its other names.
        candidates: The rules that match it under its first name.
        alias_candidates: The rules that match it under another name, with that name.
    """

    fqn: str
    param: Tensor
    owner: nn.Module
    name: str
    weight: Effective | None = None
    within: Record | None = None
    kept: str | None = None
    own: OwnInit | None = None
    load: Load | None = None
    padding: Padding | None = None
    # Tuples: of a million records most have one candidate, and no other name.
    aliases: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    alias_candidates: tuple[tuple[str, Candidate], ...] = ()

    def add(self, fqn: str, candidates: tuple[Candidate, ...]) -> None:
        """Add the rules that match it under one of its names."""
        if fqn == self.fqn:
            self.candidates += candidates
        else:
            self.alias_candidates += tuple((fqn, candidate) for candidate in candidates)

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

    def pad(self, table: Tensor | None, row: int) -> None:
        """Add a row that an embedding uses for padding.

        Args:
            table: Weight of the embedding: this tensor, or one of the same memory such as its transpose.
            row: Its `padding_idx`.
        """
        axis = 0
        if table is not None and table is not self.param and self.weight is None:
            axes = list(zip(self.param.shape, self.param.stride(), strict=True))
            rows = (table.shape[0], table.stride(0))
            if rows not in axes:
                return  # The same memory in other pieces: no axis of this tensor has the rows of the table.
            axis = axes.index(rows)
        known = self.padding.rows if self.padding is not None else ()
        self.padding = Padding(rows=tuple(sorted({*known, row})), axis=axis)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that hold its values."""
        return (self.param,) if self.weight is None else tuple(self.weight.stored.values())

    @property
    def stored(self) -> tuple[str, ...]:
        """The FQNs of the tensors that are stored for a parametrized weight."""
        if self.weight is None:
            return ()
        base = self.fqn[: len(self.fqn) - len(self.name)]
        return tuple(base + name for name in self.weight.stored)

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
        """By the id of each tensor that a record consists of; minus the id for what `named` makes of a stored one."""
        self._by_address: dict[int, Record] = {}

    def of(self, tensor: Tensor) -> Record | None:
        """The record that a tensor belongs to: as itself, as the same memory, or as stored for a weight."""
        return self.by_id.get(id(tensor))

    def param(self, node: Node, name: str, param: Tensor) -> Record:
        """The record of a parameter under one of its names. Two parameters that share all memory have one record."""
        record = self.by_id.get(id(param))
        if record is None and type(param) is nn.Parameter and param.layout == torch.strided and param.numel():
            address = _torch.storage_id(param) if param.is_meta else param.data_ptr()
            record = self._by_address.get(address)
            if record is None or record.param.numel() != param.numel():
                record = self._by_address[address] = self._new(node, name, param)
            self.by_id[id(param)] = record
        return self._under(joined(node.fqn, name), record) if record is not None else self._new(node, name, param)

    def weight(self, node: Node, weight: Effective) -> Record:
        """The record of a parametrized weight; its stored tensors then belong to it."""
        first, *others = weight.stored.values()
        record = self.by_id.get(id(first))
        if record is not None:
            return self._under(joined(node.fqn, weight.name), record)
        record = self._new(node, weight.name, first, weight=weight)
        self.by_id |= dict.fromkeys(map(id, others), record)
        return record

    def named(self, node: Node, name: str, tensor: Tensor, within: Record | None = None) -> Record:
        """The record of a buffer that a rule names, or of a tensor that is stored for the weight `within`."""
        key = id(tensor) if within is None else -id(tensor)
        return self.by_id.get(key) or self._new(node, name, tensor, within=within)

    def _new(
        self, node: Node, name: str, tensor: Tensor, *, weight: Effective | None = None, within: Record | None = None
    ) -> Record:
        record = Record(joined(node.fqn, name), tensor, node.module, name, weight, within)
        self.by_id[id(tensor) if within is None else -id(tensor)] = record
        self.append(record)
        return record

    @staticmethod
    def _under(fqn: str, record: Record) -> Record:
        if fqn != record.fqn and fqn not in record.aliases:
            record.aliases += (fqn,)
        return record
