"""Names of model zoos: `torchvision://`, `timm://`, and OpenMMLab's tables, `open-mmlab://` and `mmcls://`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import warn
from .location import Location
from .location_schemes import Step, built_in, unknown_name
from .places import LocalFile

_OLD_NAMES = {
    "inception_v3_google": "inception_v3",
    "shufflenetv2_x0.5": "shufflenet_v2_x0_5",
    "shufflenetv2_x1.0": "shufflenet_v2_x1_0",
    "shufflenetv2_x1.5": "shufflenet_v2_x1_5",
    "shufflenetv2_x2.0": "shufflenet_v2_x2_0",
}
"""Names of torchvision before 0.13 that its models do not have, as configs written for mmengine may use them."""


@built_in("torchvision")
def resolve_torchvision(name: str, location: Location) -> Step:
    """A model's name, alone or with the name of its weights: `resnet50`, `resnet50.imagenet1k_v2`, `resnet50.default`.

    The name alone means the first weights that were published for the model. They are what it meant before
    torchvision 0.13, when there were no others, and what it means to mmengine.
    """
    models = _models_of("torchvision", location, "pip install torchvision, in the version for your torch")
    model, _, tag = name.lower().partition(".")
    if name.lower() in _OLD_NAMES:
        model, tag = _OLD_NAMES[name.lower()], ""
    model = model.removesuffix("_weights")
    known = models.list_models()
    if model not in known:
        raise unknown_name(name, dict.fromkeys([*known, *_OLD_NAMES]), "torchvision", location)
    weights: Any = models.get_model_weights(model)
    tags = {entry.name.lower(): entry for entry in weights}
    if not tags:
        raise location.error("has no published weights", "choose another model, or give a path")
    if tag == "default":
        return Step(to=weights.DEFAULT.url)
    if tag and tag not in tags:
        raise unknown_name(f"{model}.{tag}", {f"{model}.{known}": 0 for known in tags}, "torchvision", location)
    return Step(to=next(iter(tags.values())).url if not tag else tags[tag].url)


@built_in("modelzoo")
def resolve_modelzoo(name: str, location: Location) -> Step:
    """The old name of `torchvision://`."""
    warn(f"{location.origin or location.text}: modelzoo:// is an old name. Write torchvision://{name}.")
    return resolve_torchvision(name, location)


@built_in("timm")
def resolve_timm(name: str, location: Location) -> Step:
    """A model's name, alone or with a tag: `resnet50`, `resnet50.a1_in1k`.

    The file is timm's own on the Hugging Face hub, if the library for that is installed; otherwise the one that was
    published first. So it is in timm itself.
    """
    models = _models_of("timm", location, "pip install timm")
    try:
        found = models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as e:
        raise unknown_name(name, dict.fromkeys(models.list_pretrained()), "timm", location) from e
    if found.custom_load:
        what = "is published in a form of its own (.npz), which only timm reads"
        raise location.error(what, f"load it with timm.create_model({name!r}, pretrained=True)")
    if found.file:
        return Step(to=LocalFile(path=found.file))
    if found.hf_hub_id and (not found.url or importlib.util.find_spec("huggingface_hub") is not None):
        return Step(to="/".join(filter(None, (f"hf://{found.hf_hub_id}", found.hf_hub_filename))))
    if not found.url:
        raise location.error("has no published weights", "choose another tag, or give a path")
    return Step(to=found.url)


def _models_of(library: str, location: Location, remedy: str) -> ModuleType:
    try:
        models: ModuleType = importlib.import_module(library).models
    except Exception as e:  # Built for another torch, torchvision fails with whatever comes first.
        what = f"needs {library} to be looked up, and it cannot be imported ({e})"
        raise location.error(what, remedy) from e
    return models


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
