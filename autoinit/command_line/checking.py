"""All errors of a config file, each with its line and column."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config import RULE_KEYS, parse_config, read_config
from ..errors import ConfigError

Steps = tuple[str | int, ...]
"""Keys and indices that lead to a place in a config: `init_cfg[2].override[0].std` is `(2, "override", 0, "std")`."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error in a config file.

    Args:
        file: the file.
        line: from 1; None where the format does not say (TOML).
        column: from 1.
        message: what is wrong, and the remedy.
    """

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line is not None else self.file
        return f"{place}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def problems(file: Path) -> Iterator[Problem]:
    """Every error of a config file, rule by rule."""
    try:
        content, where = read_config(file)
    except ConfigError as error:
        yield _problem(file, str(error).removeprefix(f"{file}: "), _place_in(str(error)))
        return
    rules = (
        [(f"{where}[{index}]", (index,), item) for index, item in enumerate(content)]
        if isinstance(content, list)
        else [(where, (), content)]
    )
    for origin, start, item in rules:
        found = [(_mark(file, (*start, *steps)), message) for message, steps in _errors(item, origin)]
        for place, message in sorted(found, key=lambda each: each[0] or (0, 0)):
            yield _problem(file, message.removeprefix(f"{file.name}: "), place)


def _errors(item: Any, origin: str) -> Iterator[tuple[str, Steps]]:
    """The errors of one rule: after each, what it names is left out and the rest is parsed again."""
    left_out: set[Steps] = set()
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parse_config(item, origin)
            return
        except ConfigError as error:
            steps = _steps((error.origin or origin).removeprefix(origin))
            # An initializer that refuses a value knows the argument, and not where it was written.
            refused = re.search(r": \w+: (\w+)=", str(error))
            steps = (*steps, *refused.groups()) if refused is not None else steps
            needed = re.search(r" needs '(\w+)'", str(error))
            if needed is None or (*steps, *needed.groups()) not in left_out:
                yield str(error), steps
            left_out.add(steps)
            rest = _without(item, steps)
            if rest is None or rest == item:
                return
            item = rest


def _without(item: Any, steps: Steps) -> Any:
    """A rule without what an error names; without its initializer if the error is about that."""
    key, *inner = steps or ("type",)
    if key == "override" and inner:
        parts = item["override"]
        if not isinstance(parts, list):
            return {**item, "override": _valid_override(_without(parts, tuple(inner)))}
        index = int(inner[0])
        changed = _valid_override(_without(parts[index], tuple(inner[1:])))
        return {**item, "override": [*parts[:index], changed, *parts[index + 1 :]]}
    if not isinstance(item, Mapping) or (key == "type" and item.get("type") == "Keep"):
        return None
    if key == "type":
        return {"type": "Keep", **{name: item[name] for name in item if name in (*RULE_KEYS, "override")}}
    return {name: value for name, value in item.items() if name != key}


def _valid_override(part: Any) -> Any:
    """An override that parses, in the place of one that cannot be read."""
    return part if isinstance(part, Mapping) and "name" in part else {"name": "any"}


def _steps(path: str) -> Steps:
    return tuple(int(index) if index else key for index, key in re.findall(r"\[(\d+)\]|\.?(\w+)", path))


def _mark(file: Path, steps: Steps) -> tuple[int, int] | None:
    """Line and column of a place in a YAML or JSON file (JSON is YAML); the nearest place above it that has one."""
    import yaml

    if file.suffix.lower() == ".toml":
        return None
    try:
        node = yaml.compose(file.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    if node is None:
        return None
    mark = node.start_mark
    children = _children(node)
    for step in ("init_cfg", *steps) if "init_cfg" in children else steps:
        if step not in children:
            break
        mark, node = children[step]
        children = _children(node)
    return mark.line + 1, mark.column + 1


def _children(node: Any) -> dict[str | int, tuple[Any, Any]]:
    """Place and node of each part of a mapping (the place of its key) or of a list."""
    if node.id == "mapping":
        return {key.value: (key.start_mark, value) for key, value in node.value}
    return {index: (each.start_mark, each) for index, each in enumerate(node.value)} if node.id == "sequence" else {}


def _place_in(message: str) -> tuple[int, int] | None:
    """Line and column that the message of a parser ends with."""
    found = re.findall(r"line (\d+),? column (\d+)", message)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def _problem(file: Path, message: str, place: tuple[int, int] | None) -> Problem:
    line, column = place or (None, None)
    return Problem(file=str(file), line=line, column=column, message=message)
