"""The statistical check finds what it is for, and accepts what is right at the rate it states."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from autoinit.fills import Constant, Dirac, Elementwise, Fill, Normal, TruncNormal, Uniform
from tests.closed_form import deviations, kurtosis, pvalues

STD = 0.02
TRUNCATED = TruncNormal(0.0, STD, -2 * STD, 2 * STD)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normal(generator: torch.Generator, std: float = STD, n: int = 10_000) -> Tensor:
    return torch.randn(n, generator=generator, dtype=torch.float64).mul(std).float()


def uniform(generator: torch.Generator, std: float = STD, n: int = 10_000) -> Tensor:
    units = torch.rand(n, generator=generator, dtype=torch.float64).mul(2).sub(1)
    return units.mul(std * math.sqrt(3)).float()


def truncated(generator: torch.Generator, n: int = 10_000) -> Tensor:
    within = math.erf(math.sqrt(2))
    units = torch.rand(n, generator=generator, dtype=torch.float64).mul(2).sub(1)
    return torch.erfinv(units * within).mul(STD * math.sqrt(2)).float()


@pytest.mark.parametrize(
    ("draw", "fill"),
    [(normal, Normal(0.0, STD)), (uniform, Uniform(-STD * math.sqrt(3), STD * math.sqrt(3))), (truncated, TRUNCATED)],
)
@pytest.mark.parametrize("n", [1, 10, 1000, 10_000])
def test_what_is_right_passes_at_the_stated_rate(
    generator: torch.Generator, draw: Callable[..., Tensor], fill: Elementwise, n: int
) -> None:
    # 50 families of 4 tensors at 1 in 100: more than 4 alarms have a probability below 1 in 500.
    alarms = 0
    for _ in range(50):
        values = {str(index): draw(generator, n=n) for index in range(4)}
        alarms += bool(deviations(values, dict.fromkeys(values, fill), alpha=0.01))
    assert alarms <= 4


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_std_that_is_off_by_5_percent_is_found_among_sixty_tensors(generator: torch.Generator, factor: float) -> None:
    values = {str(index): normal(generator) for index in range(60)} | {"wrong": normal(generator, std=factor * STD)}
    found = deviations(values, dict.fromkeys(values, Normal(0.0, STD)))
    assert found[0].test == "variance"
    assert {deviation.fqn for deviation in found} == {"wrong"}


@pytest.mark.parametrize(
    ("values", "fill", "tests", "others"),
    [
        (lambda generator: normal(generator) + 0.1 * STD, Normal(0.0, STD), {"mean"}, set()),
        (uniform, Normal(0.0, STD), {"shape"}, {"mean"}),
        (normal, TRUNCATED, {"range", "variance"}, set()),
        (lambda generator: normal(generator, std=TRUNCATED.std), TRUNCATED, {"range"}, set()),
        (truncated, Normal(0.0, STD), {"variance"}, {"mean"}),
        (truncated, Normal(0.0, TRUNCATED.std), {"shape"}, {"mean"}),
    ],
    ids=["mean", "uniform", "not truncated", "not truncated, same std", "truncated", "truncated, same std"],
)
def test_another_distribution_is_found(
    generator: torch.Generator, values: Callable[..., Tensor], fill: Fill, tests: set[str], others: set[str]
) -> None:
    found = {deviation.test for deviation in deviations({"wrong": values(generator)}, {"wrong": fill})}
    assert tests <= found and not found & others


def test_constants_are_compared_bit_by_bit() -> None:
    values = torch.full((3,), 0.1)
    assert not deviations({"it": values}, {"it": Constant(0.1)})
    values[1] = torch.nextafter(values[1], torch.tensor(1.0))
    (found,) = deviations({"it": values}, {"it": Constant(0.1)})
    assert found.test == "constant"
    assert deviations({"it": torch.tensor(-0.0)}, {"it": Constant(0.0)})


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (Normal(1.0, 2.0), 3.0),
        (Uniform(-3.0, 1.0), 1.8),
        (TruncNormal(0.0, 1.0, -1e-3, 1e-3), 1.8),
        (TruncNormal(0.0, 1.0, 0.0, 50.0), 3 + 8 * (math.pi - 3) / (math.pi - 2) ** 2),
    ],
)
def test_kurtosis(fill: Elementwise, expected: float) -> None:
    assert kurtosis(fill) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("values", "fill"), [(torch.ones(2, 2, 1), Dirac()), (torch.ones(2).half(), Normal(0.0, 1.0))])
def test_what_has_no_closed_form_is_refused(values: Tensor, fill: Fill) -> None:
    with pytest.raises(TypeError, match="no closed form"):
        pvalues(values, fill)
