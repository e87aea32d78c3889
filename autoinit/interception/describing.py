"""Blocks and their rules as text: what a prompt and a notebook show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from ..planning import Policy
from ..rules import Rule
from ..tables import Table

SHOWN = 3
"""Rules in the repr of a block."""


def block_text(rules: Sequence[Rule], seed: int | None, defer: bool, policy: Policy) -> str:
    """The first rules of a block, and the options that are not the default.

    Example:
        >>> from torch import nn
        >>> from autoinit import autoinit
        >>> block = autoinit(dict(type="Normal", layer="Linear"), seed=0)
        >>> with block:
        ...     model = nn.Linear(2, 2)
        >>> block
        Block(init_cfg (layer='Linear'): Normal(); seed=0)
    """
    texts = [f"{rule.describe()}: {rule.initializer}" for rule in rules[:SHOWN]]
    more = [f"{len(rules) - SHOWN} more rules"] if len(rules) > SHOWN else []
    options = {} if seed is None else {"seed": seed}
    options |= {} if defer else {"defer": defer}
    options |= {each.name: getattr(policy, each.name) for each in fields(policy)}
    defaults = {each.name: each.default for each in fields(policy)}
    shown = [f"{name}={value!r}" for name, value in options.items() if name not in defaults or value != defaults[name]]
    return "; ".join(filter(None, (", ".join(texts + more) or "no rules", ", ".join(shown))))


def rules_table(rules: Sequence[Rule], title: str) -> Table:
    """One row per rule and override: where it was written, its initializer, and what it selects."""
    rows = [
        (
            rule.origin,
            str(rule.initializer),
            *(", ".join(getattr(each, "__qualname__", each) for each in getattr(rule, key) or ()) for key in SELECTORS),
        )
        for rule in _all(rules)
    ]
    return Table(title=title, columns=("rule", "initializer", *SELECTORS), rows=rows)


SELECTORS = ("layer", "name", "params")


def _all(rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        yield from _all(rule.override)
