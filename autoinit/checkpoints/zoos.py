"""Names of model zoos: `torchvision://`, `timm://`, and OpenMMLab's tables, `open-mmlab://` and `mmcls://`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from ..errors import warn
from .source import Location

_OLD_NAMES = {
    "inception_v3_google": "inception_v3",
    "shufflenetv2_x0.5": "shufflenet_v2_x0_5",
    "shufflenetv2_x1.0": "shufflenet_v2_x1_0",
    "shufflenetv2_x1.5": "shufflenet_v2_x1_5",
    "shufflenetv2_x2.0": "shufflenet_v2_x2_0",
}
"""Names of torchvision before 0.13 that its models do not have, as configs written for mmengine may use them."""


def resolve_torchvision(name: str, location: Location) -> str:
    """URL of a model's weights, from its name alone or with the weights' name: `resnet50`, `resnet50.imagenet1k_v2`.

    The name alone means the first weights that were published, as in torchvision before 0.13 and in mmengine.
    """
    models = _models_of("torchvision", location, "pip install torchvision, in the version for your torch")
    model, _, tag = name.lower().partition(".")
    if name.lower() in _OLD_NAMES:
        model, tag = _OLD_NAMES[name.lower()], ""
    model = model.removesuffix("_weights")
    known = models.list_models()
    if model not in known:
        raise location.unknown(name, [*known, *_OLD_NAMES], "torchvision")
    weights: Any = models.get_model_weights(model)
    urls = {entry.name.lower(): str(entry.url) for entry in weights}
    if not urls:
        raise location.error("has no published weights", "choose another model, or give a path")
    tag = weights.DEFAULT.name.lower() if tag == "default" else tag or next(iter(urls))
    if tag not in urls:
        raise location.unknown(f"{model}.{tag}", [f"{model}.{known}" for known in urls], "torchvision")
    return urls[tag]


def resolve_modelzoo(name: str, location: Location) -> str:
    """The old name of `torchvision://`."""
    warn(f"{location.origin or location.text}: modelzoo:// is an old name. Write torchvision://{name}.")
    return resolve_torchvision(name, location)


def resolve_timm(name: str, location: Location) -> str:
    """Location of a timm model's weights, from its name alone or with a tag: `resnet50`, `resnet50.a1_in1k`.

    As in timm, that is its file on the Hugging Face hub, or, without the library for that, the one published first.
    """
    models = _models_of("timm", location, "pip install timm")
    try:
        found = models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as e:
        raise location.unknown(name, models.list_pretrained(), "timm") from e
    if found.custom_load:
        what = "is published in a form of its own (.npz), which only timm reads"
        raise location.error(what, f"load it with timm.create_model({name!r}, pretrained=True)")
    if found.file:
        return str(found.file)
    if found.hf_hub_id and (not found.url or importlib.util.find_spec("huggingface_hub") is not None):
        return "/".join(filter(None, (f"hf://{found.hf_hub_id}", found.hf_hub_filename)))
    if not found.url:
        raise location.error("has no published weights", "choose another tag, or give a path")
    return str(found.url)


def _models_of(library: str, location: Location, remedy: str) -> Any:
    try:
        return importlib.import_module(library).models
    except Exception as e:  # Built for another torch, torchvision fails with whatever comes first.
        raise location.error(f"needs {library} to be looked up, and it cannot be imported ({e})", remedy) from e


def resolve_openmmlab(name: str, location: Location) -> str:
    """Location of a name of OpenMMLab's table, or of the user's own, `open_mmlab.json` in mmengine's folder."""
    renamed = _table("deprecated", location)
    if name in renamed:
        old, name = name, renamed[name]
        warn(f"{location.origin or location.text}: open-mmlab://{old} is an old name. Write open-mmlab://{name}.")
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.path.expanduser(os.environ.get("MMENGINE_HOME", os.path.join(cache, "mmengine")))
    users = Path(home) / "open_mmlab.json"
    table = {**_table("openmmlab", location), **(_read(users, location) if users.exists() else {})}
    if name not in table:
        raise location.unknown(name, {**table, **renamed}, "OpenMMLab's table")
    # In the user's own table a path may be relative to that folder.
    return table[name] if "://" in table[name] else os.path.join(home, table[name])


def resolve_mmcls(name: str, location: Location) -> tuple[str, str]:
    """Location of a name of MMClassification's table: the backbone of that classifier."""
    table = _table("mmcls", location)
    if name not in table:
        raise location.unknown(name, table, "MMClassification's table")
    return table[name], "backbone."


def _table(name: str, location: Location) -> dict[str, str]:
    spec = importlib.util.find_spec("mmengine")
    if spec is None or not spec.submodule_search_locations:
        scheme = location.text.partition("://")[0]
        remedy = f"pip install mmengine, or autoinit.register_checkpoints({scheme!r}, ..., force=True)"
        raise location.error("needs OpenMMLab's table of names, which comes with mmengine", remedy)
    return _read(Path(spec.submodule_search_locations[0]) / "hub" / f"{name}.json", location)


def _read(path: Path, location: Location) -> dict[str, str]:
    what, remedy = f"cannot be looked up: {str(path)!r}", "correct or remove that file"
    try:
        table = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise location.error(f"{what} cannot be read ({e})", remedy) from e
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise location.error(f"{what} is no table from names to locations", remedy)
    return table
