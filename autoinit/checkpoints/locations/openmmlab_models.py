"""`open-mmlab://`, `openmmlab://` and `mmcls://`: the tables that come with mmengine, read without importing it."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from ...errors import warn
from ..location import Location
from .schemes import Step, built_in, unknown_name


@built_in("open-mmlab", "openmmlab")
def resolve_openmmlab(name: str, location: Location) -> Step:
    """A name of OpenMMLab's table, or of the user's own, `open_mmlab.json` in mmengine's folder."""
    renamed = _table("deprecated", location)
    if name in renamed:
        old, name = name, renamed[name]
        warn(f"{location.origin or location.text}: open-mmlab://{old} is an old name. Write open-mmlab://{name}.")
    table = {**_table("openmmlab", location), **_users_table(location)}
    if name not in table:
        raise unknown_name(name, {**table, **renamed}, "OpenMMLab's table", location)
    # In the user's own table a path may be relative to that folder.
    return Step(to=table[name] if "://" in table[name] else os.path.join(_home(), table[name]))


@built_in("mmcls")
def resolve_mmcls(name: str, location: Location) -> Step:
    """A name of MMClassification's table: the backbone of that classifier."""
    table = _table("mmcls", location)
    if name not in table:
        raise unknown_name(name, table, "MMClassification's table", location)
    return Step(to=table[name], under="backbone.")


def _table(name: str, location: Location) -> dict[str, str]:
    spec = importlib.util.find_spec("mmengine")
    if spec is None or not spec.submodule_search_locations:
        scheme = location.text.partition("://")[0]
        what = "needs OpenMMLab's table of names, which comes with mmengine"
        raise location.error(
            what, f"pip install mmengine, or autoinit.register_checkpoints({scheme!r}, ..., force=True)"
        )
    return _read(Path(spec.submodule_search_locations[0]) / "hub" / f"{name}.json", location)


def _users_table(location: Location) -> dict[str, str]:
    path = Path(_home()) / "open_mmlab.json"
    return _read(path, location) if path.exists() else {}


def _read(path: Path, location: Location) -> dict[str, str]:
    try:
        table = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise location.error(
            f"cannot be looked up: {str(path)!r} cannot be read ({e})", "correct or remove that file"
        ) from e
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        what = f"cannot be looked up: {str(path)!r} is no table from names to locations"
        raise location.error(what, "correct or remove that file")
    return table


def _home() -> str:
    """Mmengine's folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("MMENGINE_HOME", os.path.join(cache, "mmengine")))
