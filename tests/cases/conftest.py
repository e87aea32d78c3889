"""Cases met in public code, each cut down to its mechanism: every docstring names its source and what is right."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
import torch

HERE = pathlib.Path(__file__).parent


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Start each test from one seed, and restore the settings of torch that tests here change."""
    torch.manual_seed(0)
    yield
    torch.use_deterministic_algorithms(False)
    torch.__future__.set_swap_module_params_on_conversion(False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # The hook gets the items of all folders.
        if HERE in item.path.parents:
            # Rules that match only what is kept are warned of, rightly; a test that is about warnings records them.
            item.add_marker(pytest.mark.filterwarnings("ignore"))
