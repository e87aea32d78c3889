"""The scheme that copies a checkpoint; what is in it is read by `autoinit.checkpoints`."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from ..errors import ConfigTypeError
from .registry import register_initializer


@register_initializer("Pretrained")
@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Load a checkpoint into the module that carries the config.

    Args:
        checkpoint: path of a `.pth`, `.pt` or `.safetensors` file; `~` is expanded.
        prefix: load only the part of the checkpoint under this name; a dot is added if absent.
        map_location: device that tensors are read to.
        strict: make missing, unexpected and mis-shaped keys an error instead of a warning.

    Example:
        >>> Pretrained(checkpoint="resnet.pth", prefix="backbone.")
        Pretrained(checkpoint='resnet.pth', prefix='backbone.', map_location='cpu', strict=False)
    """

    checkpoint: str
    prefix: str | None = None
    map_location: str | torch.device | None = "cpu"
    strict: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint, (str, os.PathLike)):
            raise ConfigTypeError(f"Pretrained: checkpoint={self.checkpoint!r} must be a path.")
        object.__setattr__(self, "checkpoint", os.fspath(self.checkpoint))
        if not isinstance(self.prefix, (str, type(None))):
            raise ConfigTypeError(f"Pretrained: prefix={self.prefix!r} must be a string.")
        if not isinstance(self.map_location, (str, torch.device, type(None))):
            raise ConfigTypeError(f"Pretrained: map_location={self.map_location!r} must be the name of a device.")
        if not isinstance(self.strict, bool):
            raise ConfigTypeError(f"Pretrained: strict={self.strict!r} must be true or false.")

    def __str__(self) -> str:
        return f"Pretrained({self.checkpoint}{f', prefix={self.prefix}' if self.prefix else ''})"
