"""Runs code of a model during initialization: its `init_weights()`, and users' functions of whole modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import nn

from ..errors import ApplyError, AutoInitError
from ..layers import is_lazy
from ..planning import FILLED, NEVER_WRITTEN, OWN, ModuleCall, OwnInit, Plan, is_initialized, own_arguments
from .rollback import put_back
from .seeds import being_initialized
from .targets import Targets
from .writes import WriteRecorder


def run_code(step: OwnInit | ModuleCall, plan: Plan, targets: Targets) -> dict[str, str]:
    """Run a step; gives the outcome of every parameter that the code wrote to, by FQN.

    Raises:
        ApplyError: the code failed. What is kept is kept all the same.
    """
    tensors = {fqn: [each for each in targets.tensors(fqn) if not is_lazy(each)] for fqn in plan}
    keeping = (fqn for fqn, entry in plan.items() if entry.kept not in (None, NEVER_WRITTEN))
    kept = {tensor: tensor.detach().clone() for fqn in keeping for tensor in tensors[fqn]}
    recorder, module = WriteRecorder(chain.from_iterable(tensors.values())), targets.modules[step.fqn]
    mode = torch.inference_mode() if any(each.is_inference() for each in module.parameters()) else nullcontext()
    try:
        with _explained(step, module), mode, recorder:
            _call(step, module)
    finally:
        for tensor, before in kept.items():
            if recorder.wrote(tensor):
                put_back(tensor, before)
    outcome = OWN if isinstance(step, OwnInit) else FILLED
    return {fqn: outcome for fqn, group in tensors.items() if any(map(recorder.wrote, set(group) - kept.keys()))}


def _call(step: OwnInit | ModuleCall, module: nn.Module) -> None:
    if isinstance(step, ModuleCall):
        _call_scheme(step, module)
    elif not is_initialized(module):  # By the step of another module that has it, too.
        _init_weights(module)


@contextmanager
def _explained(step: OwnInit | ModuleCall, module: nn.Module) -> Iterator[None]:
    try:
        yield
    except AutoInitError:
        raise
    except Exception as error:
        name = type(module).__name__
        what = f"{name}.init_weights()" if isinstance(step, OwnInit) else f"{step.rule.origin}: {step.scheme}"
        text = f"{step.fqn or name}: {what} failed: {type(error).__name__}: {error}"
        origin = step.rule.origin if isinstance(step, ModuleCall) else None
        raise ApplyError(text, origin=origin, fqn=step.fqn) from error


def _init_weights(module: nn.Module) -> None:
    token = being_initialized.set(being_initialized.get() | {id(module)})
    try:
        module.init_weights(**own_arguments(module))  # type: ignore[operator]
    finally:
        being_initialized.reset(token)


def _call_scheme(step: ModuleCall, module: nn.Module) -> None:
    # One object may serve a rule, its overrides and other plans: each call has to say which modules it means.
    scheme: Any = step.scheme.function
    if not hasattr(scheme, "wholemodule"):
        scheme(module)
        return
    before, scheme.wholemodule = scheme.wholemodule, step.whole
    try:
        scheme(module)
    finally:
        scheme.wholemodule = before
