"""The tensors of one model that can be filled, each once, whatever its names and wherever its values are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import _torch
from ..layers import class_name, is_lazy
from ..parametrized import Effective
from .candidates import Candidate
from .steps import Load, OwnInit
from .tree import Node, joined

rank_of = attrgetter("rank")


class Padding(NamedTuple):
    """The rows of a tensor that embeddings have for padding.

    Args:
        rows: ascending.
        axis: along which the rows lie.
    """

    rows: tuple[int, ...]
    axis: int


@dataclass(eq=False, slots=True)
class Record:
    """One tensor that can be filled, and what the walk over its model found out about it.

    Args:
        fqn: Its first name.
        param: The parameter or buffer. For a weight that is computed, the first tensor that is stored for it.
        owner: The module that it belongs to.
        name: Its name in that module.
        weight: How it is set, if it is computed from stored tensors.
        within: The computed weight that it is stored for.
        kept: Why it is left alone.
        own: The call of a module's own `init_weights` that will run over it.
        load: The load whose checkpoint has its name, if the loading code of a module decides.
        padding: The rows that embeddings have for padding.
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
        """Add a row that an embedding has for padding.

        Args:
            table: weight of the embedding: this tensor, or one of the same memory such as its transpose.
            row: its `padding_idx`.
        """
        axis: int | None = 0
        if table is not None and table is not self.param and self.weight is None:
            rows = (table.shape[0], table.stride(0))
            axes = list(zip(self.param.shape, self.param.stride(), strict=True))
            axis = axes.index(rows) if rows in axes else None
        if axis is None:
            return  # The same memory in other pieces: no axis of this tensor has the rows of the table.
        known = self.padding.rows if self.padding is not None else ()
        self.padding = Padding(rows=tuple(sorted({*known, row})), axis=axis)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What holds its values."""
        return (self.param,) if self.weight is None else tuple(self.weight.stored.values())

    @property
    def layer(self) -> str:
        """What its owner is called."""
        return class_name(self.owner)

    @property
    def stored(self) -> tuple[str, ...]:
        """The FQNs of what a computed weight is stored as."""
        if self.weight is None:
            return ()
        base = self.fqn[: len(self.fqn) - len(self.name)]
        return tuple(base + name for name in self.weight.stored)

    def shape_and_dtype(self) -> tuple[tuple[int, ...] | None, torch.dtype]:
        """Of the tensor as it is used; no shape while it is lazy."""
        if is_lazy(self.param):
            return None, self.param.dtype
        picture = self.param if self.weight is None else self.weight.picture()
        return tuple(picture.shape), picture.dtype


class Records:
    """Every tensor of a model that can be filled, under its first name."""

    def __init__(self) -> None:
        self._by_id: dict[int, Record] = {}
        self._also: dict[int, Record] = {}
        self._by_address: dict[int, Record] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def ids(self) -> Iterator[int]:
        """The ids of all tensors that any of them consists of."""
        yield from self._by_id
        yield from self._also

    def of(self, tensor: Tensor) -> Record | None:
        """The record that a tensor belongs to, as itself, as the same memory, or as a part of a computed weight."""
        return self._by_id.get(id(tensor)) or self._also.get(id(tensor))

    def param(self, node: Node, name: str, param: Tensor) -> Record:
        """The record of a parameter under one of its names."""
        fqn, record = joined(node.fqn, name), self.of(param)
        if record is None:
            address = address_of(param)
            record = self._by_address.get(address) if address is not None else None
            if record is None or record.param.numel() != param.numel():
                record = self._by_id[id(param)] = Record(fqn, param, node.module, name)
                if address is not None:
                    self._by_address[address] = record
                return record
            self._also[id(param)] = record
        return self._under(fqn, record)

    def weight(self, node: Node, weight: Effective) -> Record:
        """The record of a computed weight; its stored tensors then belong to it."""
        fqn = joined(node.fqn, weight.name)
        first, *others = weight.stored.values()
        record = self._by_id.get(id(first))
        if record is not None:
            return self._under(fqn, record)
        record = self._by_id[id(first)] = Record(fqn, first, node.module, weight.name, weight)
        self._also |= {id(other): record for other in others}
        return record

    def named(self, node: Node, name: str, tensor: Tensor, within: Record | None = None) -> Record:
        """The record of a buffer, or of a tensor that is stored for a computed weight: if a rule names it."""
        key = id(tensor) if within is None else -id(tensor)
        record = self._by_id.get(key)
        if record is None:
            fqn = joined(node.fqn, name)
            record = self._by_id[key] = Record(fqn, tensor, node.module, name, within=within)
        return record

    @staticmethod
    def _under(fqn: str, record: Record) -> Record:
        """A record that is known already, after its other name was noted."""
        if fqn != record.fqn and fqn not in record.aliases:
            record.aliases += (fqn,)
        return record


def address_of(param: Tensor) -> int | None:
    """Where the memory of a parameter begins, which two have in common that are tied by `nn.Parameter(other)`.

    Example:
        >>> one = nn.Parameter(torch.zeros(2, 3))
        >>> address_of(nn.Parameter(one.t())) == address_of(one)
        True
    """
    if type(param) is not nn.Parameter or param.layout != torch.strided or not param.numel():
        return None
    return _torch.storage_id(param) if param.is_meta else param.data_ptr()
