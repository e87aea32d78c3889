"""The tensors of one model that can be filled, each once, whatever its names and wherever its values are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import _torch
from ..layers import class_name, is_lazy
from ..parametrized import Effective
from .claims import Claim
from .steps import Load, OwnInit
from .tree import Node, joined


class Padding(NamedTuple):
    """The rows of a tensor that embeddings have for padding.

    Args:
        rows: ascending.
        axis: along which the rows lie.
    """

    rows: tuple[int, ...]
    axis: int


class Record:
    """One tensor while claims on it are collected.

    Args:
        fqn: its first name.
        param: what identifies it: the parameter or buffer; of a weight that is computed, the first that is stored.
        owner: the module that it belongs to.
        name: in that module.
        weight: how it is set, if it is computed from stored tensors.
    """

    __slots__ = (
        "alias_claims",
        "aliases",
        "claims",
        "fqn",
        "kept",
        "load",
        "name",
        "own",
        "owner",
        "padding",
        "param",
        "weight",
        "within",
    )

    def __init__(self, fqn: str, param: Tensor, owner: nn.Module, name: str, weight: Effective | None = None) -> None:
        self.fqn = fqn
        self.param = param
        self.owner = owner
        self.name = name
        self.weight = weight
        self.kept: str | None = None
        self.own: OwnInit | None = None
        """The call of a module's own `init_weights` that will run over it."""
        self.padding: Padding | None = None
        self.load: Load | None = None
        """The load whose checkpoint has its name, if the loading code of a module decides."""
        self.within: Record | None = None
        """The computed weight that it is stored for."""
        # Tuples: of a million records most have one claim, and no other name.
        self.claims: tuple[Claim, ...] = ()
        self.aliases: tuple[str, ...] = ()
        self.alias_claims: tuple[tuple[str, Claim], ...] = ()

    def claim(self, fqn: str, claim: Claim) -> None:
        """Add a rule's wish, made under one of its names."""
        self.claims += (claim,)
        if fqn != self.fqn:
            self.alias_claims += ((fqn, claim),)

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

    @property
    def is_lazy(self) -> bool:
        return is_lazy(self.param)

    def shape_and_dtype(self) -> tuple[tuple[int, ...] | None, torch.dtype]:
        """Of the tensor as it is used; no shape while it is lazy."""
        if self.is_lazy:
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
        fqn = f"{node.fqn}.{name}" if node.fqn else name
        record = self.of(param)
        if record is None:
            address = address_of(param)
            record = self._by_address.get(address) if address is not None else None
            if record is None or record.param.numel() != param.numel():
                record = self._by_id[id(param)] = Record(fqn, param, node.module, name)
                if address is not None:
                    self._by_address[address] = record
                return record
            self._also[id(param)] = record
        if fqn != record.fqn and fqn not in record.aliases:
            record.aliases += (fqn,)
        return record

    def weight(self, node: Node, weight: Effective) -> Record:
        """The record of a computed weight; its stored tensors then belong to it."""
        fqn = joined(node.fqn, weight.name)
        first, *others = weight.stored.values()
        record = self._by_id.get(id(first))
        if record is None:
            record = self._by_id[id(first)] = Record(fqn, first, node.module, weight.name, weight)
            for other in others:
                self._also[id(other)] = record
        elif fqn != record.fqn and fqn not in record.aliases:
            record.aliases += (fqn,)
        return record

    def named(self, node: Node, name: str, tensor: Tensor, within: Record | None = None) -> Record:
        """The record of a buffer, or of a tensor that is stored for a computed weight: if a rule names it."""
        key = id(tensor) if within is None else -id(tensor)
        record = self._by_id.get(key)
        if record is None:
            record = self._by_id[key] = Record(joined(node.fqn, name), tensor, node.module, name)
            record.within = within
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
