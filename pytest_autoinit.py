"""The pytest plugin: fixtures, options and a mark around `autoinit.testing`.

pytest imports this in every run where the package is installed. So it is outside of the package, which imports torch,
and imports that only for a fixture.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autoinit import Verdict
    from autoinit.testing import Snapshots

ALPHA = 1e-3
MARK = "init_alpha"

WrongRate = argparse.ArgumentTypeError


def rate(text: object) -> float:
    """A rate of false alarms.

    Raises:
        ArgumentTypeError: not a number between 0 and 1.
    """
    try:
        alpha = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise WrongRate(f"{text!r} is no rate of false alarms: give a number such as 1e-3.") from error
    if not 0 < alpha < 1:
        raise WrongRate(f"{text!r} is no rate of false alarms: it must be between 0 and 1, such as 1e-3.")
    return alpha


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini settings."""
    group = parser.getgroup("autoinit", "autoinit: tests of how models are initialized")
    group.addoption(
        "--autoinit-alpha",
        type=rate,
        metavar="RATE",
        help=f"rate of false alarms of assert_initialized, over all parameters of a model (default: {ALPHA:g})",
    )
    group.addoption("--autoinit-update", action="store_true", help="write what init_snapshot finds, rather than fail")
    parser.addini("autoinit_alpha", "default of --autoinit-alpha")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and check the settings before anything runs."""
    config.addinivalue_line("markers", f"{MARK}(rate): rate of false alarms of assert_initialized in this test")
    try:
        _from_ini(config)
    except WrongRate as error:
        raise pytest.UsageError(f"autoinit_alpha: {error}") from error


def _from_ini(config: pytest.Config) -> float:
    return rate(config.getini("autoinit_alpha") or ALPHA)


@pytest.fixture
def init_alpha(request: pytest.FixtureRequest) -> float:
    """The rate of false alarms: of the closest mark, else of the option, else of the ini file, else 1e-3."""
    mark = request.node.get_closest_marker(MARK)
    if mark is None:
        option: float | None = request.config.getoption("autoinit_alpha")
        return _from_ini(request.config) if option is None else option
    try:
        if len(mark.args) != 1 or mark.kwargs:
            raise WrongRate(f"it takes one number, as in @pytest.mark.{MARK}(1e-6).")
        return rate(mark.args[0])
    except WrongRate as error:
        pytest.fail(f"@pytest.mark.{MARK} of {request.node.name}: {error}", pytrace=False)


@pytest.fixture
def assert_initialized(init_alpha: float) -> Callable[..., Verdict]:
    """`assert_initialized(model, cfg)`: the weights are what the config, plan or report asks for."""
    from autoinit.testing import assert_initialized

    return functools.partial(assert_initialized, alpha=init_alpha)


@pytest.fixture
def assert_same_init() -> Callable[..., None]:
    """`assert_same_init(factory, seed)`: the seed decides every bit of what the factory builds."""
    from autoinit.testing import assert_same_init

    return assert_same_init


@pytest.fixture
def assert_no_duplicates() -> Callable[..., None]:
    """`assert_no_duplicates(model)`: no random values of the model occur twice."""
    from autoinit.testing import assert_no_duplicates

    return assert_no_duplicates


@pytest.fixture
def init_snapshot(request: pytest.FixtureRequest) -> Snapshots:
    """`init_snapshot(model, cfg)`: the plan is that of the file beside the test."""
    from autoinit.testing import Snapshots
    from autoinit.testing.snapshots import FOLDER

    _, *names = request.node.nodeid.split("::")
    return Snapshots(
        folder=request.path.parent / FOLDER / request.path.stem,
        test=".".join(names),
        update=request.config.getoption("autoinit_update"),
    )
