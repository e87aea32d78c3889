"""Rules while a config is being written: what they select, and what they give to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any

from ..globs import fqn_pattern, param_pattern
from ..layers import is_layer
from .written_initializers import DEFAULT, KEEP, Written, zero_or


@dataclass(frozen=True, kw_only=True)
class Site:
    """One name of a parameter.

    Args:
        module: FQN of the module that has it.
        cls: Class of that module.
        param: Its name in the module.
    """

    module: str
    cls: type
    param: str


@dataclass(eq=False, kw_only=True)
class Row:
    """One parameter and the ways to write what fills it.

    Args:
        fqn: Its name.
        sites: All of its names; the first is `fqn`.
        ways: The ways to write its initializer, the best first; `KEEP` alone if there is none.
    """

    fqn: str
    sites: Sequence[Site]
    ways: dict[Written, None] = field(default_factory=dict)

    @property
    def is_sayable(self) -> bool:
        """Whether a rule can fill it as the model's own code does."""
        return KEEP not in self.ways

    def give_up(self, written: Written) -> None:
        """Note that a rule cannot fill it so."""
        self.ways.pop(written, None)
        if not self.ways:
            self.ways[KEEP] = None

    def accepts(self, given: Written | None) -> bool:
        """Whether what the rules give it is what the model's own code gives it."""
        return given in self.ways if given is not None else not self.is_sayable


class Bias(Enum):
    """Values of a draft's `bias` other than numbers."""

    UNSET = "not written: 0, or what the rule's initializer is, if that is Keep or Default"
    ALONE = "None: it is left alone"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One rule of a config that is being written.

    Args:
        written: Its initializer.
        layer: Classes with the names to write for them.
        name: Globs over module FQNs.
        params: Globs over names of parameters; empty for weight and bias.
        bias: What a bias beside a weight gets.
    """

    written: Written
    layer: tuple[tuple[str, type], ...] = ()
    name: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    bias: Bias | float = Bias.UNSET

    def given_to(self, site: Site) -> Written | None:
        """What it gives to a parameter under one of its names; None if it does not select it."""
        if not self._reaches(site.param) or not self.selects(site):
            return None
        if site.param != "bias" or not self._reaches("weight"):
            return self.written
        if self.bias is Bias.UNSET and self.written in (KEEP, DEFAULT):
            return self.written
        if self.bias is Bias.ALONE:
            return None
        return zero_or(self.bias if isinstance(self.bias, (int, float)) else 0)

    def selects(self, site: Site) -> bool:
        """Whether it selects the module at a site."""
        if self.layer and not any(_is_layer(site.cls, name) for name, _ in self.layer):
            return False
        if not self.name:
            return True
        found = self._fitting.get(site.module)
        if found is None:
            found = self._fitting[site.module] = any(fqn_pattern(glob)(site.module) for glob in self.name)
        return found

    @cached_property
    def _fitting(self) -> dict[str, bool]:
        """Whether `name` matches a module, by FQN, as far as it was asked."""
        return {}

    def _reaches(self, param: str) -> bool:
        return _is_reached(param, self.params or ("weight", "bias"))

    def to_dict(self) -> dict[str, Any]:
        """The rule as a config has it."""
        (kind, *arguments) = self.written.keys
        selectors = {"layer": [name for name, _ in self.layer], "name": list(self.name), "params": list(self.params)}
        rule = dict([kind, *((key, _alone(value)) for key, value in selectors.items() if value), *arguments])
        if self._reaches("weight") and self._reaches("bias"):
            if self.bias is Bias.ALONE:
                rule["bias"] = None
            elif isinstance(self.bias, (int, float)):
                rule["bias"] = self.bias
        return rule


def _alone(values: list[str]) -> list[str] | str:
    return values[0] if len(values) == 1 else values


def given(drafts: Sequence[Draft], row: Row) -> Written | None:
    """What a config gives to a parameter: of the rules that select it by any of its names, what the last one gives."""
    for draft in reversed(drafts):
        for site in row.sites:
            written = draft.given_to(site)
            if written is not None:
                return written
    return None


def place_of(drafts: Sequence[Draft], row: Row) -> Draft | None:
    """The rule of a config that fills a parameter: the last that selects it by any of its names."""
    for draft in reversed(drafts):
        if any(draft.given_to(site) is not None for site in row.sites):
            return draft
    return None


def count_right(drafts: Sequence[Draft], rows: Iterable[Row]) -> int:
    """How many parameters get what the model's own code gives them."""
    return sum(row.accepts(given(drafts, row)) for row in rows)


@lru_cache(maxsize=65536)
def _is_layer(cls: type, name: str) -> bool:
    return is_layer(cls, name)


@lru_cache(maxsize=65536)
def _is_reached(param: str, globs: tuple[str, ...]) -> bool:
    return any(param_pattern(glob)(param) for glob in globs)
