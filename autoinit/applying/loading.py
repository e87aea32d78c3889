"""Checkpoints loaded into the parameters that they won, one tensor at a time where modules allow it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ApplyError
from ..planning import (
    COUNTER,
    Entry,
    Load,
    LoadingModule,
    Plan,
    check_load,
    has_loading_code,
    loading_modules,
    own_tensors,
    unwrapped,
    wraps,
)
from .filling import writable
from .module_code import Snapshot, WriteRecorder, explained, tables_of
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
    """One step of a plan while it is applied, with the counts of what was loaded, and the FQNs that were written."""

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
            return [name for name, tensor in loader.tensors() if name in self._keys and self._has_won(tensor)]
        if all(self._is_left(name, tensor) for name, tensor in loader.tensors()):
            return []
        return [name for name in self.step.checkpoint.shapes if name.startswith(loader.prefix)]

    def _has_won(self, tensor: Tensor) -> bool:
        """Whether this load has won a tensor, or no rule is about it: a buffer."""
        entries = self._entries.get(id(tensor))
        return not entries or any(entry.rule is self.step.rule and not entry.kept for entry in entries)

    def _is_left(self, name: str, tensor: Tensor) -> bool:
        """Whether this load leaves a tensor alone: it is kept, not selected, or a later rule has won it."""
        return (
            name in self._staying
            or not self.step.selects(name)
            or any(e.kept is not None or e.rank > self.step.rank for e in self._entries.get(id(tensor), ()))
        )

    def _note_written(self, tensor: Tensor) -> None:
        self.written.update((entry.fqn, None) for entry in self._entries.get(id(tensor), ())[-1:])

    def load_own(self, loader: LoadingModule, name: str, tensor: Tensor) -> None:
        """Let a module load one of its own tensors."""
        module, prefix, errors = loader.module, loader.prefix, list[str]()
        own = own_tensors(module)[name.removeprefix(prefix)]
        with self.explained(module, errors), writable([own]):
            version = self.step.checkpoint.versions.get(prefix[:-1], {})
            module._load_from_state_dict({name: _as_stored_in(own, tensor)}, prefix, version, False, [], [], errors)
        self._note_written(own_tensors(module)[name.removeprefix(prefix)])

    def load_below(self, loader: LoadingModule, state: dict[str, Tensor]) -> None:
        """Let a module with loading code load everything for it and the modules below it, and count what it took."""
        before = dict(loader.tensors())
        shaped = {name: tensor for name, tensor in before.items() if not is_lazy(tensor)}
        stays = {name: tensor for name, tensor in shaped.items() if self._is_left(name, tensor)}
        recorder, loaded = WriteRecorder(shaped.values()), _StateDictLoad(self.step.checkpoint.versions)
        with (
            self.explained(loader.module, loaded.errors),
            writable(before.values()),
            _unchanged(loader.module, set(stays.values())),
        ):
            for name in before.keys() & state.keys():
                state[name] = _as_stored_in(before[name], state[name])
            loaded.names = {id(tensor): name for name, tensor in state.items()}
            with recorder:
                loaded.load(loader.module, state, loader.prefix)
        complaints = [text.removeprefix(MISMATCH) for text in loaded.errors if text.startswith(MISMATCH)]
        refused = {text.partition(":")[0] for text in complaints}
        after = dict(loader.tensors())
        for name, tensor in after.items():
            # Code may also put a new tensor in the place of another, whose size or dtype does not suit it.
            entries = self._entries.get(id(before.get(name)))
            if entries and before[name] is not tensor:
                self._entries[id(tensor)] = entries
                if entries[-1].fqn not in self._targets.weights:
                    self._targets.params[entries[-1].fqn] = tensor
        taken = [
            name
            for name, tensor in after.items()
            if not (name in stays or is_lazy(tensor) or name in refused)
            if recorder.wrote(tensor) or (before.get(name) is not tensor and name not in loaded.keys.missing_keys)
        ]
        for name in taken:
            self._note_written(after[name])
        self._count(after, taken, refused, loaded.unexpected)

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
            unexpected=(*self.step.unexpected, *filter(self.step.selects, unexpected)),
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
        """A context whose errors, and those that the module adds to the list, become an `ApplyError`."""
        origin, fqn = self.step.rule.origin, self.step.fqn
        what = f"{origin}: {self.step.checkpoint.location} could not be loaded into {type(module).__name__}"
        with explained(what, origin, fqn):
            yield
        for text in errors:
            if not text.startswith(MISMATCH):  # Sizes were compared when it was planned.
                raise ApplyError(f"{what}: {text}", origin=origin, fqn=fqn)


class IncompatibleKeys(NamedTuple):
    """The argument of hooks that run after a load."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _StateDictLoad:
    """A module and everything below it load, as in `load_state_dict`, but through wrappers.

    `unexpected` has the checkpoint's names, which are in `names` by the id of the tensor: code may rename what it gets.
    """

    def __init__(self, versions: Mapping[str, Mapping[str, Any]]) -> None:
        self.keys = IncompatibleKeys([], [])
        self.names: dict[int, str] = {}
        self.unexpected: list[str] = []
        self.errors: list[str] = []
        self._versions = versions

    def load(self, module: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
        """Let one module load from tensors by full names, and those below it from what it leaves."""
        transparent = frozenset() if has_loading_code(module) else wraps(module) & module._modules.keys()
        if not transparent:
            known, metadata = len(self.keys.unexpected_keys), dict(self._versions.get(prefix[:-1], {}))
            module._load_from_state_dict(state, prefix, metadata, True, *self.keys, self.errors)
            new = self.keys.unexpected_keys[known:]
            self.unexpected += [self.names.get(id(state.get(key)), key) for key in new]
            for name in own_tensors(module):
                state.pop(prefix + name, None)
        for name, child in module._modules.items():
            if child is not None:
                below = prefix if name in transparent else f"{prefix}{name}."
                # Removed from the parent's: a tensor without references after its copy takes no memory.
                self.load(child, {key: state.pop(key) for key in list(state) if key.startswith(below)}, below)
        for hook in module._load_state_dict_post_hooks.values():
            hook(module, self.keys)


@contextmanager
def _unchanged(module: nn.Module, tensors: Collection[Tensor]) -> Iterator[None]:
    """A context that leaves these tensors of a module in their places, with their values, also if it fails."""
    tables = tables_of(module.modules())
    places = [(table, name, each) for table in tables for name, each in table.items() if each in tensors]
    snapshot = Snapshot([], tensors)
    try:
        yield
    finally:
        for table, name, tensor in places:
            table[name] = tensor
        snapshot.restore()


def _as_stored_in(like: Tensor, tensor: Tensor) -> Tensor:
    """A tensor as the one is stored that it is loaded into: dense; of a sharded one only what this rank holds."""
    if like.layout == torch.strided and tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return shard_like(like, tensor) if is_sharded(like) else tensor
