"""Checkpoints copied into the parameters that they won, with no more of their values in memory than has to be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ApplyError, AutoInitError
from ..planning import (
    IncompatibleKeys,
    Load,
    Plan,
    Recipient,
    hand_over,
    joined,
    own_tensors,
    recipients,
    unwrapped,
    walk,
)
from .filling import writable
from .sharding import is_sharded, spread_like
from .targets import Targets


def load(step: Load, plan: Plan, targets: Targets) -> Iterator[str]:
    """Copy what a step loads; gives the FQN of each parameter of the plan that was written.

    Each tensor is read, copied and let go of before the next is read. A module with loading code of its own is given
    all that there is for it and for what is below it at once.

    Raises:
        ApplyError: a module refuses to be loaded into.
        CheckpointError: a file is not what it was when it was planned.
    """
    loading = Loading(step, plan, targets)
    module = unwrapped(targets.modules[step.fqn])
    shares = [(recipient, loading.names(recipient)) for recipient in recipients(module)]
    tensors = step.checkpoint.tensors([name for _, names in shares for name in names])
    for recipient, names in shares:
        if recipient.whole and names:
            loading.give_all(recipient, dict(islice(tensors, len(names))))
        else:
            for name, tensor in islice(tensors, len(names)):
                loading.give(recipient, name, tensor)
    loading.tell([recipient.module for recipient, _ in reversed(shares) if not recipient.whole])
    yield from loading.written(module)


class Loading:
    """One step of a plan while it is carried out."""

    def __init__(self, step: Load, plan: Plan, targets: Targets) -> None:
        self._step = step
        self._keys = frozenset(step.keys)
        self._staying = frozenset((*step.kept, *step.other_dtype))
        self._planned = {id(tensor) for fqn in plan for tensor in targets.tensors(fqn)}
        self._kept = {id(tensor) for fqn, entry in plan.items() if entry.kept for tensor in targets.tensors(fqn)}
        self._won = {
            id(tensor): fqn
            for fqn, entry in plan.items()
            if entry.rule is step.rule and not entry.kept
            for tensor in targets.tensors(fqn)
        }

    def names(self, recipient: Recipient) -> list[str]:
        """What a recipient is to be given, by the checkpoint's names."""
        if not recipient.whole:
            prefix, own = recipient.prefix, own_tensors(recipient.module)
            return [prefix + name for name, tensor in own.items() if self._is_wanted(prefix + name, tensor)]
        if not any(self._is_wanted(name, tensor) for name, tensor in _tensors_below(recipient)):
            return []
        return [name for name in self._step.checkpoint.shapes if name.startswith(recipient.prefix)]

    def give(self, recipient: Recipient, name: str, tensor: Tensor) -> None:
        """Let a module load one of its own tensors."""
        errors: list[str] = []
        own = own_tensors(recipient.module)[name.removeprefix(recipient.prefix)]
        with self._explained(recipient.module, errors), writable([own]):
            about = self._step.checkpoint.versions.get(recipient.prefix[:-1], {})
            tensor = _as_stored_in(own, tensor)
            recipient.module._load_from_state_dict({name: tensor}, recipient.prefix, about, False, [], [], errors)

    def give_all(self, recipient: Recipient, state: dict[str, Tensor]) -> None:
        """Let a module with loading code, and what is below it, load what there is; and put back what must stay."""
        stays = [tensor for name, tensor in _tensors_below(recipient) if self._stays(name, tensor)]
        errors: list[str] = []
        told, versions = IncompatibleKeys([], []), self._step.checkpoint.versions
        below = [tensor for _, tensor in _tensors_below(recipient)]
        with self._explained(recipient.module, errors), writable(below), _kept(stays):
            for name, tensor in _tensors_below(recipient):
                if name in state:
                    state[name] = _as_stored_in(tensor, state[name])
            deque(hand_over(recipient.module, state, recipient.prefix, versions, told, errors), maxlen=0)

    def tell(self, modules: Iterable[nn.Module]) -> None:
        """Run the hooks of modules that run after a load."""
        told = IncompatibleKeys(list(self._step.missing), list(self._step.unexpected))
        for module in modules:
            with self._explained(module, []):
                for hook in module._load_state_dict_post_hooks.values():
                    hook(module, told)

    def written(self, module: nn.Module) -> Iterator[str]:
        """The FQNs of the parameters that were to be written."""
        for part in module.modules():
            for param in part._parameters.values():
                if id(param) in self._won:
                    yield self._won[id(param)]

    def _is_wanted(self, name: str, tensor: Tensor) -> bool:
        return name in self._keys and (id(tensor) in self._won or id(tensor) not in self._planned)

    def _stays(self, name: str, tensor: Tensor) -> bool:
        return (id(tensor) in self._kept or name in self._staying) and not is_lazy(tensor)

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
        said = [text for text in errors if not text.startswith("size mismatch for")]
        if error is None and not said:
            return
        origin, name = self._step.rule.origin, type(module).__name__
        reason = said[0] if error is None else f"{type(error).__name__}: {error}"
        text = f"{origin}: {self._step.checkpoint.location} could not be loaded into {name}: {reason}"
        raise ApplyError(text, origin=origin, fqn=self._step.fqn) from error


@contextmanager
def _kept(tensors: list[Tensor]) -> Iterator[None]:
    """A stretch that changes no value of these, also if it fails."""
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for tensor, before in zip(tensors, saved, strict=True):
            tensor.data.copy_(before)


def _as_stored_in(like: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that is to be loaded as what takes it is stored: values without gaps; what this rank needs of them."""
    if like.layout == torch.strided and tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return spread_like(like, tensor) if is_sharded(like) else tensor


def _tensors_below(recipient: Recipient) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module and of all below it, by full names."""
    for node in walk(recipient.module):
        for name, tensor in own_tensors(node.module).items():
            yield recipient.prefix + joined(node.fqn, name), tensor
