"""Every architecture that timm registers."""

from __future__ import annotations

import functools

from .operators import torchvision_operators
from .subjects import Builder, Subject

torchvision_operators()

import timm  # noqa: E402


def subjects() -> list[Subject]:
    """One for each name that `timm.list_models()` knows; a family is a file of its source."""
    family = {name: module for module in timm.list_modules() for name in timm.list_models(module=module)}
    return [Subject(library="timm", name=name, family=family[name]) for name in timm.list_models()]


def builder(name: str) -> Builder:
    return functools.partial(timm.create_model, name, pretrained=False)
