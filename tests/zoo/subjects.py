"""The models of the zoo by name: three libraries, each a catalogue of architectures and a way to build one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

Builder = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True, order=True)
class Subject:
    """One architecture.

    Args:
        library: a key of `LIBRARIES`.
        name: what the library calls it.
        family: architectures of one family share most of their code.
    """

    library: str
    name: str
    family: str

    @property
    def key(self) -> str:
        return f"{self.library}/{self.name}"


class Library(Protocol):
    """The functions of each module in `LIBRARIES`."""

    def subjects(self) -> list[Subject]:
        """Every architecture, in a fixed order."""

    def builder(self, name: str) -> Builder:
        """A function that builds a new model at each call; imports and decisions are made before it is returned."""


LIBRARIES = {"torchvision": "torchvision_models", "timm": "timm_models", "transformers": "transformers_models"}


def library(name: str) -> Library:
    return importlib.import_module(f".{LIBRARIES[name]}", __package__)
