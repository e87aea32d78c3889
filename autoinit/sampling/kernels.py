"""Which kernel draws on a device. Where there is none, torch's operators give the same values."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Protocol

import torch

from . import native
from .draws import Draw


class Kernel(Protocol):
    """Draws values in one pass."""

    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Carry out what it can, all at once; gives what it cannot do."""


def kernel_on(device: torch.device) -> Kernel | None:
    """The kernel for tensors on a device: compiled C on the CPU, Triton on CUDA.

    Example:
        >>> kernel_on(torch.device("meta")) is None
        True
    """
    if device.type == "cpu":
        return native.kernel()
    return _triton() if device.type == "cuda" and torch.version.cuda else None


@functools.lru_cache(maxsize=1)
def _triton() -> Kernel | None:
    if importlib.util.find_spec("triton") is None:
        return None
    from .triton_kernel import TritonKernel

    return TritonKernel()
