"""Runs code of a model during initialization, such as its `init_weights()`, and sees which tensors it writes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from .. import _torch
from ..construction import Call, Region, operator_of
from ..errors import ApplyError, AutoInitError
from ..layers import is_lazy
from ..planning import FILLED, NEVER_WRITTEN, OWN, ModuleCall, OwnInit, Plan, is_initialized, own_arguments
from .rollback import put_back
from .sharding import local_of
from .targets import Targets

being_initialized: ContextVar[frozenset[int]] = ContextVar("autoinit_being_initialized", default=frozenset())
"""Ids of the modules whose own `init_weights` is running: if it asks autoinit for its rules, it is not run again."""


def run_code(step: OwnInit | ModuleCall, plan: Plan, targets: Targets) -> dict[str, str]:
    """Run a step; returns the outcome of every parameter that the code wrote to, by FQN.

    Raises:
        ApplyError: the code failed. What is kept is kept all the same.
    """
    tensors = {fqn: {each for each in targets.tensors(fqn) if not is_lazy(each)} for fqn in plan}
    keeping = (fqn for fqn, entry in plan.items() if entry.kept not in (None, NEVER_WRITTEN))
    kept = {tensor: tensor.detach().clone() for fqn in keeping for tensor in tensors[fqn]}
    recorder, module = WriteRecorder(chain.from_iterable(tensors.values())), targets.modules[step.fqn]
    made_in_inference_mode = any(param.is_inference() for param in module.parameters())
    try:
        with torch.inference_mode() if made_in_inference_mode else nullcontext(), recorder:
            if isinstance(step, ModuleCall):
                _call_function(step, module)
            elif not is_initialized(module):  # The step of another module may have run it.
                _call_init_weights(module)
    except AutoInitError:
        raise
    except Exception as error:
        name = type(module).__name__
        what = f"{name}.init_weights()" if isinstance(step, OwnInit) else f"{step.rule.origin}: {step.scheme}"
        text = f"{step.fqn or name}: {what} failed: {type(error).__name__}: {error}"
        origin = step.rule.origin if isinstance(step, ModuleCall) else None
        raise ApplyError(text, origin=origin, fqn=step.fqn) from error
    finally:
        for tensor, before in kept.items():
            if recorder.wrote(tensor):
                put_back(tensor, before)
    outcome = OWN if isinstance(step, OwnInit) else FILLED
    return {fqn: outcome for fqn, group in tensors.items() if any(map(recorder.wrote, group - kept.keys()))}


def _call_init_weights(module: nn.Module) -> None:
    token = being_initialized.set(being_initialized.get() | {id(module)})
    try:
        module.init_weights(**own_arguments(module))  # type: ignore[operator]
    finally:
        being_initialized.reset(token)


def _call_function(step: ModuleCall, module: nn.Module) -> None:
    # One object may serve a rule, its overrides and other plans: each call has to say which modules it means.
    function: Any = step.scheme.function
    if not hasattr(function, "wholemodule"):
        function(module)
        return
    before, function.wholemodule = function.wholemodule, step.whole
    try:
        function(module)
    finally:
        function.wholemodule = before


class WriteRecorder(_torch.TorchDispatchMode):
    """Notes the memory of every tensor that an operator writes to while the mode is entered.

    Version counters would miss writes through `.data`, and comparing values would miss a weight that is set to the
    value that it had.

    Args:
        watched: Tensors that may also be given other memory (`param.data = ...`).

    Example:
        >>> import torch
        >>> first, second = torch.zeros(2), torch.zeros(2)
        >>> with WriteRecorder() as recorder:
        ...     first.data[0] = 1
        >>> recorder.wrote(first), recorder.wrote(second)
        (True, False)
    """

    def __init__(self, watched: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._before = {id(tensor): memory_of(tensor) for tensor in watched}
        self._written: dict[int, set[Region]] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        operator = operator_of(func)
        if operator.written:
            for tensor in Call(operator, args, kwargs or {}).written:
                local = local_of(tensor)
                self._written.setdefault(_torch.storage_id(local), set()).add(Region.of(local))
        return func(*args, **(kwargs or {}))

    def wrote(self, tensor: Tensor) -> bool:
        """Whether anything was written to the tensor's memory, or it was given other memory."""
        if self._before.get(id(tensor), memory_of(tensor)) != memory_of(tensor):
            return True
        local = local_of(tensor)
        region = Region.of(local)
        return any(written.meets(region) for written in self._written.get(_torch.storage_id(local), ()))


def memory_of(tensor: Tensor) -> tuple[int, int]:
    """The storage of a tensor, and its offset in it."""
    local = local_of(tensor)
    return _torch.storage_id(local), int(local.storage_offset())
