"""Files of the safetensors library."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from .entries import Entries, Entry
from .source import Source


def read_safetensors(source: Source) -> Entries:
    """Read the header of a safetensors file; values stay in the file.

    Raises:
        CheckpointError: the file is truncated, damaged, or holds no tensors.
    """
    from safetensors import safe_open

    # Closed when the last entry is dropped, not before: tensors are views of the mapped file.
    file: Any = safe_open(source.path, framework="pt", device="cpu")
    entries = {
        name: Entry(shape=torch.Size(file.get_slice(name).get_shape()), read=partial(file.get_tensor, name))
        for name in file.keys()  # noqa: SIM118  (it is no mapping)
    }
    if not entries:
        raise source.error("holds no tensors", "give the path of a file with weights")
    return Entries(by_name=entries, mapped=True)
