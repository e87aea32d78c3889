"""A web server on this machine and a file for it to send, and mmengine."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from .http_server import Server, running_server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on this machine, and a cache of downloads, for one test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def weights() -> bytes:
    """The bytes of a checkpoint, of more than a mebibyte, for a server to send."""
    buffer, generator = io.BytesIO(), torch.Generator().manual_seed(0)
    torch.save({"w": torch.randn(300_000, generator=generator), "b": torch.ones(3)}, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def mmengine() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its imports use what torch has deprecated.
        import mmengine
        import mmengine.logging
        import mmengine.runner.checkpoint
    return mmengine
