"""Makes torchvision (and timm, which needs it) importable for every test of the zoo."""

from __future__ import annotations

import pytest

from .operators import torchvision_operators as torchvision_operators

torchvision_operators()

# It is no test file by its name, and holds the tests that the files of the zoo inherit.
pytest.register_assert_rewrite(f"{__package__}.retrofit")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The tests that a file inherits from `RetrofitTests` run on each of its `CASES`."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", metafunc.module.CASES.values(), ids=metafunc.module.CASES)
