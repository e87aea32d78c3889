"""Files that a command writes: never over another one unless asked to."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..html.whole_file import write_whole
from .target_errors import CommandError


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


def check_numpy() -> None:
    """Refuse to build a model whose weights could not be written: safetensors writes through NumPy.

    Raises:
        CommandError: NumPy is not installed.
    """
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise CommandError("Writing weights needs numpy: pip install 'torch-autoinit[cli]'") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_safetensors(path: Path, model: nn.Module) -> None:
    """Write a model's state dict; tied tensors are stored once, as `safetensors.torch.load_model` expects them."""
    from safetensors.torch import save_model

    write_whole(path, lambda partial: save_model(model, str(partial)))
