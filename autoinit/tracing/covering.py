"""A short list of rules that gives every parameter what the model's own code gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from ..fills import Fill
from ..globs import fqn_pattern, param_pattern
from ..layers import is_layer, lineage
from .name_globs import shortest_globs
from .written_initializers import KEEP, Written, constant_of, implied_bias

Names: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Site:
    """One name of a parameter: FQN and class of the module that has it, and its name there."""

    module: str
    cls: type
    param: str


@dataclass(eq=False, kw_only=True)
class Row:
    """One parameter and the ways to write what fills it.

    Args:
        fqn: Its name.
        sites: All of its names; the first is `fqn`.
        fill: What the model's own code gives it; None if no initializer does.
        ways: The ways to write its initializer, the best first; none if no rule can fill it so.
    """

    fqn: str
    sites: Sequence[Site]
    fill: Fill | None = None
    ways: list[Written] = field(default_factory=list)

    @cached_property
    def param(self) -> str:
        """Its name in its module; in a list of parameters a glob for all of the list."""
        return re.sub(r"(?<=\.)\d+$|^\d+$", "*", self.sites[0].param)

    @property
    def kind(self) -> str:
        """`"weight"`, `"bias"`, or `""` for other names."""
        return self.param if self.param in ("weight", "bias") else ""

    def accepts(self, given: Written | None) -> bool:
        """Whether what the rules give it is what the model's own code gives it."""
        return given in self.ways if self.ways else given in (None, KEEP)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One rule of a config that is being written.

    Args:
        written: Its initializer.
        layer: Names of classes.
        name: Globs over module FQNs.
        params: Globs over names of parameters; empty for weight and bias.
        bias: What a bias gets that is reached together with a weight; None leaves it alone.
    """

    written: Written
    layer: Names = ()
    name: Names = ()
    params: Names = ()
    bias: Written | None = None

    def given_to(self, site: Site) -> Written | None:
        """What it gives to a parameter under one of its names; None if it does not select it."""
        if not self.reaches(site.param) or not self.selects(site):
            return None
        return self.bias if site.param == "bias" and self.reaches("weight") else self.written

    def selects(self, site: Site) -> bool:
        """Whether it selects the module that has a parameter."""
        in_layer = not self.layer or any(is_layer(site.cls, name) for name in self.layer)
        return in_layer and (not self.name or any(fqn_pattern(glob)(site.module) for glob in self.name))

    def reaches(self, param: str) -> bool:
        """Whether it selects parameters of a name."""
        return any(param_pattern(glob)(param) for glob in self.params or ("weight", "bias"))

    def to_dict(self) -> dict[str, Any]:
        """The rule as a config has it."""
        (kind, *arguments) = self.written
        params = self.params
        bias = {}
        if not params and self.bias != implied_bias(self.written):
            # A rule for names is usually about the weights alone.
            params = ("weight",) if self.bias is None and self.name else ()
            bias = {} if params else {"bias": constant_of(self.bias)}
        selectors = {"layer": self.layer, "name": self.name, "params": params}
        shown = {key: values[0] if len(values) == 1 else list(values) for key, values in selectors.items() if values}
        return dict([kind]) | shown | dict(arguments) | bias


class Cover:
    """Finds rules for the parameters of one model.

    Args:
        rows: The parameters, in model order. A way that no rule can give a parameter alone is removed from its `ways`.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._classes = dict.fromkeys(site.cls for row in rows for site in row.sites[:1])
        self._given: dict[Draft, Mapping[Row, Written]] = {}
        self._unreachable: set[Row] = set()
        """Parameters that a rule of type `Keep` cannot select without others."""

    def drafts(self) -> list[Draft]:
        """Rules by layer type, then rules by name for what these leave wrong; what no rule can say is given up."""
        drafts = self._merged(self._usual())
        for kind in ("weight", "", "bias"):
            rows = [row for row in self.rows if row.kind == kind]
            while wrong := self._wrong(drafts, rows):
                drafts += self._narrower(wrong, drafts)
        return self._without_idle(self._merged(drafts))

    def given(self, drafts: Iterable[Draft]) -> dict[Row, Written]:
        """What a config gives to each parameter: the last rule that selects any of its names wins."""
        return {row: written for draft in drafts for row, written in self.given_by(draft).items()}

    def given_by(self, draft: Draft) -> Mapping[Row, Written]:
        """What one rule gives to the parameters that it selects."""
        if draft not in self._given:
            sites = ((row, site) for row in self.rows for site in reversed(row.sites))
            given = ((row, draft.given_to(site)) for row, site in sites)
            self._given[draft] = {row: written for row, written in given if written is not None}
        return self._given[draft]

    def _wrong(self, drafts: Iterable[Draft], rows: Iterable[Row]) -> list[Row]:
        """The parameters that get something else than the model's own code gives them."""
        given = self.given(drafts)
        return [row for row in rows if not row.accepts(given.get(row)) and row not in self._unreachable]

    def _usual(self) -> list[Draft]:
        """Rules for each class, ancestors before their subclasses, then for each other name of a parameter."""
        classes = sorted(self._classes, key=lambda cls: len(lineage(cls)))
        groups: dict[tuple[str, str], list[Row]] = {
            (self._name(cls), param): [] for cls in classes for param in ("weight", "bias")
        }
        for row in self.rows:
            groups.setdefault((self._name(row.sites[0].cls), row.kind) if row.kind else ("", row.param), []).append(row)
        drafts: list[Draft] = []
        for (layer, param), rows in groups.items():
            written, own = _best(rows), [row for row in rows if row.ways]
            if written is not None:
                draft = self._draft(written, param, drafts, (layer,) if layer else ())
                if len(self._wrong([*drafts, draft], own)) < len(self._wrong(drafts, own)):
                    drafts.append(draft)
        return drafts

    def _name(self, cls: type) -> str:
        """The name to write for a class: qualified if its short name also means an unrelated class of the model."""
        others = [each for each in self._classes if not issubclass(each, cls) and is_layer(each, cls.__name__)]
        return f"{cls.__module__}.{cls.__qualname__}" if others else cls.__name__

    def _draft(self, written: Written, param: str, drafts: Sequence[Draft], layer: Names, name: Names = ()) -> Draft:
        """A rule; for weights with the `bias` that makes most of the biases right that it selects as well."""
        draft = Draft(written=written, layer=layer, name=name, params=() if param == "weight" else (param,))
        implied = implied_bias(written)
        biases = [row for row in self.rows if row.kind == "bias" and any(map(draft.selects, row.sites))]
        if draft.params or not biases:
            return replace(draft, bias=implied)
        constants = [way for row in biases for way in row.ways if constant_of(way) is not None and written != KEEP]
        wrong = {
            bias: len(self._wrong([*drafts, replace(draft, bias=bias)], biases))
            for bias in dict.fromkeys([*constants, implied, None])
        }
        # Of rules that are as good the one that says the bias, too, because it is shorter than two.
        best = min(wrong, key=wrong.__getitem__)
        return replace(draft, bias=best if wrong[best] < len(biases) else None)

    def _merged(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The rules with those that differ in one selector as one, if that is as right."""
        merged: list[Draft] = []
        for at, draft in enumerate(drafts):
            rest = drafts[at + 1 :]
            wrong = len(self._wrong([*merged, draft, *rest], self.rows))
            joined = (
                [*merged[:place], one, *merged[place + 1 :]]
                for place, other in enumerate(merged)
                for one in _joined(other, draft)
            )
            fitting = (tried for tried in joined if len(self._wrong([*tried, *rest], self.rows)) <= wrong)
            merged = next(fitting, [*merged, draft])
        return merged

    def _without_idle(self, drafts: list[Draft]) -> list[Draft]:
        """The rules without those that change nothing."""
        wrong = len(self._wrong(drafts, self.rows))
        for draft in list(drafts):
            rest = [other for other in drafts if other is not draft]
            drafts = rest if len(self._wrong(rest, self.rows)) == wrong else drafts
        return drafts

    def _narrower(self, wrong: Sequence[Row], drafts: Sequence[Draft]) -> list[Draft]:
        """A rule that makes some parameters right and none wrong of the same kind; if there is none, gives one up."""
        written = _best(wrong) or KEEP
        accepting = [row for row in wrong if row.accepts(written)]
        wanted = [row for row in accepting if row.param == accepting[0].param]
        selectors = self._selectors(written, wanted)
        if selectors is not None:
            return [self._draft(written, wanted[0].param, drafts, *selectors)]
        if written == KEEP:
            self._unreachable.update(wanted)
        else:
            wanted[0].ways.remove(written)
        return []

    def _selectors(self, written: Written, wanted: Sequence[Row]) -> tuple[Names, Names] | None:
        """A `layer` and `name`, perhaps empty, that reach some parameters and none that this would make wrong."""
        layer = tuple(map(self._name, dict.fromkeys(row.sites[0].cls for row in wanted)))
        bases = [Draft(written=written, params=(wanted[0].param,), layer=each) for each in ((), layer)]
        broken = {base: [row for row in self.given_by(base) if not row.accepts(written)] for base in bases}
        for base, rows in broken.items():
            if not rows:
                return base.layer, ()
        for base, rows in broken.items():
            others = {site.module for row in rows for site in row.sites if base.given_to(site) is not None}
            globs = shortest_globs([row.sites[0].module for row in wanted], others)
            if globs:
                return base.layer, tuple(globs)
        return None


def _best(rows: Iterable[Row]) -> Written | None:
    """The initializer that fills most of some parameters, the best written one of those."""
    places: dict[Written, list[int]] = {}
    for row in rows:
        for place, written in enumerate(row.ways):
            places.setdefault(written, []).append(place)
    # A dict keeps the order in which it met its keys, so that the choice depends on nothing else.
    return min(places, key=lambda way: (-len(places[way]), sum(places[way]) / len(places[way])), default=None)


def _joined(one: Draft, other: Draft) -> Iterator[Draft]:
    """One rule in place of two that differ in one selector; of layers without biases either `bias` will do."""
    pairs = {key: (getattr(one, key), getattr(other, key)) for key in ("layer", "name", "params")}
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if one.written == other.written and len(differing) == 1:
        [(key, (first, second))] = differing.items()
        if first and second:
            both = replace(one, **{key: tuple(dict.fromkeys([*first, *second]))})
            # One that the layer with biases does not need would be overridden by a later rule.
            biases = sorted(dict.fromkeys([one.bias, other.bias]), key=lambda bias: bias == implied_bias(one.written))
            yield from (replace(both, bias=bias) for bias in biases)
