"""The scheme that loads a checkpoint; `autoinit.checkpoints` reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..errors import ConfigError, ConfigTypeError
from .registry import register_initializer


@register_initializer("Pretrained")
@dataclass(frozen=True, kw_only=True)
class Pretrained:
    r"""Load a checkpoint into the module that carries the config.

    Args:
        checkpoint: a path, where `~` is expanded; a URL; or a name with a scheme, such as `torchvision://resnet50`.
        prefix: load only the part of the checkpoint under this name; a dot is added if absent.
        map_location: device that tensors are read to.
        strict: make missing and unexpected keys, and mismatches of shape or dtype, an error instead of a warning.
        key: where in a pickled file the state dict is, a name or names with dots between (`"ema.state_dict"`); None
            for the usual places.
        revise_keys: pairs of a regular expression and its replacement, applied to each name of the checkpoint in
            turn, before `prefix`; None for `[(r"^module\.", "")]`, or for nothing if there is a prefix.
        sha256: the file's digest in hexadecimal, or at least its first 8 digits.

    Example:
        >>> scheme = Pretrained(checkpoint="resnet.pth", prefix="backbone.", sha256="0676BA61")
        >>> print(scheme, scheme.sha256)
        Pretrained(resnet.pth, prefix=backbone.) 0676ba61
    """

    checkpoint: str
    prefix: str | None = None
    map_location: str | torch.device | None = "cpu"
    strict: bool = False
    key: str | None = None
    revise_keys: Sequence[tuple[str, str]] | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name, types, what in (
            ("checkpoint", (str, os.PathLike), "a path, a URL or a name"),
            ("prefix", (str, type(None)), "a string"),
            ("map_location", (str, torch.device, type(None)), "the name of a device"),
            ("strict", bool, "true or false"),
            ("key", (str, type(None)), "a string, such as 'model' or 'ema.state_dict'"),
            ("sha256", (str, type(None)), "a string of hexadecimal digits"),
        ):
            if not isinstance(value := getattr(self, name), types):
                raise ConfigTypeError(f"Pretrained: {name}={value!r} must be {what}.")
        object.__setattr__(self, "checkpoint", os.fspath(self.checkpoint))
        if self.revise_keys is not None:
            object.__setattr__(self, "revise_keys", _pairs(self.revise_keys))
        if self.sha256 is not None:
            if not re.fullmatch(r"[0-9a-fA-F]{8,64}", self.sha256):
                raise ConfigError(
                    f"Pretrained: sha256={self.sha256!r} must be 8 to 64 hexadecimal digits, as `sha256sum` prints "
                    "them."
                )
            object.__setattr__(self, "sha256", self.sha256.lower())

    @property
    def renames(self) -> tuple[tuple[str, str], ...] | None:
        """The validated `revise_keys` as a tuple of pairs, or None."""
        return None if self.revise_keys is None else tuple(self.revise_keys)

    def __str__(self) -> str:
        parts = [self.checkpoint]
        parts += [f"{name}={value}" for name in ("key", "prefix") if (value := getattr(self, name))]
        return f"Pretrained({', '.join(parts)})"


def _pairs(given: object) -> tuple[tuple[str, str], ...]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ConfigTypeError(f"Pretrained: revise_keys={given!r} must be a list of pairs, [pattern, replacement].")
    pairs = []
    for index, item in enumerate(given):
        where = f"Pretrained: revise_keys[{index}]={item!r}"
        pair = tuple(item) if isinstance(item, (list, tuple)) else ()
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise ConfigTypeError(f"{where} must be a pair of strings, [pattern, replacement].")
        try:
            pattern = re.compile(pair[0])
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"{where} is no regular expression: {error}. Escape literal characters with a backslash."
            ) from error
        try:
            pattern.sub(pair[1], "")
        except (re.error, IndexError) as error:
            raise ConfigError(f"{where} has a replacement that does not fit its pattern: {error}.") from error
        pairs.append(pair)
    return tuple(pairs)
