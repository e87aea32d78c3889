"""Parameters that modules in a block share with modules outside: `new.weight = old.weight`."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TypeVar

from torch import nn

T = TypeVar("T")
Table = Mapping[str, "nn.Parameter | None"]


def foreign_params(built: Iterable[nn.Module], known: Container[int] = ()) -> set[int]:
    """The ids of the parameters of these modules that some other module has registered, too.

    Args:
        built: the modules.
        known: ids of parameters that need no answer, because they are left alone whatever it is.

    Nothing on a parameter says when it was made or who has it. But whoever has it holds a reference: one that is
    referred to just by these modules' own tables needs no further look, and only for the rest is the heap searched.

    Example:
        >>> old, new = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> new.weight = old.weight
        >>> foreign_params([new]) == {id(old.weight)}, foreign_params([old, new])
        (True, set())
    """
    tables = {id(module._parameters): module._parameters for module in built if "_parameters" in module.__dict__}
    owners = Counter(id(param) for table in tables.values() for param in table.values())
    suspects = {
        id(param): param
        for table in tables.values()
        for param, count in _references(table)
        if param is not None and count > owners[id(param)] and id(param) not in known
    }
    return _registered_elsewhere(suspects, tables) if suspects else set()


def _references(table: Mapping[str, T]) -> Iterator[tuple[T, int]]:
    """The values of a dict, and how many references besides this function's there are to each."""
    for value in table.values():
        yield value, sys.getrefcount(value) - OVERHEAD


OVERHEAD = 0
"""References that looking costs, which differs between versions of Python."""
OVERHEAD = next(count for _, count in _references({"fresh": object()})) - 1


def _registered_elsewhere(suspects: Mapping[int, nn.Parameter], tables: Mapping[int, Table]) -> set[int]:
    """Those of the suspects that stand in the `_parameters` of a module whose table is none of these."""
    found: set[int] = set()
    for holder in gc.get_referrers(*suspects.values()):
        if isinstance(holder, dict) and id(holder) not in tables and holder is not suspects and _is_table(holder):
            found.update(id(value) for value in holder.values() if id(value) in suspects)
    return found


def _is_table(candidate: dict[object, object]) -> bool:
    """Whether a dict is the `_parameters` of a module, rather than a state dict or anything else with parameters."""
    return any(
        (isinstance(holder, dict) and holder.get("_parameters") is candidate)
        # From Python 3.11 on an object's attributes are in no dict until somebody asks for one.
        or (isinstance(holder, nn.Module) and holder.__dict__.get("_parameters") is candidate)
        for holder in gc.get_referrers(candidate)
    )
