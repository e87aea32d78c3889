"""Every model that torchvision lists: classification, segmentation, detection, video, optical flow, quantizable."""

from __future__ import annotations

import functools
import inspect

from .operators import torchvision_operators
from .subjects import Builder, Subject

torchvision_operators()

from torchvision import models  # noqa: E402


def subjects() -> list[Subject]:
    """One for each name that `torchvision.models.list_models()` knows; a family is a file of its source."""
    return [Subject(library="torchvision", name=name, family=_family(name)) for name in models.list_models()]


def builder(name: str) -> Builder:
    """A model without pretrained weights: neither its own nor those of a backbone."""
    function = models.get_model_builder(name)
    parameters = inspect.signature(function).parameters
    options = {key: None for key in ("weights", "weights_backbone") if key in parameters}
    return functools.partial(function, **options)


def _family(name: str) -> str:
    return models.get_model_builder(name).__module__.removeprefix("torchvision.models.")
