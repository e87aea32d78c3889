"""Where parameters are in their model, for the expressions and lists of initializers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from ..fans import Layout
from ..initializers import Initializer
from ..initializers.initializer import needs_of
from ..initializers.position import NOWHERE, Beside, Position, weight_names
from ..layers import class_name
from .records import Record
from .tree import unwrapped


class Positions:
    """Finds the position of each record of a model.

    Args:
        modules: The modules by FQN.
        records: The records, which are complete when the first position is asked for.
    """

    def __init__(self, modules: Mapping[str, nn.Module], records: Sequence[Record]) -> None:
        self._modules = modules
        self._records = records
        self._by_name: dict[str, Record] = {}
        self._members: dict[str, Mapping[str, tuple[int, int]]] = {}

    def of(self, scheme: Initializer, record: Record, layout_of: Callable[[Record], Layout | None]) -> Position:
        """What an initializer needs to know of the model around a tensor; `layout_of` reads the axes of a weight."""
        needs = needs_of(scheme)
        if not needs.fields:
            return NOWHERE
        layer, depth = self.in_list(record.fqn, *record.aliases) if needs.list_around else (None, None)
        weight = self._weight_of(record) if needs.maps else None
        beside = None
        if weight is not None:
            beside = Beside(name=weight.name, shape=weight.shape_and_dtype()[0], layout=layout_of(weight))
        return Position(layer=layer, depth=depth, beside=beside)

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
        if container not in self._members:
            children = self._modules[container]._modules if container in self._modules else {}
            alike: dict[str, list[str]] = {}
            for name, child in children.items():
                if child is not None and name.isdigit():
                    # A child may be wrapped, and be parametrized; its class is that of the module inside.
                    alike.setdefault(class_name(unwrapped(child)), []).append(name)
            self._members[container] = {
                name: (at, len(names)) for names in alike.values() if len(names) > 1 for at, name in enumerate(names, 1)
            }
        return self._members[container]

    def _weight_of(self, record: Record) -> Record | None:
        """The weight that belongs to a bias."""
        if "bias" not in record.name:
            return None
        if not self._by_name:
            self._by_name = {fqn: each for each in self._records for fqn in (each.fqn, *each.aliases)}
        owner = record.fqn.removesuffix(record.name)
        return next(
            (self._by_name[owner + name] for name in weight_names(record.name) if owner + name in self._by_name), None
        )
