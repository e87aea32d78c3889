"""Settings and fixtures of every test: hypothesis profiles, no network, and no trace of the hook afterwards."""

from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

# Read when the libraries are imported. Models are built from configs; nothing may wait for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Workers share the cores already; OpenMP threads that wait for a core spin, and take it from the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings
from torch import nn
from torch.nn.modules import module as torch_module

from autoinit.checkpoints import location_schemes
from autoinit.fans import conventions
from autoinit.initializers import registry

if TYPE_CHECKING:
    from tests.processes import Interpreter

pytest_plugins = ["pytester"]

# Building models is slow by hypothesis's measure, and on a shared machine at times very slow.
settings.register_profile("base", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
# The same few examples in every run; `make properties` looks for others, and many.
settings.register_profile("suite", settings.get_profile("base"), max_examples=60, derandomize=True)
settings.load_profile("suite")

if examples := os.environ.get("AUTOINIT_EXAMPLES"):
    settings.register_profile("many", settings.get_profile("base"), max_examples=int(examples))
    settings.load_profile("many")


def pytest_collection_finish() -> None:
    """Leave what the libraries have imported out of later garbage collections: a test that collects took a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def registered_for_one_test() -> Iterator[None]:
    """Remove what a test registers: two tests may give their own scheme or layer the same name."""
    tables: list[dict[Any, Any]] = [registry._REGISTRY, location_schemes._RESOLVERS, conventions._REGISTRY]
    before = [*map(dict, tables)]
    yield
    for table, known in zip(tables, before, strict=True):
        if table != known:
            table.clear()
            table.update(known)
            conventions._of_class.cache_clear()
            conventions._of_parameter.cache_clear()


@contextmanager
def no_trace_of_the_hook(*, compiles: bool = False) -> Iterator[None]:
    """Fail if a hook is left behind, and remove it: a leak is this code's failure, not that of all after it.

    Args:
        compiles: whether the code may run `torch.compile`, which replaces `nn.Module.__init__` for good.
    """
    init = nn.Module.__init__
    yield
    leaked_init = nn.Module.__init__
    leaked_hooks = list(torch_module._global_forward_pre_hooks.values())
    torch_module._global_forward_pre_hooks.clear()
    if leaked_init is not init and not compiles:
        nn.Module.__init__ = init
        pytest.fail(f"nn.Module.__init__ was left replaced by {leaked_init!r}", pytrace=False)
    if leaked_hooks:
        pytest.fail(f"global forward pre-hooks were left behind: {leaked_hooks}", pytrace=False)


@pytest.fixture(autouse=True)
def traceless(request: pytest.FixtureRequest) -> Iterator[None]:
    """Contract I3, held by every test."""
    with no_trace_of_the_hook(compiles=request.node.get_closest_marker("compiles") is not None):
        yield


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where a test writes its checkpoint."""
    return tmp_path / "toy.pth"


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Runs scripts in processes of their own."""
    from tests.processes import Interpreter

    with Interpreter() as running:
        yield running
