"""How a checkpoint fits a module: decided from names, shapes and dtypes, before anything is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..checkpoints import Checkpoint, open_checkpoint
from ..errors import CheckpointError, warn
from ..initializers import Pretrained
from .matches import Match
from .steps import Load
from .tree import Node, joined, unwrapped, walk, wraps

SHOWN = 5
_QUANTIZED = frozenset({torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4})
COUNTER = "num_batches_tracked"
"""Of batch norms; checkpoints from before PyTorch 0.4.1 have none, and are complete, as in the original."""


class LoadingModule(NamedTuple):
    """A module that loads its own tensors; a `whole` one has code for it, and loads all below it too."""

    prefix: str
    module: nn.Module
    whole: bool

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors that it loads, by full names."""
        for node in walk(self.module) if self.whole else [Node("", self.module, 0)]:
            for name, tensor in own_tensors(node.module).items():
                yield self.prefix + joined(node.fqn, name), tensor


class IncompatibleKeys(NamedTuple):
    """The argument of hooks that run after a load."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def loading_modules(root: nn.Module) -> Iterator[LoadingModule]:
    """The modules that load tensors, parents first, under names without wrappers."""
    inside: int | None = None
    for node in walk(root):
        if inside is None or node.depth <= inside:
            inside = node.depth if has_loading_code(node.module) else None
            yield LoadingModule(f"{node.fqn}." if node.fqn else "", node.module, inside is not None)


def has_loading_code(module: nn.Module) -> bool:
    """Whether a module may rename or convert what it loads, by a method or by hooks that are not torch's own."""
    # Looked up in the classes' own tables: the attribute itself is wrapped while a block is open.
    cls = next(cls for cls in type(module).__mro__ if "_load_from_state_dict" in cls.__dict__)
    hooks = [getattr(hook, "hook", hook) for hook in module._load_state_dict_pre_hooks.values()]
    sources = [cls.__module__, *(str(getattr(hook, "__module__", "")) for hook in hooks)]
    # The loading code of torch's own layers (batch norms, lazy layers) goes by names.
    is_torch = all(source.startswith("torch.nn.modules.") for source in sources)
    return "_load_from_state_dict" in module.__dict__ or not is_torch


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and those of its buffers that are saved, by their names in it."""
    return {
        name: tensor
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None and name not in module._non_persistent_buffers_set
    }


def load_below(
    module: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    versions: Mapping[str, Mapping[str, Any]],
    keys: IncompatibleKeys,
    errors: list[str],
) -> Iterator[dict[str, Tensor]]:
    """Let a module and everything below it load, as `load_state_dict` does, but through wrappers.

    Args:
        module: The first module.
        state: Tensors by full names. It is emptied on the way; after each module it is yielded as that left it.
        prefix: Prefix of its names, with its dot.
        versions: Metadata of each module in the checkpoint, by the module's name.
        keys: Gets the names that are missing and unexpected.
        errors: Gets the other complaints of modules.
    """
    transparent = frozenset() if has_loading_code(module) else wraps(module) & module._modules.keys()
    if not transparent:
        metadata = dict(versions.get(prefix[:-1], {}))
        module._load_from_state_dict(state, prefix, metadata, True, keys.missing_keys, keys.unexpected_keys, errors)
        yield state
        for name in own_tensors(module):
            state.pop(prefix + name, None)
    for name, child in module._modules.items():
        if child is not None:
            below = prefix if name in transparent else f"{prefix}{name}."
            # Removed from the parent's: a tensor without references after its copy takes no memory.
            part = {key: state.pop(key) for key in list(state) if key.startswith(below)}
            yield from load_below(child, part, below, versions, keys, errors)
    for hook in module._load_state_dict_post_hooks.values():
        hook(module, keys)


def plan_load(match: Match, node: Node) -> tuple[Load, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The load that a `Pretrained` rule means for a module, and the tensors that get values, by name.

    First those that the checkpoint surely has, then those that a module's own loading code decides on.

    Raises:
        CheckpointError: The file cannot be used, nothing in it fits, or `strict` and anything does not.
    """
    rule, scheme = match.rule, match.rule.initializer
    if not isinstance(scheme, Pretrained):
        raise TypeError(f"{scheme} loads nothing")
    checkpoint = open_checkpoint(
        scheme.checkpoint,
        prefix=scheme.prefix,
        map_location=scheme.map_location,
        key=scheme.key,
        revise_keys=scheme.renames,
        sha256=scheme.sha256,
        origin=rule.origin,
    )
    module, selects = unwrapped(node.module), partial(rule.loads, is_target=match.rank.override > 0)
    found, known, coded = _compare(module, checkpoint, selects)
    # A tied weight is not missing if the checkpoint has it under any of its names.
    tied = set(map(id, found["loaded"].values()))
    load = Load(
        fqn=node.fqn,
        checkpoint=checkpoint,
        keys=(*found["loaded"], *found["likely"]),
        missing=tuple(name for name, each in found["missing"].items() if id(each) not in tied and COUNTER not in name),
        unexpected=tuple(name for name in filter(selects, checkpoint.shapes) if name not in known),
        mismatched=tuple(found["mismatched"]),
        other_dtype=tuple(found["other_dtype"]),
        coded=coded,
        rule=rule,
        rank=match.rank,
    )
    if (not coded or scheme.strict) and (known or not rule.selects_by_itself):
        check_load(load, type(module).__name__)
    return load, found["loaded"], found["likely"]


