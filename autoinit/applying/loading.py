"""Checkpoints copied into the parameters that they won, with no more of their values in memory than has to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from .rollback import tables_of
from .sharding import is_sharded, spread_like
from .targets import Targets
from .writes import WriteRecorder

MISMATCH = "size mismatch for "


def load(step: Load, plan: Plan, targets: Targets) -> Loading:
    """Copy what a step loads.

    Each tensor is read, copied and let go of before the next is read. A module with loading code of its own is given
    everything for it and the modules below it at once.

    Raises:
        ApplyError: a module refuses to be loaded into.
        CheckpointError: a file is not what it was when it was planned, or nothing of it was loaded.
    """
    loading = Loading(step, plan, targets)
    module = unwrapped(targets.modules[step.fqn])
    shares = [(recipient, loading.names(recipient)) for recipient in loading_modules(module)]
    tensors = step.checkpoint.tensors([name for _, names in shares for name in names])
    for recipient, names in shares:
        if recipient.whole and names:
            loading.give_all(recipient, dict(islice(tensors, len(names))))
        else:
            for name, tensor in islice(tensors, len(names)):
                loading.give(recipient, name, tensor)
    loading.finish(type(module).__name__)
    loading.tell([recipient.module for recipient, _ in reversed(shares) if not recipient.whole])
    return loading


class Loading:
    """One step of a plan while it is applied.

    Attributes:
        step: The step, with the counts of what the loading code of modules took.
        written: FQNs of the plan's parameters that were written.
    """

    def __init__(self, step: Load, plan: Plan, targets: Targets) -> None:
        self.step = step
        self._targets = targets
        self._keys = frozenset(step.keys)
        self._staying = frozenset((*step.kept, *step.other_dtype))
        # Two for a tensor that is stored for a computed weight and that a rule names as well.
        self._entries: dict[int, list[Entry]] = {}
        for fqn, entry in plan.items():
            for tensor in targets.tensors(fqn):
                self._entries.setdefault(id(tensor), []).append(entry)
        self.written: set[str] = set()

    def names(self, recipient: LoadingModule) -> list[str]:
        """What a recipient is to be given, by the checkpoint's names."""
        if not recipient.whole:
            prefix, own = recipient.prefix, own_tensors(recipient.module)
            return [prefix + name for name, tensor in own.items() if self._is_wanted(prefix + name, tensor)]
        if all(self._is_left(name, tensor) for name, tensor in recipient.tensors()):
            return []
        return [name for name in self.step.checkpoint.shapes if name.startswith(recipient.prefix)]

    def give(self, recipient: LoadingModule, name: str, tensor: Tensor) -> None:
        """Let a module load one of its own tensors."""
        errors: list[str] = []
        own = own_tensors(recipient.module)[name.removeprefix(recipient.prefix)]
        with self._explained(recipient.module, errors), writable([own]):
            about = self.step.checkpoint.versions.get(recipient.prefix[:-1], {})
            tensor = _as_stored_in(own, tensor)
            recipient.module._load_from_state_dict({name: tensor}, recipient.prefix, about, False, [], [], errors)
        self._note(own_tensors(recipient.module)[name.removeprefix(recipient.prefix)])

    def give_all(self, recipient: LoadingModule, state: dict[str, Tensor]) -> None:
        """Let a module with loading code load everything for it and the modules below it, and count what it took."""
        before = dict(recipient.tensors())
        staying = {name: tensor for name, tensor in before.items() if self._stays(name, tensor)}
        errors: list[str] = []
        told = IncompatibleKeys([], [])
        recorder = WriteRecorder(tensor for tensor in before.values() if not is_lazy(tensor))
        with self._explained(recipient.module, errors), writable(before.values()), _kept(recipient, staying):
            for name in before.keys() & state.keys():
                state[name] = _as_stored_in(before[name], state[name])
            with recorder:
                unexpected = self._hand_over(recipient, state, told, errors)
        refused = {text.removeprefix(MISMATCH).partition(":")[0] for text in errors if text.startswith(MISMATCH)}
        after = dict(recipient.tensors())
        # Code may also put a new tensor in the place of another, whose size or dtype does not suit it.
        taken = {
            name
            for name, tensor in after.items()
            if name not in staying and not is_lazy(tensor) and name not in refused
            if recorder.wrote(tensor) or (before.get(name) is not tensor and name not in told.missing_keys)
        }
        self._rebind(before, after)
        self._count(after, taken, refused, unexpected)

    def _hand_over(
        self, recipient: LoadingModule, state: dict[str, Tensor], told: IncompatibleKeys, errors: list[str]
    ) -> list[str]:
        """Let modules load; gives the names of the checkpoint that they do not know."""
        unexpected: list[str] = []
        sources = {id(tensor): name for name, tensor in state.items()}
        versions = self.step.checkpoint.versions
        for left in load_below(recipient.module, state, recipient.prefix, versions, told, errors):
            new = told.unexpected_keys[len(unexpected) :]
            unexpected += [sources.get(id(left.get(key)), key) for key in new]
        return unexpected

    def _rebind(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
        """Note the tensors that the loading code of a module has put in the place of others."""
        for name, tensor in after.items():
            entries = self._entries.get(id(before.get(name)))
            if entries and before[name] is not tensor:
                self._entries[id(tensor)] = entries
                fqn = entries[-1].fqn
                if fqn not in self._targets.weights:
                    self._targets.params[fqn] = tensor

    def _count(self, below: dict[str, Tensor], taken: set[str], refused: set[str], unexpected: list[str]) -> None:
        """Note which tensors the loading code of a module wrote, and which it did not."""
        for name in taken:
            self._note(below[name])
        written = {id(below[name]) for name in taken}
        lost = [
            name
            for name, tensor in below.items()
            if id(tensor) not in written and COUNTER not in name and not self._stays(name, tensor)
        ]
        mismatched = [name for name in lost if name in refused or self._is_mismatched(name, below[name])]
        loaded = [name for name in below if name in taken]
        self.step = replace(
            self.step,
            keys=tuple(dict.fromkeys((*(key for key in self.step.keys if key not in below), *loaded))),
            missing=(*self.step.missing, *(name for name in lost if name not in mismatched)),
            mismatched=(*self.step.mismatched, *mismatched),
            unexpected=(*self.step.unexpected, *unexpected),
        )

    def _is_mismatched(self, name: str, tensor: Tensor) -> bool:
        shape = self.step.checkpoint.shapes.get(name)
        return shape is not None and not is_lazy(tensor) and shape != tensor.shape

    def _note(self, tensor: Tensor) -> None:
        self.written.update(entry.fqn for entry in self._entries.get(id(tensor), ())[-1:])

    def finish(self, model: str) -> None:
        """Judge what fitted, if that was not known before."""
        if self.step.coded:
            self.step = replace(self.step, coded=False)
            check_load(self.step, model)

    def tell(self, modules: Iterable[nn.Module]) -> None:
        """Run the hooks of modules that run after a load."""
        told = IncompatibleKeys(list(self.step.missing), list(self.step.unexpected))
        for module in modules:
            with self._explained(module, []):
                for hook in module._load_state_dict_post_hooks.values():
                    hook(module, told)

    def _is_wanted(self, name: str, tensor: Tensor) -> bool:
        """Whether this load has won a tensor, or no rule is about it: a buffer."""
        entries = self._entries.get(id(tensor))
        return name in self._keys and (not entries or any(e.rule is self.step.rule and not e.kept for e in entries))

    def _is_left(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor is none of this load's: it is kept, or a later rule has it."""
        entries = self._entries.get(id(tensor), ())
        return name in self._staying or any(e.kept is not None or e.rank > self.step.rank for e in entries)

    def _stays(self, name: str, tensor: Tensor) -> bool:
        return self._is_left(name, tensor) and not is_lazy(tensor)

    @contextmanager
    def _explained(self, module: nn.Module, errors: list[str]) -> Iterator[None]:
        error: Exception | None = None
        try:
            yield
        except AutoInitError:
            raise
        except Exception as e:
            error = e
        # Sizes were compared when it was planned, and told.
        said = [text for text in errors if not text.startswith(MISMATCH)]
        if error is None and not said:
            return
        origin, name = self.step.rule.origin, type(module).__name__
        reason = said[0] if error is None else f"{type(error).__name__}: {error}"
        text = f"{origin}: {self.step.checkpoint.location} could not be loaded into {name}: {reason}"
        raise ApplyError(text, origin=origin, fqn=self.step.fqn) from error


def credited(plan: Plan, loads: Sequence[Loading], targets: Targets) -> Plan:
    """The plan with the checkpoints' rules for the parameters that the loading code of modules wrote."""
    known: dict[str, Entry] = {}
    for loading in loads:
        rule, rank = loading.step.rule, loading.step.rank
        for fqn in loading.written:
            entry = known.get(fqn, plan[fqn])
            if entry.rule is not rule:
                beat = entry.beat if entry.rule is None else (*entry.beat, entry.rule)
                shape = entry.shape if fqn in targets.weights else _shape_of(targets.params[fqn])
                known[fqn] = replace(
                    entry, rule=rule, beat=beat, shape=shape, fill=None, fans=(), deferred=None, rank=rank
                )
    return replace(plan, entries={**plan.entries, **known}) if known else plan


def _shape_of(tensor: Tensor) -> tuple[int, ...] | None:
    return None if is_lazy(tensor) else tuple(tensor.shape)


@contextmanager
def _kept(recipient: LoadingModule, tensors: dict[str, Tensor]) -> Iterator[None]:
    """A context that leaves these tensors of a module in their places, with their values, also if it fails."""
    saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    try:
        yield
    finally:
        for name, before in saved.items():
            tensors[name].data.copy_(before)
        for node in walk(recipient.module) if tensors else ():
            for table in tables_of(node.module):
                names = {name: recipient.prefix + joined(node.fqn, name) for name in table}
                table.update({name: tensors[key] for name, key in names.items() if key in tensors})


def _as_stored_in(like: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that is to be loaded as what takes it is stored: values without gaps; what this rank needs of them."""
    if like.layout == torch.strided and tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return spread_like(like, tensor) if is_sharded(like) else tensor
