"""Files that a command writes: whole or not at all, and never over another one unless asked to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from .building import CommandError


def check_free(path: Path | None, force: bool) -> None:
    """Refuse a path before any work is done for it.

    Raises:
        CommandError: the file exists and `force` is off, or its folder does not exist.
    """
    if path is None:
        return
    if path.is_dir() or (path.exists() and not force):
        raise CommandError(
            f"{path} exists. Choose another name{'' if path.is_dir() else ', or replace it with --force'}."
        )
    if not path.absolute().parent.is_dir():
        raise CommandError(f"{path}: the folder {path.parent} does not exist.")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_safetensors(path: Path, model: nn.Module) -> None:
    """Write a model's state dict; tied tensors are stored once, as `safetensors.torch.load_model` expects them."""
    from safetensors.torch import save_model

    _replace(path, lambda partial: save_model(model, str(partial)))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file, then rename: a reader sees the old file or the whole new one."""
    number, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".partial")
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
