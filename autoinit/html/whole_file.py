"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside a file, then rename: a reader sees the old file or the whole new one.

    Args:
        path: File to write or to replace.
        write: Writes to the path that it is given.
    """
    number, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name[:60]}.", suffix=".partial")
    os.close(number)
    partial = Path(name)
    try:
        write(partial)
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)  # mkstemp's files are for their owner alone
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
