"""Choice of the kernel for a device. Without a kernel torch's operators draw the same values."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Protocol

import torch

from . import c_kernel
from .draws import Draw


class Kernel(Protocol):
    """Draws random values in one pass."""

    def draw(self, draws: Sequence[Draw]) -> list[Draw]:
        """Fill the tensors of all supported requests; returns the unsupported ones."""


def kernel_on(device: torch.device) -> Kernel | None:
    """The kernel for a device: compiled C on the CPU, Triton on CUDA, or None.

    Example:
        >>> kernel_on(torch.device("meta")) is None
        True
    """
    if device.type == "cpu":
        return c_kernel.kernel()
    return _triton() if device.type == "cuda" and torch.version.cuda else None


@functools.lru_cache(maxsize=1)
def _triton() -> Kernel | None:
    if importlib.util.find_spec("triton") is None:
        return None
    from .triton_kernel import TritonKernel

    return TritonKernel()
