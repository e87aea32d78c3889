"""`torchvision://`: weights by the names of torchvision's models."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ...errors import warn
from ..location import Location
from .schemes import Step, built_in, unknown_name

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
    models = _library(location)
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


def _library(location: Location) -> ModuleType:
    try:
        from torchvision import models
    except Exception as e:  # built for another torch, its import fails with whatever comes first
        what = f"needs torchvision to be looked up, and it cannot be imported ({e})"
        raise location.error(what, "pip install torchvision, in the version for your torch") from e
    return models  # type: ignore[no-any-return]