def _compare(
    module: nn.Module, checkpoint: Checkpoint, selects: Callable[[str], bool]
) -> tuple[Mapping[str, dict[str, Tensor]], set[str], bool]:
    """The tensors of a module by how they fit a checkpoint, the names that are not unexpected in it, and `Load.coded`.

    A module's own loading code decides about "likely" tensors. What it may rename or reshape is not counted as missing.
    """
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    known: set[str] = set()
    coded = False
    for part in loading_modules(module):
        tensors = {name: tensor for name, tensor in part.tensors() if selects(name)}
        if part.whole and tensors:
            seen = [name for name in checkpoint.shapes if name.startswith(part.prefix)]
            coded |= bool(seen)
            known.update(seen)
        known.update(tensors)
        for name, tensor in tensors.items():
            fit = "missing"
            if name in checkpoint.shapes:
                fit = _fit(tensor, checkpoint.shapes[name], checkpoint.dtypes[name])
            if part.whole and fit == "loaded":
                fit = "likely"
            if not part.whole or fit in ("likely", "other_dtype"):
                found[fit][name] = tensor
    return found, known, coded


def _fit(tensor: Tensor, shape: torch.Size, dtype: torch.dtype) -> str:
    """How a tensor of a checkpoint fits one of a module."""
    # Before PyTorch 0.4 there were no scalars, and modules still load what was saved then.
    same_shape = is_lazy(tensor) or tensor.shape == shape or (tensor.shape == () and shape == (1,))
    return "mismatched" if not same_shape else "loaded" if _kind(tensor.dtype) == _kind(dtype) else "other_dtype"


def _kind(dtype: torch.dtype) -> str:
    """Within one kind values are cast, as `Tensor.copy_` does; from another kind nothing sensible comes."""
    if dtype in _QUANTIZED:
        return "quantized"
    if dtype.is_complex:
        return "complex"
    return "floating" if dtype.is_floating_point else "integer"


def check_load(load: Load, model: str) -> None:
    """Warn of names that do not fit; it is a CheckpointError if nothing fits, or if the rule is strict."""
    problems = "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''})"
        for keys, what in (
            (load.missing, "missing"),
            (load.unexpected, "unexpected"),
            (load.mismatched, "of another shape"),
            (load.other_dtype, "of another dtype"),
        )
        if keys
    )
    origin, location = load.rule.origin, load.checkpoint.location
    if not (load.keys or load.coded) and (load.missing or load.mismatched or load.other_dtype):
        raise CheckpointError(
            f"{origin}: nothing in {location} fits {model}: {problems}. "
            "Is it the checkpoint of another model, or does it need a prefix=, key= or revise_keys=?",
            origin=origin,
        )
    if problems and getattr(load.rule.initializer, "strict", False):
        raise CheckpointError(f"{origin}: strict=True and {location} does not fit: {problems}.", origin=origin)
    if problems:
        warn(f"{origin}: {location}: {len(load.keys)} loaded; {problems}.")
