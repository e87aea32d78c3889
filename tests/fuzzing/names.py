"""Patterns over the names of modules and parameters: globs, regular expressions, class names, hostile ones too."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from autoinit import AutoInitError, plan

from .application import apply
from .models import MODELS

KEYS = ("name", "name", "params", "layer", "override", "allow_uncovered")


@dataclass(frozen=True)
class Case:
    """A model, a key and the patterns under it."""

    model: str
    key: str
    patterns: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        patterns = list(self.patterns)
        if self.key == "override":
            overrides = [dict(type="Constant", val=2.0, name=pattern) for pattern in patterns]
            return dict(type="Constant", val=1.0, layer="Linear", override=overrides)
        return {"type": "Constant", "val": 1.0, ("name" if self.key == "allow_uncovered" else self.key): patterns}


class Names:
    """Names of the model with wildcards put in, regular expressions, and noise."""

    name = "names"

    def case(self, seed: str) -> Case:
        rng = random.Random(seed)
        model = rng.choice(list(MODELS))
        patterns = tuple(_pattern(rng, model) for _ in range(rng.choice((1, 1, 1, 2, 5))))
        return Case(model=model, key=rng.choice(KEYS), patterns=patterns)

    def run(self, case: Case) -> str:
        if case.key != "allow_uncovered":
            return apply(MODELS[case.model], case.config)
        try:
            plan(MODELS[case.model](), [], require_coverage=True, allow_uncovered=case.patterns)
        except AutoInitError as error:
            return type(error).__name__
        return "ok"

    def smaller(self, case: Case) -> Iterator[Case]:
        for index, pattern in enumerate(case.patterns):
            before, after = case.patterns[:index], case.patterns[index + 1 :]
            if before or after:
                yield replace(case, patterns=(*before, *after))
            for size in (len(pattern) // 2, 1):
                for at in range(0, len(pattern) if size else 0, max(size, 1)):
                    yield replace(case, patterns=(*before, pattern[:at] + pattern[at + size :], *after))


@cache
def _names(model: str) -> tuple[list[str], list[str]]:
    """FQNs of modules, then names of parameters and classes."""
    built = MODELS[model]()
    fqns = [fqn for fqn, _ in built.named_modules()]
    rest = {name.rpartition(".")[2] for name, _ in built.named_parameters()}
    return fqns, sorted(rest | {type(module).__name__ for module in built.modules()})


def _pattern(rng: random.Random, model: str) -> str:
    fqns, others = _names(model)
    word = rng.choice(rng.choice((fqns, fqns, others)))
    match rng.randrange(8):
        case 0 | 1 | 2:
            return _with_wildcards(word, rng)
        case 3 | 4 | 5:
            return "re:" + _expression(rng, word)
        case 6:
            return "re:" + _with_wildcards(word, rng, most=2)
        case _:
            return "".join(rng.choice("*?[]!-.\\()|^$aw\0é\ud800") for _ in range(rng.choice((1, 5, 40, 2000))))


def _with_wildcards(word: str, rng: random.Random, most: int = 60) -> str:
    for _ in range(min(most, rng.choice((0, 1, 2, 8, 60)))):
        at = rng.randrange(len(word) + 1)
        piece = rng.choice(("*", "**", "**.", ".**", "?", "[a-z]", "[!.]", "[", "]", ".", "a", "[]", "[z-a]", "*.*"))
        word = word[:at] + piece + word[min(len(word), at + rng.randrange(2)) :]
    return word


def _expression(rng: random.Random, word: str) -> str:
    """A regular expression with one repeat: `re` may take for ever over nested ones, and is not protected from them."""
    pieces = [_piece(rng, word) for _ in range(rng.choice((1, 2, 3, 6)))]
    at = rng.randrange(len(pieces))
    pieces[at] = f"({pieces[at]}){rng.choice(('*', '+', '*?', '+?', '{2,}', '{0,50}', '?', ''))}"
    return rng.choice(("", "|")).join(pieces) + rng.choice(("", "x", "$", "!"))


def _piece(rng: random.Random, word: str) -> str:
    literal = word[: rng.randrange(len(word) + 1)].replace(".", r"\.")
    pieces = (
        ".",
        r"\w",
        "a",
        r"\.",
        "[a-z_]",
        r"[^.]",
        "l",
        r"\d",
        "(?=a)",
        "(?!b)",
        r"\b",
        "^",
        "$",
        "(?i:W)",
        "(?<=a)",
        "",
    )
    return rng.choice((literal, literal, *pieces))
