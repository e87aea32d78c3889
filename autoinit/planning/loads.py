"""How a checkpoint fits a module: decided from names, shapes and dtypes, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..checkpoints import Checkpoint, open_checkpoint
from ..errors import CheckpointError, warn
from ..initializers import Pretrained
from .matches import Match
from .recipients import own_tensors, recipients, tensors_below
from .steps import Load
from .tree import Node, joined, unwrapped

SHOWN = 5
_QUANTIZED = frozenset({torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4})
COUNTER = "num_batches_tracked"
"""Of batch norms; checkpoints from before PyTorch 0.4.1 have none, and are complete, as in the original."""


@dataclass(eq=False, kw_only=True)
class Fit:
    """What becomes of each name.

    Args:
        loaded: names of the model that get values, each with the tensor that gets them.
        lacking: names of the model that the checkpoint does not have, each with its tensor.
        unexpected: names of the checkpoint that the model does not have.
        mismatched: names of both, of different shapes.
        other_dtype: names of both, of which one is of integers, say, and the other of floats.
        likely: Names that fit below modules with loading code, each with its tensor: the code decides.
        coded: Whether there is anything for such modules.
    """

    loaded: dict[str, Tensor] = field(default_factory=dict)
    lacking: dict[str, Tensor] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    other_dtype: list[str] = field(default_factory=list)
    likely: dict[str, Tensor] = field(default_factory=dict)
    coded: bool = False

    @property
    def missing(self) -> list[str]:
        """What the checkpoint lacks. A tied weight is there if it is there under any of its names."""
        loaded = set(map(id, self.loaded.values()))
        return [name for name, tensor in self.lacking.items() if id(tensor) not in loaded and COUNTER not in name]

    def add(self, name: str, tensor: Tensor, checkpoint: Checkpoint, *, coded: bool = False) -> None:
        """Note what becomes of a tensor of the model; `coded`: the loading code of a module decides."""
        if name not in checkpoint.shapes:
            if not coded:
                self.lacking[name] = tensor
        elif not is_lazy(tensor) and not _same_shape(tensor.shape, checkpoint.shapes[name]):
            if not coded:
                self.mismatched.append(name)
        elif _kind(tensor.dtype) != _kind(checkpoint.dtypes[name]):
            self.other_dtype.append(name)
        else:
            (self.likely if coded else self.loaded)[name] = tensor


def plan_load(match: Match, node: Node) -> tuple[Load, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The load that a `Pretrained` rule means for a module, and the tensors that get values, by name.

    First those that the checkpoint surely has values for, then those that a module's own loading code decides on.

    Raises:
        CheckpointError: the file cannot be used, nothing in it fits, or `strict` and anything does not.
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
        rank=match.rank,
    )
    if not fit.coded or scheme.strict:
        check_load(load, type(module).__name__)
    return load, fit.loaded, fit.likely


def fit_of(module: nn.Module, checkpoint: Checkpoint) -> Fit:
    """What becomes of each name of a model and of a checkpoint, decided without running code of the model."""
    fit = Fit()
    known: set[str] = set()
    for recipient in recipients(module):
        if recipient.whole:
            known.update(name for name in checkpoint.shapes if name.startswith(recipient.prefix))
            fit.coded |= any(name.startswith(recipient.prefix) for name in checkpoint.shapes)
            for name, tensor in tensors_below(recipient):
                fit.add(name, tensor, checkpoint, coded=True)
        else:
            for name, tensor in own_tensors(recipient.module).items():
                known.add(recipient.prefix + name)
                fit.add(recipient.prefix + name, tensor, checkpoint)
    fit.unexpected = [name for name in checkpoint.shapes if name not in known]
    return fit


def _same_shape(wanted: torch.Size, given: torch.Size) -> bool:
    # Before PyTorch 0.4 there were no scalars, and modules still load what was saved then.
    return wanted == given or (wanted == () and given == (1,))


def _kind(dtype: torch.dtype) -> str:
    """Between numbers of one kind values are cast, as `Tensor.copy_` does; from another kind nothing sensible comes."""
    if dtype in _QUANTIZED:
        return "quantized"
    if dtype.is_complex:
        return "complex"
    return "floating" if dtype.is_floating_point else "integer"


def check_load(load: Load, model: str) -> None:
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
