"""The `init_cfg`s of an OpenMMLab config, collected in one config for autoinit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import parse_config
from .target_errors import CommandError

KEY = "init_cfg"


def converted(file: Path) -> str:
    """YAML with the rules of every `init_cfg` below `model`, each under the name of the module that has it.

    A rule of a part gets the part's name: `layer="Conv2d"` in `model.backbone.init_cfg` becomes `name="backbone.**"`
    beside it. Parts stand after the whole, because a child's `init_cfg` outranks its parent's.

    Raises:
        CommandError: the file cannot be read, or has no `init_cfg`.
    """
    import yaml

    content = _read(file)
    found = list(_init_cfgs(content.get("model", content), ()))
    if not found:
        raise CommandError(f"{file}: no {KEY} in it.")
    for path, each in found:
        parse_config(each, f"{file}: {'.'.join((*path, KEY))}")
    rules = [_moved(rule, path) for path, each in sorted(found, key=lambda pair: len(pair[0])) for rule in each]
    head = f"# init_cfg of {file.name}\n"
    return head + yaml.safe_dump({KEY: rules}, sort_keys=False, default_flow_style=None, width=110)


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise CommandError(f"{file}: no such file.")
    if file.suffix == ".py":
        try:
            from mmengine import Config
        except ImportError as error:
            raise CommandError("A config in Python needs mmengine: pip install mmengine") from error
        try:
            return Config.fromfile(str(file), import_custom_modules=False).to_dict()  # type: ignore[no-any-return]
        except Exception as error:  # A config in Python runs code, which raises anything.
            raise CommandError(f"{file} cannot be read as a config: {type(error).__name__}: {error}") from error
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    if not isinstance(content, Mapping):
        raise CommandError(f"{file}: a config is a mapping, not {type(content).__name__}.")
    return content


def _init_cfgs(part: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """The rules of each `init_cfg`, with the names of the parts around it."""
    if not isinstance(part, Mapping):
        return
    rules = part.get(KEY)
    if rules:
        yield path, [dict(rule) for rule in (rules if isinstance(rules, Sequence) else [rules])]
    for name, inner in part.items():
        if name != KEY:
            for index, each in enumerate(inner) if isinstance(inner, list) else [(None, inner)]:
                yield from _init_cfgs(each, (*path, name) if index is None else (*path, f"{name}.{index}"))


def _moved(rule: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """A rule of a part, as a rule of the whole."""
    if not path:
        return rule
    prefix = ".".join(path)
    if rule.get("type") == "Pretrained":
        return {**rule, "name": prefix}
    names = rule.get("name")
    inside = (
        [f"{prefix}.{name}" for name in ([names] if isinstance(names, str) else names)] if names else f"{prefix}.**"
    )
    overrides = rule.get("override")
    moved = {**rule, "name": inside}
    if overrides:
        parts = overrides if isinstance(overrides, Sequence) else [overrides]
        moved["override"] = [{**part, "name": f"{prefix}.{part['name']}"} for part in parts]
    return moved
