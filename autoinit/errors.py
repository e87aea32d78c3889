"""The exception tree: every error says where, what, the nearest valid thing and the remedy."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import warnings
from collections.abc import Iterable
from types import FrameType

PACKAGE = os.path.dirname(__file__) + os.sep


class AutoInitError(Exception):
    """Base of every error that autoinit raises.

    Args:
        message: the text; it starts with `origin` or `fqn` where one is known.
        origin: where the offending thing was written, e.g. `init_cfg[2].override[0]`.
        fqn: the parameter or module that it concerns, e.g. `layer1.0.conv1.weight`.

    Example:
        >>> from autoinit import AutoInitError, initialize
        >>> import torch
        >>> try:
        ...     initialize(torch.nn.Linear(2, 2), dict(type="Kaimming", layer="Linear"))
        ... except AutoInitError as error:
        ...     print(error.origin, "|", error)
        init_cfg.type | init_cfg.type: no initializer named 'Kaimming'. Did you mean 'Kaiming'?
    """

    def __init__(self, message: str, *, origin: str | None = None, fqn: str | None = None) -> None:
        super().__init__(message)
        self.origin = origin
        self.fqn = fqn


class ConfigError(AutoInitError, ValueError):
    """What the user wrote in a config cannot mean anything."""


class ConfigTypeError(ConfigError, TypeError):
    """A config value has the wrong Python type."""


def config_error(origin: str, text: str, kind: type[ConfigError] = ConfigError) -> ConfigError:
    """The error in what is written at `origin`, which its message starts with."""
    return kind(f"{origin}: {text}", origin=origin)


class MatchError(AutoInitError, LookupError):
    """A rule names something that the model does not have."""


class TargetError(MatchError, RuntimeError):
    """The target of an `override` does not exist."""


class ShapeError(AutoInitError, ValueError):
    """A scheme is not defined for the shape or dtype of a parameter that a rule gives it."""


class ParametrizationError(AutoInitError, ValueError):
    """A weight that is computed from stored tensors cannot be set to what a rule gives it."""


class CoverageError(MatchError):
    """A parameter that no rule covers, where every one has to be."""


class ModuleGraphError(AutoInitError, ValueError):
    """A model cannot be walked: a module contains itself, or was never initialized as a module."""


class CheckpointError(AutoInitError, RuntimeError):
    """A checkpoint is missing, broken, hostile, or fits nothing."""


class ApplyError(AutoInitError, RuntimeError):
    """A fill or a module's own initialization failed while it was executed."""


class InputError(AutoInitError, ValueError):
    """A model cannot be called with the inputs that were given, or none can be guessed for it."""


class StateError(AutoInitError, RuntimeError):
    """autoinit was used in an order that cannot work."""


class VerificationError(AutoInitError, AssertionError):
    """Weights are not what was asked for; `.verdict` says everything that was found."""

    def __init__(
        self, message: str, *, origin: str | None = None, fqn: str | None = None, verdict: object = None
    ) -> None:
        super().__init__(message, origin=origin, fqn=fqn)
        self.verdict = verdict


class PropagationError(AutoInitError, AssertionError):
    """A signal vanishes, explodes or dies in a model; `.propagation` says everything that was measured."""

    def __init__(
        self, message: str, *, origin: str | None = None, fqn: str | None = None, propagation: object = None
    ) -> None:
        super().__init__(message, origin=origin, fqn=fqn)
        self.propagation = propagation


class AutoInitWarning(UserWarning):
    """Something that is probably not what the user meant, but has a meaning."""


def warn(message: str) -> None:
    """Issue an `AutoInitWarning` at the line of the user's code that called autoinit."""
    warnings.warn(message, AutoInitWarning, stacklevel=_caller()[0] - 1)


def warn_at(place: tuple[str, int], message: str) -> None:
    """Issue an `AutoInitWarning` at a line of a file that called autoinit earlier."""
    warnings.warn_explicit(message, AutoInitWarning, *place)


def calling_line() -> tuple[str, int]:
    """File and line of the user's code that called autoinit."""
    frame = _caller()[1]
    return frame.f_code.co_filename, frame.f_lineno


def _caller() -> tuple[int, FrameType]:
    """The innermost frame that is not of this package, and its number, counted from this function's as 1."""
    level, frame = 1, sys._getframe()
    ours = (PACKAGE, contextlib.__file__)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(ours):
        level, frame = level + 1, frame.f_back
    return level, frame


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A sentence that names the candidate closest to `word`, or nothing.

    Example:
        >>> nearest("Kaimming", ["Kaiming", "Xavier"])
        " Did you mean 'Kaiming'?"
        >>> nearest("Kaiming", [])
        ''
    """
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
