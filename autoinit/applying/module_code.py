"""Runs code of a model, such as `init_weights()`, sees which tensors it writes to, and restores those it must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .. import _torch
from ..construction import Call, Region, operator_of
from ..errors import ApplyError, AutoInitError
from ..fills import seeded
from ..layers import is_lazy
from ..planning import (
    FILLED,
    NEVER_WRITTEN,
    OWN,
    Load,
    ModuleCall,
    OwnInit,
    Plan,
    Reset,
    is_initialized,
    joined,
    own_arguments,
)
from .filling import writable
from .seeds import Values
from .sharding import local_of
from .targets import Targets

if TYPE_CHECKING:
    from .execution import Application

being_initialized: ContextVar[frozenset[int]] = ContextVar("autoinit_being_initialized", default=frozenset())
"""Ids of the modules whose own `init_weights` is running: if it asks autoinit for its rules, it is not run again."""


def run_code(step: OwnInit | ModuleCall, plan: Plan, targets: Targets) -> dict[str, str]:
    """Run a step; returns the outcome of every parameter that the code wrote to, by FQN.

    Raises:
        ApplyError: the code failed. What is kept is kept all the same.
    """
    tensors = {fqn: {each for each in targets.tensors(fqn) if not is_lazy(each)} for fqn in plan}
    kept = {each for fqn, entry in plan.items() if entry.kept not in (None, NEVER_WRITTEN) for each in tensors[fqn]}
    module, snapshot = targets.modules[step.fqn], Snapshot([], kept)
    recorder = WriteRecorder(chain.from_iterable(tensors.values()))
    name = type(module).__name__
    if isinstance(step, ModuleCall):
        origin, what, outcome = step.rule.origin, f"{step.rule.origin}: {step.scheme}", FILLED
        function = partial(_call_function, step, module)
    else:
        origin, what, outcome = None, f"{name}.init_weights()", OWN
        function = partial(_call_init_weights, module)
    try:
        with explained(f"{step.fqn or name}: {what} failed", origin, step.fqn):
            _run(function, module, recorder)
    finally:
        snapshot.restore(recorder.wrote)
    return {fqn: outcome for fqn, group in tensors.items() if any(map(recorder.wrote, group - kept))}


def reset_layer(step: Reset, targets: Targets, values: Values) -> dict[str, str]:
    """Call the method by which a layer initializes itself, with torch's generators seeded from the layer's key.

    Everything else that the method writes, such as buffers and modules below, gets its values back.

    Returns:
        The outcome of those of the rule's parameters that the method wrote to, by FQN.

    Raises:
        ApplyError: the method failed; the layer is as it was.
    """
    layer = targets.modules[step.fqn]
    won = {fqn: targets.tensors(fqn) for fqn in step.params}
    mine = set(chain.from_iterable(won.values()))
    recorder, snapshot = WriteRecorder(mine), Snapshot(tables_of(layer.modules()))
    seed = values.key(joined(step.fqn, step.method), 0).offset >> 1
    what = f"{step.rule.origin}: {step.fqn or step.model}: {step} failed"
    try:
        with explained(what, step.rule.origin, step.fqn), seeded(next(iter(won.values()))[0].device, seed):
            _run(getattr(layer, step.method), layer, recorder)
        present = {id(tensor) for table in tables_of(layer.modules()) for tensor in table.values()}
        wrote = [fqn for fqn, group in won.items() for each in group if recorder.wrote(each) or id(each) not in present]
        for table, before in snapshot.tables:
            for name, old in before.items():
                # The method may have put another tensor in the place of a parameter.
                new = table.get(name)
                if old in mine and new is not None and new is not old and new.shape == old.shape:
                    with writable([old]):
                        old.data.copy_(new.detach())
    except BaseException:
        snapshot.restore()
        raise
    snapshot.restore(lambda tensor: tensor not in mine)
    return dict.fromkeys(wrote, FILLED)


@contextmanager
def explained(what: str, origin: str | None, fqn: str) -> Iterator[None]:
    """A context whose errors become an `ApplyError`, with what failed before the colon."""
    try:
        yield
    except AutoInitError:
        raise
    except Exception as error:  # Code of the model can raise anything.
        raise ApplyError(f"{what}: {type(error).__name__}: {error}", origin=origin, fqn=fqn) from error


def _run(function: Callable[[], object], module: nn.Module, recorder: WriteRecorder) -> None:
    """Run code of a module: in inference mode if its parameters were made there, as it could not write to them else."""
    is_inference = any(param.is_inference() for param in module.parameters())
    with torch.inference_mode() if is_inference else nullcontext(), recorder:
        function()


def _call_init_weights(module: nn.Module) -> None:
    if is_initialized(module):  # The step of another module has run it.
        return
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
        self._before = {id(tensor): _memory_of(tensor) for tensor in watched}
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
        memory = _memory_of(tensor)
        if self._before.get(id(tensor), memory) != memory:
            return True
        region = Region.of(local_of(tensor))
        return any(written.meets(region) for written in self._written.get(memory[0], ()))


def _memory_of(tensor: Tensor) -> tuple[int, int]:
    """The storage of a tensor, and its offset in it."""
    local = local_of(tensor)
    return _torch.storage_id(local), int(local.storage_offset())


Table = dict[str, Any]
"""Tensors by name, such as the parameters or the buffers of a module; None for one that is not there."""


class Snapshot:
    """The tensors in some tables, and the values of these and of other tensors, where they have any."""

    def __init__(self, tables: Iterable[Table], others: Iterable[Tensor] = ()) -> None:
        self.tables = [(table, dict(table)) for table in tables]
        held = (tensor for _, before in self.tables for tensor in before.values() if tensor is not None)
        tensors = dict.fromkeys((*held, *others))
        self._values = {each: each.detach().clone() for each in tensors if not is_lazy(each) and not each.is_meta}

    def restore(self, has_changed: Callable[[Tensor], bool] = lambda _: True) -> None:
        """Restore the tables, and the values of tensors that `has_changed` is true of, with their shapes."""
        for table, before in self.tables:
            table.clear()
            table.update(before)
        for tensor, value in filter(lambda item: has_changed(item[0]), self._values.items()):
            if tensor.shape != value.shape:
                tensor.data = value
                continue
            with writable([tensor]):
                tensor.data.copy_(value)


def tables_of(modules: Iterable[nn.Module]) -> Iterator[Table]:
    """The tables of the modules' own parameters and buffers."""
    for module in modules:
        yield from (module._parameters, module._buffers)


@contextmanager
def put_back_on_error(applications: Sequence[Application]) -> Iterator[None]:
    """Restore all models if modules of one have loading code, and the code in this context fails (A).

    Whether loading code works is known only when it runs. A copy of the values is held meanwhile.
    """
    if not any(isinstance(step, Load) and step.coded for each in applications for step in each.plan.steps):
        yield
        return
    tables = [each.targets.params for each in applications]
    tables += tables_of(module for each in applications for module in each.targets.modules.values())
    snapshot = Snapshot(tables, (t for each in applications for fqn in each.plan for t in each.targets.tensors(fqn)))
    try:
        yield
    except BaseException:  # An interrupt, too.
        snapshot.restore()
        for each in applications:
            each.outcomes.clear()
        raise
