"""Configs as the bytes of YAML, JSON and TOML files."""

from __future__ import annotations

import json
import pathlib
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml

from . import bytesets
from .application import apply
from .configs import corpus
from .models import MODELS

WORDS = tuple(
    word.encode("utf-8", "surrogatepass")
    for word in (
        *(
            "type: Normal",
            "layer: Linear",
            "init_cfg:",
            "init_cfg",
            "[[init_cfg]]",
            "override:",
            "- ",
            "\n  ",
            "\t",
            "\r",
        ),
        *("!!python/object/apply:os.system [ls]", "!!python/name:os.system", "!!binary aGk=", "!!set", "!!omap", "!x "),
        *("!!timestamp soon", "!!int ''", "!!float x", "!!bool 2", "&a ", "*a", "<<: *a", "<<: [", "? ", "--- ", "..."),
        *("%YAML 9.9\n", "[" * 500, "{a: " * 200, '{"a":' * 2000, *"{}],:|>'\"#=", *"\ud800\ufeff\u2028\0\x1bé"),
        *(".inf", "-.inf", ".nan", "1e999", "1e-3", "0x7fffffffffffffffffff", "1_000", "0b1", "0o7", "1:30", "NaN"),
        *("Infinity", "-Infinity", "null", "~", "true", "yes", "2001-12-14", "1979-05-27T07:32:00Z", "9" * 5000),
        *("\\ud800", '"""', "'''", "\\x", "\\u0000", '"\\', "a.b.c = 1", "checkpoint: /dev/zero", "type: Pretrained"),
        *("type = 'Normal'\n", "std = inf\n", "[a]\n", "[a.b]\n[a]\n", "a: &a [*b]\nb: &b [*a]\n"),
        "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" if n else "x0: &x0 [1]" for n in range(9)),
    )
)
SUFFIXES = (".yaml", ".json", ".toml")


@dataclass(frozen=True)
class Case:
    """A model, and a file for it."""

    model: str
    suffix: str
    content: bytes


@cache
def files(suffix: str) -> list[bytes]:
    return [_written(value, suffix).encode() for value in corpus()]


def _written(value: Any, suffix: str) -> str:
    items = value if isinstance(value, list) else [value]
    if suffix == ".json":
        return json.dumps({"init_cfg": value}, indent=random.Random(str(value)).choice((None, 2)))
    if suffix == ".yaml":
        return yaml.safe_dump(value, sort_keys=False)
    tables = ("".join(f"{key} = {_toml(item[key])}\n" for key in item) for item in items)
    return "\n".join(f"[[init_cfg]]\n{table}" for table in tables)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return '""' if value is None else json.dumps(value)


class Texts:
    """Real configs written in each syntax, with bytes changed."""

    name = "texts"

    def case(self, seed: str) -> Case:
        rng = random.Random(seed)
        suffix = rng.choice(SUFFIXES)
        content = bytesets.mutated(rng.choice(files(suffix)), rng, files(rng.choice(SUFFIXES)), WORDS)
        return Case(model=rng.choice(list(MODELS)), suffix=suffix, content=content)

    def run(self, case: Case) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, f"config{case.suffix}")
            path.write_bytes(case.content)
            return apply(MODELS[case.model], lambda: str(path))

    def smaller(self, case: Case) -> Iterator[Case]:
        for content in bytesets.smaller(case.content):
            yield replace(case, content=content)
