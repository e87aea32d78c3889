"""Checkpoints loaded into the parameters that they won, one tensor at a time where modules allow it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ApplyError, AutoInitError
from ..planning import (
    COUNTER,
    Entry,
    IncompatibleKeys,
    Load,
    LoadingModule,
    Plan,
    check_load,
    joined,
    load_below,
    loading_modules,
    own_tensors,
    unwrapped,
    walk,
)
from .filling import writable
from .module_code import WriteRecorder
from .rollback import tables_of
from .sharding import is_sharded, shard_like
from .targets import Targets

MISMATCH = "size mismatch for "


def load(step: Load, plan: Plan, targets: Targets) -> tuple[Load, dict[str, Entry]]:
    """Load a checkpoint; returns the step with the counts, and the entries of the parameters that were loaded.

    Each tensor is read, copied and released before the next is read. A module with loading code of its own gets
    everything for it and the modules below it at once.

    Raises:
        ApplyError: a module's loading code failed.
        CheckpointError: a file is not what it was when it was planned, or nothing of it was loaded.
    """
    loading = _Loading(step, plan, targets)
    module = unwrapped(targets.modules[step.fqn])
    shares = [(each, loading.names(each)) for each in loading_modules(module)]
    tensors = step.checkpoint.tensors([name for _, names in shares for name in names])
    for loader, names in shares:
        if loader.whole and names:
            loading.load_below(loader, dict(islice(tensors, len(names))))
        else:
            for name, tensor in islice(tensors, len(names)):
                loading.load_own(loader, name, tensor)
    if step.coded:  # What fits is only known now.
        loading.step = replace(loading.step, coded=False)
        check_load(loading.step, type(module).__name__)
    incompatible = IncompatibleKeys(list(loading.step.missing), list(loading.step.unexpected))
    for loader, _ in reversed(shares):
        for hook in () if loader.whole else loader.module._load_state_dict_post_hooks.values():
            with loading.explained(loader.module, []):
                hook(loader.module, incompatible)
    return loading.step, {fqn: loading.credited(fqn) for fqn in loading.written}


class _Loading:
    """One step of a plan while it is applied.

    Attributes:
        step: The step, with the counts of what the loading code of modules took.
        written: FQNs of the plan's parameters that were written.
    """

    def __init__(self, step: Load, plan: Plan, targets: Targets) -> None:
        self.step = step
        self.written: dict[str, None] = {}
        self._plan = plan
        self._targets = targets
        self._keys = frozenset(step.keys)
        self._staying = frozenset((*step.kept, *step.other_dtype))
        # Two for a tensor that is stored for a parametrized weight and that a rule names as well.
        self._entries: dict[int, list[Entry]] = {}
        for fqn, entry in plan.items():
            for tensor in targets.tensors(fqn):
                self._entries.setdefault(id(tensor), []).append(entry)

    def names(self, loader: LoadingModule) -> list[str]:
        """The checkpoint's names of what a module gets."""
        if not loader.whole:
            own = {loader.prefix + name: tensor for name, tensor in own_tensors(loader.module).items()}
            return [name for name, tensor in own.items() if name in self._keys and self._has_won(tensor)]
        if all(self._is_left(name, tensor) for name, tensor in loader.tensors()):
            return []
        return [name for name in self.step.checkpoint.shapes if name.startswith(loader.prefix)]

    def _has_won(self, tensor: Tensor) -> bool:
        """Whether this load has won a tensor, or no rule is about it: a buffer."""
        entries = self._entries.get(id(tensor))
        return not entries or any(entry.rule is self.step.rule and not entry.kept for entry in entries)

    def _is_left(self, name: str, tensor: Tensor) -> bool:
        """Whether this load leaves a tensor alone: it is kept, or a later rule has won it."""
        entries = self._entries.get(id(tensor), ())
        return name in self._staying or any(e.kept is not None or e.rank > self.step.rank for e in entries)

    def _note_written(self, tensor: Tensor) -> None:
        self.written.update((entry.fqn, None) for entry in self._entries.get(id(tensor), ())[-1:])

    def load_own(self, loader: LoadingModule, name: str, tensor: Tensor) -> None:
        """Let a module load one of its own tensors."""
        module, prefix, errors = loader.module, loader.prefix, list[str]()
        own = own_tensors(module)[name.removeprefix(prefix)]
        with self.explained(module, errors), writable([own]):
            version = self.step.checkpoint.versions.get(prefix[:-1], {})
            state = {name: _as_stored_in(own, tensor)}
            module._load_from_state_dict(state, prefix, version, False, [], [], errors)
        self._note_written(own_tensors(module)[name.removeprefix(prefix)])

    def load_below(self, loader: LoadingModule, state: dict[str, Tensor]) -> None:
        """Let a module with loading code load everything for it and the modules below it, and count what it took."""
        before = dict(loader.tensors())
        stays = {key: each for key, each in before.items() if self._is_left(key, each) and not is_lazy(each)}
        errors: list[str] = []
        unexpected: list[str] = []
        incompatible = IncompatibleKeys([], [])
        recorder = WriteRecorder(tensor for tensor in before.values() if not is_lazy(tensor))
        with self.explained(loader.module, errors), writable(before.values()), _unchanged(loader, stays):
            for name in before.keys() & state.keys():
                state[name] = _as_stored_in(before[name], state[name])
            names = {id(tensor): name for name, tensor in state.items()}
            with recorder:
                about = self.step.checkpoint.versions
                for left in load_below(loader.module, state, loader.prefix, about, incompatible, errors):
                    new = incompatible.unexpected_keys[len(unexpected) :]
                    # Code may have renamed what it got.
                    unexpected += [names.get(id(left.get(key)), key) for key in new]
        refused = {text.removeprefix(MISMATCH).partition(":")[0] for text in errors if text.startswith(MISMATCH)}
        after = dict(loader.tensors())
        # Code may also put a new tensor in the place of another, whose size or dtype does not suit it.
        taken = [
            name
            for name, tensor in after.items()
            if name not in stays and not is_lazy(tensor) and name not in refused
            if recorder.wrote(tensor) or (before.get(name) is not tensor and name not in incompatible.missing_keys)
        ]
        for name, tensor in after.items():
            entries = self._entries.get(id(before.get(name)))
            if entries and before[name] is not tensor:
                self._entries[id(tensor)] = entries
                if entries[-1].fqn not in self._targets.weights:
                    self._targets.params[entries[-1].fqn] = tensor
        for name in taken:
            self._note_written(after[name])
        self._count(after, taken, refused, unexpected)

    def _count(self, after: dict[str, Tensor], taken: list[str], refused: set[str], unexpected: list[str]) -> None:
        """Count what the loading code of a module wrote, and what it did not."""
        written, shapes = {id(after[name]) for name in taken}, self.step.checkpoint.shapes
        missing: list[str] = []
        mismatched: list[str] = []
        for name, tensor in after.items():
            stays = self._is_left(name, tensor) and not is_lazy(tensor)
            if id(tensor) not in written and COUNTER not in name and not stays:
                fits = is_lazy(tensor) or shapes.get(name, tensor.shape) == tensor.shape
                (mismatched if name in refused or not fits else missing).append(name)
        self.step = replace(
            self.step,
            keys=tuple(dict.fromkeys((*(key for key in self.step.keys if key not in after), *taken))),
            missing=(*self.step.missing, *missing),
            mismatched=(*self.step.mismatched, *mismatched),
            unexpected=(*self.step.unexpected, *unexpected),
        )

    def credited(self, fqn: str) -> Entry:
        """The entry of a parameter that was loaded: with the checkpoint's rule, if only loading code decided that."""
        entry, rule, param = self._plan[fqn], self.step.rule, self._targets.params[fqn]
        if entry.rule is rule:
            return entry
        shape = entry.shape
        if fqn not in self._targets.weights:
            shape = None if is_lazy(param) else tuple(param.shape)
        overrides = entry.overrides if entry.rule is None else (*entry.overrides, entry.rule)
        rank = self.step.rank
        return replace(entry, rule=rule, overrides=overrides, shape=shape, fill=None, fans=(), deferred=None, rank=rank)

    @contextmanager
    def explained(self, module: nn.Module, errors: list[str]) -> Iterator[None]:
        """A context whose errors, and those that the module adds to the list, become an ApplyError."""
        failure: Exception | None = None
        try:
            yield
        except AutoInitError:
            raise
        except Exception as error:
            failure = error
        # Sizes were compared when it was planned.
        reasons = [text for text in errors if not text.startswith(MISMATCH)]
        if failure is not None:
            reasons = [f"{type(failure).__name__}: {failure}"]
        if reasons:
            origin, name = self.step.rule.origin, type(module).__name__
            text = f"{origin}: {self.step.checkpoint.location} could not be loaded into {name}: {reasons[0]}"
            raise ApplyError(text, origin=origin, fqn=self.step.fqn) from failure


@contextmanager
def _unchanged(loader: LoadingModule, tensors: dict[str, Tensor]) -> Iterator[None]:
    """A context that leaves these tensors of a module in their places, with their values, also if it fails."""
    saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    try:
        yield
    finally:
        for name, before in saved.items():
            tensors[name].data.copy_(before)
        for node in walk(loader.module) if tensors else ():
            for table in tables_of(node.module):
                for name in table:
                    key = loader.prefix + joined(node.fqn, name)
                    table[name] = tensors.get(key, table[name])


def _as_stored_in(like: Tensor, tensor: Tensor) -> Tensor:
    """A tensor as the one is stored that it is loaded into: dense; of a sharded one only what this rank holds."""
    if like.layout == torch.strided and tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return shard_like(like, tensor) if is_sharded(like) else tensor
