"""The two plans or traces that `autoinit diff` compares."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import applying, tracing
from .building import builder
from .running import one_of
from .target_errors import CommandError


def pairs(ends: Sequence[str], configs: Sequence[Path]) -> list[tuple[str, Path | None]]:
    """Target or file, and config, of each of the two ends.

    Raises:
        CommandError: They are not two.
    """
    if (len(ends), len(configs)) not in {(1, 2), (2, 0), (2, 1), (2, 2)}:
        raise CommandError(
            f"diff compares two things, not {len(ends)} with {len(configs)} configs. Give one target and two --cfg, or "
            "two targets or .json files, with up to two --cfg."
        )
    either: list[Path | None] = [*configs, *configs] if len(configs) == 1 else [*configs] or [None, None]
    return list(zip([ends[0], ends[-1]], either, strict=True))


def loaded_or_made(
    end: str, cfg: Path | None, arguments: list[str] | None, *, meta: bool, step: Callable[[str], None]
) -> Any:
    """What one end does: a saved result, the plan of a config, or without one the trace of the model's own code.

    Raises:
        CommandError: The file cannot be read, or the target builds no model.
    """
    if end.endswith(".json"):
        return _loaded(Path(end))
    step(f"building {end}")
    build = builder(end, arguments, meta=meta)
    if cfg is not None:
        return applying.plan(build(), str(cfg))
    with tracing.trace() as traced:
        model = build()
    return one_of(model, traced.traces)


def _loaded(path: Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("parameters"), dict):
        raise CommandError(f"{path} is no result: write one with `autoinit plan TARGET --json > {path.name}`.")
    return found
