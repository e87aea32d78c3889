"""A module's own loading code tried on a copy that has shapes and no values."""

from __future__ import annotations

import copy
import types
import warnings
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

from ..checkpoints import Checkpoint
from ..errors import CheckpointError
from .fits import COUNTER, Fit, Given
from .recipients import IncompatibleKeys, Recipient, hand_over, own_tensors
from .tree import WRAPPED


def rehearse(recipient: Recipient, checkpoint: Checkpoint) -> Fit:
    """Find out what a module with code of its own makes of a checkpoint.

    The code may rename what it is given, make new tensors of it, or do without some. It is run on stand-ins for the
    module and for the tensors, and, if it asks for values, on the checkpoint's tensors themselves.

    Raises:
        CheckpointError: the code fails on them, too, as it then would in earnest.
    """
    names = [name for name in checkpoint.shapes if name.startswith(recipient.prefix)]
    bare = {name: _bare(checkpoint.shapes[name], checkpoint.dtypes[name]) for name in names}
    try:
        with torch.device("meta"):  # for the tensors that the code makes itself
            return _rehearse(recipient, checkpoint, bare)
    except Exception as first:  # a stand-in that is asked for its values raises whatever torch does
        try:
            with warnings.catch_warnings():
                # Of copying values to a copy that has room for none, which is the purpose.
                warnings.filterwarnings("ignore", ".*copying from a non-meta parameter", UserWarning)
                return _rehearse(recipient, checkpoint, dict(checkpoint.tensors(names)))
        except CheckpointError:
            raise
        except Exception as error:
            name = type(recipient.module).__name__
            what = f"cannot be loaded: the code of {name} for that failed ({type(error).__name__}: {error})"
            raise checkpoint.error(what, f"convert the checkpoint to what {name} expects") from first


def _rehearse(recipient: Recipient, checkpoint: Checkpoint, state: dict[str, Tensor]) -> Fit:
    stand_ins, fit, told = StandIns(), Fit(), IncompatibleKeys([], [])
    sources = {id(tensor): name for name, tensor in state.items()}
    actor = stand_ins.of(recipient.module)
    for module, left, prefix in hand_over(actor, dict(state), recipient.prefix, checkpoint.versions, told, []):
        for name, tensor in own_tensors(stand_ins.originals[id(module)]).items():
            given = left.get(prefix + name)
            if name == COUNTER and id(given) not in sources:
                continue  # A batch norm makes one where the checkpoint has none.
            known = None if given is None else Given(given.shape, given.dtype)
            fit.judge(_unwrapped_name(prefix + name), tensor, known)
        fit.unexpected += [sources.get(id(left.get(key)), key) for key in told.unexpected_keys]
        told.unexpected_keys.clear()
    return fit


def _unwrapped_name(name: str) -> str:
    """A wrapper with loading code (activation checkpoints) puts its own name between, which is no part of an FQN."""
    return ".".join(part for part in name.split(".") if part not in WRAPPED)


class StandIns:
    """Copies of modules that can be loaded into without a trace in the originals.

    Attributes:
        originals: the modules, by the ids of their copies.
    """

    def __init__(self) -> None:
        self.originals: dict[int, nn.Module] = {}
        self._made: dict[int, nn.Module] = {}
        self._tensors: dict[int, Tensor] = {}

    def of(self, module: nn.Module) -> nn.Module:
        """A module of the same class and attributes, whose parameters and buffers have no values."""
        if id(module) in self._made:
            return self._made[id(module)]
        made: nn.Module = object.__new__(type(module))
        self._made[id(module)] = made
        self.originals[id(made)] = module
        state = made.__dict__
        state.update({name: _own_copy(value) for name, value in module.__dict__.items()})
        state["_parameters"] = {name: self._tensor(value) for name, value in module._parameters.items()}
        state["_buffers"] = {name: self._tensor(value) for name, value in module._buffers.items()}
        state["_modules"] = {name: child and self.of(child) for name, child in module._modules.items()}
        hooks = module._load_state_dict_pre_hooks.items()
        state["_load_state_dict_pre_hooks"] = OrderedDict((key, _rebound(hook, module, made)) for key, hook in hooks)
        state["_load_state_dict_post_hooks"] = OrderedDict()
        return made

    def _tensor(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is not None and id(tensor) not in self._tensors:
            self._tensors[id(tensor)] = _stand_in(tensor)
        return tensor if tensor is None else self._tensors[id(tensor)]


def _stand_in(tensor: Tensor) -> Tensor:
    is_parameter = isinstance(tensor, nn.Parameter)
    if is_lazy(tensor):
        kind: Any = UninitializedParameter if is_parameter else UninitializedBuffer
        lazy: Tensor = kind(device="meta", dtype=tensor.dtype)
        return lazy
    bare = _bare(tensor.shape, tensor.dtype)
    return nn.Parameter(bare, requires_grad=tensor.requires_grad) if is_parameter else bare


def _bare(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _own_copy(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, (list, dict, set)) else value


def _rebound(hook: Any, original: nn.Module, made: nn.Module) -> Any:
    """A hook as if it had been registered with the copy; torch keeps one in a wrapper that knows the module."""
    function = getattr(hook, "hook", hook)
    if getattr(function, "__self__", None) is original:
        function = types.MethodType(function.__func__, made)
    if not hasattr(hook, "with_module"):
        return function
    return type(hook)(function, made if hook.with_module else None)
