"""How the tensors of a checkpoint fit those of a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ..checkpoints import Checkpoint

_QUANTIZED = frozenset({torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4})
COUNTER = "num_batches_tracked"
"""Of batch norms; checkpoints from before PyTorch 0.4.1 have none, and are complete, as in the original."""


class Given(NamedTuple):
    """What a checkpoint has under a name."""

    shape: torch.Size
    dtype: torch.dtype


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

    def judge(self, name: str, tensor: Tensor, given: Given | None) -> None:
        """Note what becomes of a tensor of the model, for which the checkpoint has something or nothing."""
        if given is None:
            self.lacking[name] = tensor
        elif not is_lazy(tensor) and not _same_shape(tensor.shape, given.shape):
            self.mismatched.append(name)
        elif _kind(tensor.dtype) != _kind(given.dtype):
            self.other_dtype.append(name)
        else:
            self.loaded[name] = tensor

    def leave(self, names: list[str], tensors: Iterable[tuple[str, Tensor]], checkpoint: Checkpoint) -> None:
        """Leave names of a checkpoint to the loading code of a module; what fits by name it will probably load."""
        found = Fit()
        for name, tensor in tensors:
            if name in checkpoint.shapes:
                found.judge(name, tensor, Given(checkpoint.shapes[name], checkpoint.dtypes[name]))
        self.likely |= found.loaded
        self.other_dtype += found.other_dtype
        self.coded |= bool(names)


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
