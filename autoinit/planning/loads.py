"""How a checkpoint fits a module: decided from names, shapes and dtypes, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..checkpoints import Checkpoint, open_checkpoint
from ..errors import CheckpointError, warn
from ..initializers import Pretrained
from ..rules import Rule
from .binding import Bound, unwrapped
from .fits import Fit, Given
from .recipients import own_tensors, recipients, tensors_below
from .steps import Load
from .tree import Node, joined

SHOWN = 5


def plan_load(bound: Bound, node: Node) -> tuple[Load, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The load that a `Pretrained` rule means for a module, and the tensors that get values, by name.

    First those that the checkpoint surely has values for, then those that a module's own loading code decides on.

    Raises:
        CheckpointError: the file cannot be used, nothing in it fits, or `strict` and anything does not.
    """
    rule, scheme = bound.rule, bound.rule.initializer
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
    module = unwrapped(node.module)
    fit = fit_of(module, checkpoint)
    load = Load(
        fqn=node.fqn,
        checkpoint=checkpoint,
        keys=(*fit.loaded, *fit.likely),
        missing=tuple(fit.missing),
        unexpected=tuple(fit.unexpected),
        mismatched=tuple(fit.mismatched),
        other_dtype=tuple(fit.other_dtype),
        coded=fit.coded,
        rule=rule,
        rank=bound.rank,
    )
    if not fit.coded or scheme.strict:
        judge(load, type(module).__name__)
    return load, fit.loaded, fit.likely


def fit_of(module: nn.Module, checkpoint: Checkpoint) -> Fit:
    """What becomes of each name of a model and of a checkpoint, decided without running code of the model."""
    fit = Fit()
    taken: set[str] = set()
    for recipient in recipients(module):
        if recipient.whole:
            names = [name for name in checkpoint.shapes if name.startswith(recipient.prefix)]
            taken.update(names)
            fit.leave(names, tensors_below(recipient), checkpoint)
            continue
        for name, tensor in own_tensors(recipient.module).items():
            key = recipient.prefix + name
            taken.add(key)
            known = key in checkpoint.shapes
            fit.judge(key, tensor, Given(checkpoint.shapes[key], checkpoint.dtypes[key]) if known else None)
    fit.unexpected += [name for name in checkpoint.shapes if name not in taken]
    return fit


def judge(load: Load, model: str) -> None:
    """Warn of names that do not fit.

    Raises:
        CheckpointError: Nothing fits, or the rule is strict and a name does not fit.
    """
    problems = "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''})"
        for keys, what in (
            (load.missing, "missing"),
            (load.unexpected, "unexpected"),
            (load.mismatched, "mis-shaped"),
            (load.other_dtype, "of another dtype"),
        )
        if keys
    )
    origin = load.rule.origin
    if not (load.keys or load.coded) and (load.missing or load.mismatched or load.other_dtype):
        raise CheckpointError(
            f"{origin}: nothing in {load.checkpoint.location} fits {model}: {problems}. "
            "Is it the checkpoint of another model, or does it need a prefix=, key= or revise_keys=?",
            origin=origin,
        )
    if problems and getattr(load.rule.initializer, "strict", False):
        raise CheckpointError(
            f"{origin}: strict=True and {load.checkpoint.location} does not fit: {problems}.", origin=origin
        )
    if problems:
        warn(f"{origin}: {load.checkpoint.location}: {len(load.keys)} loaded; {problems}.")


def expanded(load: Load, name: str) -> CheckpointError:
    """The error for a tensor whose elements share memory, so that they cannot get values of their own."""
    origin, fqn = load.rule.origin, joined(load.fqn, name)
    return CheckpointError(
        f"{origin}: {load.checkpoint.location} cannot be loaded into {fqn}: its elements share memory, because it was "
        "expanded. Make it contiguous.",
        origin=origin,
        fqn=fqn,
    )


def loads_rule(rule: Rule) -> bool:
    """Whether a rule reads a checkpoint."""
    return isinstance(rule.initializer, Pretrained)
