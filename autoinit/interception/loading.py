"""Weights that are loaded while a block is open: by a state dict, by a model's own loader, or with a whole module."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..applying import WriteRecorder
from ..patches import PACKAGES, Wrapper
from .run import Run

LOADERS = ("load_pretrained", "load_weights")
"""Methods by which models load formats of their own: timm the first."""

RunsOf = Callable[[nn.Module], Iterable[Run]]


def on_load(runs_of: RunsOf) -> Wrapper:
    """Around `_load_from_state_dict`, which `load_state_dict` calls on every module: what it had a value for."""

    def wrapper(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        runs = list(runs_of(instance))
        if runs:
            state, prefix = _arguments(*args, **kwargs)
            names = [name for name, tensor in _tensors(instance).items() if _fits(state.get(prefix + name), tensor)]
            for run in runs:
                run.census.note_loaded(instance, names)

    return wrapper


def _arguments(
    state_dict: Mapping[str, torch.Tensor], prefix: str, *_: Any, **__: Any
) -> tuple[Mapping[str, torch.Tensor], str]:
    return state_dict, prefix


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    both = {**module._parameters, **module._buffers}
    return {name: tensor for name, tensor in both.items() if tensor is not None and not is_lazy(tensor)}


def _fits(given: object, tensor: torch.Tensor) -> bool:
    return isinstance(given, torch.Tensor) and given.shape == tensor.shape


def on_loader(runs_of: RunsOf) -> Wrapper:
    """Around a model's own loader: the parameters that it wrote, or put others in the place of."""

    def wrapper(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
        if not isinstance(instance, nn.Module) or not any(True for _ in runs_of(instance)):
            return wrapped(*args, **kwargs)
        before = [tensor for module in instance.modules() for tensor in _tensors(module).values()]
        known = set(map(id, before))
        with WriteRecorder(before) as recorder:
            value = wrapped(*args, **kwargs)
        for module in instance.modules():
            tensors = _tensors(module).items()
            names = [name for name, tensor in tensors if id(tensor) not in known or recorder.wrote(tensor)]
            for run in runs_of(module):
                run.census.note_loaded(module, names)
        return value

    return wrapper


def on_embedding(runs_of: RunsOf) -> Wrapper:
    """Around `nn.Embedding.from_pretrained`, which builds a layer around vectors that are there."""

    def wrapper(wrapped: Callable[..., nn.Module], instance: object, args: Any, kwargs: Any) -> nn.Module:
        module = wrapped(*args, **kwargs)
        for run in runs_of(module):
            run.census.note_loaded(module, ["weight"])
        return module

    return wrapper


def on_setstate(current: Callable[[], Run | None]) -> Wrapper:
    """Around `__setstate__`, which unpickling calls in place of a constructor."""

    def wrapper(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        run = current()
        if run is not None and not _is_copying(sys._getframe(1), instance):
            run.notice_unpickled(instance)

    return wrapper


def _is_copying(frame: FrameType | None, instance: nn.Module) -> bool:
    """Whether a state is set by the copy module, past the `__setstate__` of subclasses and what wraps it."""
    while frame is not None and (_is_method_of(instance, frame) or _is_wrapping(frame)):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename == copy.__file__


def _is_method_of(instance: nn.Module, frame: FrameType) -> bool:
    """Whether a frame is of a method of the module: a `__setstate__` of its class, or what others put around it."""
    names = frame.f_code.co_varnames
    first = frame.f_locals.get(names[0]) if names else None
    return first is instance or (isinstance(first, tuple) and bool(first) and first[0] is instance)


def _is_wrapping(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGES)
