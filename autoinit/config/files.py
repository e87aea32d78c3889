"""YAML, JSON and TOML files, read without a chance to run code or to lose a key."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import config_error, nearest

KEY = "init_cfg"
LARGEST = 100_000
"""How many values a file may stand for once its aliases are written out."""


def read_config(location: str | os.PathLike[str]) -> tuple[object, str]:
    """The config in a file, and the name to call it by.

    Args:
        location: a `.yaml`, `.yml`, `.json` or `.toml` file with a rule, a list of rules, or either under `init_cfg`
            (which a TOML list needs: `[[init_cfg]]`).

    Raises:
        ConfigError: no such file, another suffix, a syntax error, a duplicate key, a tag that would build an object.
    """
    readers: dict[str, Callable[[str], object]] = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".toml": _toml}
    path = Path(location)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        text = "is not the path of a config file. Use a dict, a list of dicts, or a file that ends in"
        raise config_error(KEY, f"{os.fspath(location)!r} {text} {', '.join(readers)}.")
    try:
        path = path.expanduser()
        # A byte order mark, which some editors write, is no part of the text.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        siblings = [entry.name for entry in path.parent.glob("*") if entry.is_file()]
        raise config_error(str(path), f"{error.strerror}.{nearest(path.name, siblings)}") from error
    except UnicodeDecodeError as error:
        raise config_error(str(path), f"not UTF-8 text: {error}.") from error
    except (ValueError, RuntimeError) as error:  # A null byte, or the home of an unknown user.
        raise config_error(KEY, f"{os.fspath(location)!r} is not a path: {error}") from error
    try:
        content = reader(text)
    except (ValueError, RecursionError) as error:
        raise config_error(str(path), str(error)) from error
    if isinstance(content, Mapping) and KEY in content:
        content = content[KEY]
    return content, f"{path.name}: {KEY}"


def _check_unique(keys: list[Any]) -> None:
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is written twice in one mapping; remove one of them.")


def _json(text: str) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_unique([key for key, _ in pairs])
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def _toml(text: str) -> object:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _yaml(text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader builds no objects; this one also refuses duplicate keys and reads 1e-3 as a number."""

        def get_single_node(self) -> yaml.Node | None:
            node = super().get_single_node()
            _check_size(node, {})
            return node

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, Any]:
            # Before merge keys (`<<`) are resolved: what is written beside one replaces what comes from it.
            own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            _check_unique([self.construct_object(key, True) for key in own])
            self.flatten_mapping(node)
            # Deep, because a list that is filled later could not be compared now.
            return {self.construct_object(key, True): self.construct_object(value, True) for key, value in node.value}

    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_mapping)
    # YAML 1.1, which PyYAML implements, wants a dot in a float: `std: 1e-3` would be a string.
    number = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789."))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(_unquoted_glob(error, text) or f"not YAML that a config may use: {error}") from error
    except TypeError as error:  # A mapping as the key of a mapping.
        raise ValueError(f"a key must be a string: {error}") from error
    except (AttributeError, LookupError) as error:  # PyYAML's own, for `!!timestamp soon`, `!!bool maybe`, `!!int ''`.
        raise ValueError("a value is not of the type that its tag says") from error


def _unquoted_glob(error: Any, text: str) -> str:
    """The message for a glob that YAML reads as an alias, because it begins with `*`; or nothing."""
    mark = getattr(error, "context_mark", None) or getattr(error, "problem_mark", None)
    found = re.match(r"\*[^\s,\]}]*", text[mark.index :]) if mark is not None else None
    if mark is None or found is None:
        return ""
    return (
        f"line {mark.line + 1}, column {mark.column + 1}: YAML reads {found[0]} as an alias, because it begins with "
        f'an asterisk. Put it in quotes: "{found[0]}".'
    )


def _check_size(node: Any, sizes: dict[int, int]) -> int:
    """How many values a YAML node stands for with its aliases written out; ten lines can stand for billions."""
    known = sizes.get(id(node))
    if known is None:
        sizes[id(node)] = 0  # What contains itself is refused when it is constructed.
        inner = node.value if isinstance(getattr(node, "value", None), list) else []
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known = sizes[id(node)] = 1 + sum(_check_size(part, sizes) for part in parts)
        if known > LARGEST:
            raise ValueError(f"its aliases stand for more than {LARGEST:,} values.")
    return known
