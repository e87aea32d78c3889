"""Checkpoint files of every format, and how their contents and errors are compared."""

from __future__ import annotations

import hashlib
import io
import pathlib
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from autoinit.checkpoints import Checkpoint, open_checkpoint
from autoinit.checkpoints.downloads import WebFile
from autoinit.checkpoints.location_schemes import follow
from autoinit.checkpoints.source import Location
from autoinit.errors import CheckpointError

Save = Callable[[Any, pathlib.Path], None]


def save_zip(content: object, path: pathlib.Path) -> None:
    torch.save(content, path)


def save_old(content: object, path: pathlib.Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: Any, path: pathlib.Path) -> None:
    save_file(content, path)


def save_compressed(content: object, path: pathlib.Path) -> None:
    torch.save(content, path)
    rezip(path, compression=zipfile.ZIP_DEFLATED)


def rezip(
    path: pathlib.Path,
    edit: Callable[[str, bytes], bytes | None] = lambda name, data: data,
    *,
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """Write a file of torch.save again as another program would, with records changed or, for None, left out."""
    with zipfile.ZipFile(path) as archive:
        records = {name: edit(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            if data is not None:
                archive.writestr(name, data)


FORMATS = pytest.mark.parametrize("save", [save_zip, save_old, save_safetensors, save_compressed])
SAVES = pytest.mark.parametrize("save", [save_zip, save_old, save_safetensors])
PICKLED = pytest.mark.parametrize("save", [save_zip, save_old])


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "backbone.conv.weight": torch.randn(4, 3, 2, 2),
        "backbone.conv.bias": torch.randn(4).to(torch.bfloat16),
        "backbone.scale": torch.tensor(1.5, dtype=torch.float64),
        "backbone_2.fc.weight": torch.randn(2, 4, dtype=torch.float16),
        "head.fc.weight": torch.arange(8).reshape(2, 4),
        "head.empty": torch.empty(0, 7),
    }


def values(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return dict(checkpoint.tensors(checkpoint.shapes))


def assert_same(got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(got) == list(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype
        assert not got[key].requires_grad
        torch.testing.assert_close(got[key], tensor.detach(), rtol=0, atol=0)


def error(location: object, **options: Any) -> CheckpointError:
    """The error of opening `location`; its form is that of all errors here."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(location, origin="init_cfg[0]", **options)  # type: ignore[arg-type]
    assert caught.value.origin == "init_cfg[0]"
    text = str(caught.value)
    assert re.fullmatch(r"init_cfg\[0\]: checkpoint .+?: .+", text, re.DOTALL), text
    assert text.count("init_cfg[0]") == 1
    return caught.value


def meaning(text: str) -> str:
    """The URL that a location stands for."""
    place, _ = follow(Location(text=text))
    assert isinstance(place, WebFile), place
    return place.url


def assert_whole(checkpoint: Checkpoint, weights: bytes) -> None:
    """Assert that a checkpoint holds what a file of these bytes does."""
    assert_same(values(checkpoint), torch.load(io.BytesIO(weights), weights_only=True))


def path_of(checkpoint: Checkpoint) -> pathlib.Path:
    """The file of a checkpoint that is not sharded."""
    (path,) = {stored.source.path for stored in checkpoint.stored.values()}
    return pathlib.Path(path)


def cached(tmp_path: pathlib.Path) -> list[str]:
    """The files of the cache of downloads, without the locks."""
    files = (path for path in (tmp_path / "torch").rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.name for path in files)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
