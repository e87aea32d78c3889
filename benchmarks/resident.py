"""The memory of this process, as the kernel counts it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

from torch import nn

MIB = 1 << 20


def own_bytes(model: nn.Module) -> int:
    return sum(param.numel() * param.element_size() for param in model.parameters())


def risen(run: Callable[[], object]) -> int:
    """How many bytes more than before are resident at the highest point of a call."""
    gc.collect()
    trim()
    before = status("VmRSS")
    # "5" lowers the high-water mark to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    result = run()
    peak = status("VmHWM") - before
    del result
    return peak


def status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: memory is measured on Linux.")


def trim() -> None:
    """Hand freed memory back, so that it is not taken for free space of the model's."""
    trim_ = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim_ is not None:
        trim_(0)
