"""Who takes the tensors of a checkpoint: each module its own, or one that has code for it everything below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from .tree import joined, walk, wraps

TORCH = "torch.nn.modules."
"""The loading code of torch's own layers (batch norms, lazy layers) goes by names."""

Versions = Mapping[str, Mapping[str, Any]]
"""What `state_dict()` noted of each module beside its tensors, by the module's name."""


class Recipient(NamedTuple):
    """A module that takes tensors.

    Args:
        prefix: of their names, with its dot.
        module: takes those of its own parameters and buffers.
        whole: it takes those of all modules below it, too, because it has code that looks at them: an own
            `_load_from_state_dict`, or a hook that runs before it.
    """

    prefix: str
    module: nn.Module
    whole: bool


class IncompatibleKeys(NamedTuple):
    """What hooks that run after a load are told."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def recipients(root: nn.Module) -> Iterator[Recipient]:
    """The modules that take tensors, parents first, under names without wrappers."""
    inside: int | None = None
    for node in walk(root):
        if inside is not None and node.depth > inside:
            continue
        inside = node.depth if has_loading_code(node.module) else None
        yield Recipient(f"{node.fqn}." if node.fqn else "", node.module, inside is not None)


def has_loading_code(module: nn.Module) -> bool:
    """Whether a module may rename or convert what it loads, by a method or by hooks that are not torch's."""
    hooks = (getattr(hook, "hook", hook) for hook in module._load_state_dict_pre_hooks.values())
    if "_load_from_state_dict" in module.__dict__ or not all(
        str(getattr(hook, "__module__", "")).startswith(TORCH) for hook in hooks
    ):
        return True
    # Looked up in the classes' own tables: the attribute itself is wrapped while a block is open.
    cls = next(cls for cls in type(module).__mro__ if "_load_from_state_dict" in cls.__dict__)
    return not cls.__module__.startswith(TORCH)


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and those of its buffers that are saved, by their names in it."""
    saved = {**module._parameters, **module._buffers}
    return {
        name: tensor
        for name, tensor in saved.items()
        if tensor is not None and name not in module._non_persistent_buffers_set
    }


def tensors_below(recipient: Recipient) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module and of all modules below it, by full names."""
    for node in walk(recipient.module):
        for name, tensor in own_tensors(node.module).items():
            yield recipient.prefix + joined(node.fqn, name), tensor


def hand_over(
    module: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    versions: Versions,
    told: IncompatibleKeys,
    errors: list[str],
) -> Iterator[tuple[nn.Module, dict[str, Tensor], str]]:
    """Let a module and everything below it load, as `load_state_dict` does, but through wrappers.

    Args:
        module: the first that is asked.
        state: what there is for it and everything below it, by full names. It is emptied on the way.
        prefix: of its names, with its dot.
        versions: of the modules in the checkpoint.
        told: gets the names that are missing and unexpected.
        errors: gets what else modules complain of.

    Yields:
        Each module after it has loaded, with what it left of what it was given, and the prefix.
    """
    transparent = frozenset() if has_loading_code(module) else wraps(module) & module._modules.keys()
    if not transparent:
        about = dict(versions.get(prefix[:-1], {}))
        module._load_from_state_dict(state, prefix, about, True, told.missing_keys, told.unexpected_keys, errors)
        yield module, state, prefix
        _drop(state, [prefix + name for name in own_tensors(module)])
    for name, child in module._modules.items():
        if child is not None:
            below = prefix if name in transparent else f"{prefix}{name}."
            part = {key: value for key, value in state.items() if key.startswith(below)}
            # Nobody else is to have them: a tensor that is let go of when it was copied takes no memory any more.
            _drop(state, part)
            yield from hand_over(child, part, below, versions, told, errors)
    for hook in module._load_state_dict_post_hooks.values():
        hook(module, told)


def _drop(state: dict[str, Tensor], names: Iterable[str]) -> None:
    for name in names:
        state.pop(name, None)
