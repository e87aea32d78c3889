"""How a checkpoint fits a module: decided from names and shapes, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..checkpoints import open_checkpoint
from ..errors import CheckpointError, warn
from ..initializers import Pretrained
from ..rules import Rule
from .binding import Bound, unwrapped
from .steps import Load
from .tree import Node

SHOWN = 5


def plan_load(bound: Bound, node: Node) -> tuple[Load, Mapping[str, Tensor]]:
    """The load that a `Pretrained` rule means for a module, and the tensors of it that it will overwrite, by key.

    Raises:
        CheckpointError: the file cannot be used, nothing in it fits, or `strict` and anything does not.
    """
    rule, scheme = bound.rule, bound.rule.initializer
    if not isinstance(scheme, Pretrained):
        raise TypeError(f"{scheme} loads nothing")
    checkpoint = open_checkpoint(
        scheme.checkpoint, prefix=scheme.prefix, map_location=scheme.map_location, origin=rule.origin
    )
    module = unwrapped(node.module)
    wanted = tensors_of(module)
    given = checkpoint.shapes
    fitting = tuple(key for key, tensor in wanted.items() if key in given and given[key] == tensor.shape)
    # A tied weight is there if it is there under any of its names.
    loaded = {id(wanted[key]) for key in fitting}
    load = Load(
        fqn=node.fqn,
        checkpoint=checkpoint,
        keys=fitting,
        missing=tuple(key for key in wanted if key not in given and id(wanted[key]) not in loaded),
        unexpected=tuple(key for key in given if key not in wanted),
        mismatched=tuple(key for key, tensor in wanted.items() if key in given and given[key] != tensor.shape),
        rule=rule,
        rank=bound.rank,
    )
    _judge(load, module, wanted, strict=scheme.strict)
    return load, {key: wanted[key] for key in fitting}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The module's state dict, the parameters themselves and not copies; entries that are no tensors left out."""
    state = module.state_dict(keep_vars=True)
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _judge(load: Load, module: nn.Module, wanted: Mapping[str, Tensor], *, strict: bool) -> None:
    problems = "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''})"
        for keys, what in (
            (load.missing, "missing"),
            (load.unexpected, "unexpected"),
            (load.mismatched, "mis-shaped"),
        )
        if keys
    )
    origin = load.rule.origin
    if wanted and not load.keys:
        raise CheckpointError(
            f"{origin}: nothing in {load.checkpoint.location} fits {type(module).__name__}: {problems}. "
            "Is it the checkpoint of another model, or does it need a prefix=?",
            origin=origin,
        )
    if problems and strict:
        raise CheckpointError(
            f"{origin}: strict=True and {load.checkpoint.location} does not fit: {problems}.", origin=origin
        )
    if problems:
        warn(f"{origin}: {load.checkpoint.location}: {len(load.keys)} loaded; {problems}.")


def loads_rule(rule: Rule) -> bool:
    """Whether a rule reads a checkpoint."""
    return isinstance(rule.initializer, Pretrained)
