"""`timm://`: weights by the names of timm's models."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from ..location import Location
from .places import LocalFile
from .schemes import Step, built_in, unknown_name


@built_in("timm")
def resolve_timm(name: str, location: Location) -> Step:
    """A model's name, alone or with a tag: `resnet50`, `resnet50.a1_in1k`.

    The file is timm's own on the Hugging Face hub, if the library for that is installed; otherwise the one that was
    published first. So it is in timm itself.
    """
    models = _library(location)
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


def _library(location: Location) -> ModuleType:
    try:
        from timm import models
    except Exception as e:  # it imports torchvision, which fails with whatever comes first
        what = f"needs timm to be looked up, and it cannot be imported ({e})"
        raise location.error(what, "pip install timm") from e
    return models  # type: ignore[no-any-return]
