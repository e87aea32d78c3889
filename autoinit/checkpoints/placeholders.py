"""Placeholders for the few objects besides weights that checkpoints hold.

OpenMMLab writes its training log into a checkpoint (history buffers, numpy arrays, bound methods), many
scripts their command line. `weights_only=True` refuses such files. Instead of allowing the real globals,
which would import and run them, their names are given to classes that accept any argument and keep nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

HARMLESS_GLOBALS = frozenset(
    {
        "argparse.Namespace",
        "builtins.getattr",  # how protocol 2 names `HistoryBuffer.mean`; the stand-in gets no attribute
        "mmengine.logging.history_buffer.HistoryBuffer",
        "mmengine.logging.message_hub.MessageHub",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "numpy.ndarray",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
    }
)
"""The whole list: a global that is neither on it nor on torch's own is refused."""

_lock = threading.Lock()


class Placeholder:
    """Replaces an object that is not a weight: accepts any arguments and keeps none of them."""

    def __init__(self, *ignored: object) -> None:
        pass

    def __setstate__(self, ignored: object) -> None:
        pass


def _stand_in(name: str) -> type[Placeholder]:
    # torch knows a class by the name that the class gives of itself.
    module, _, qualname = name.rpartition(".")
    return type(qualname, (Placeholder,), {"__module__": module, "__qualname__": qualname})


_STAND_INS = {name: _stand_in(name) for name in sorted(HARMLESS_GLOBALS)}


@contextmanager
def placeholders() -> Iterator[None]:
    """Within the block, `torch.load` makes placeholders of `HARMLESS_GLOBALS`, of all of them.

    What the user allowed with `torch.serialization.add_safe_globals` is away meanwhile: a real HistoryBuffer
    would pass placeholders on to all others, since it loads its methods into its class. torch's list is
    global to the process, so blocks of several threads run one after another.
    """
    with _lock:
        theirs = [allowed for allowed in torch.serialization.get_safe_globals() if _name(allowed) in _STAND_INS]
        with torch.serialization.safe_globals(theirs):
            pass  # leaving a block takes its globals off the list, whoever put them there
        try:
            with torch.serialization.safe_globals([*_STAND_INS.values()]):
                yield
        finally:
            torch.serialization.add_safe_globals(theirs)


def _name(allowed: Any) -> str:
    return allowed[1] if isinstance(allowed, tuple) else f"{allowed.__module__}.{allowed.__qualname__}"
