"""Tests of values at the level of a whole sweep, and the oracle of what the two configs are about."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoinit import plan
from autoinit.fills import Constant, Fill, Normal, TruncNormal, Uniform
from tests.models import Around

from .configs import EVERYTHING, TYPICAL, covered_by_everything, covered_by_typical
from .filled import LEVEL, MOST_TESTS, SAMPLE, Distributions, coverage, generic_name, missed, spread


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def found(values: Tensor, fill: Fill, sample: int = SAMPLE) -> list[str]:
    return [text.partition(" ")[0] for text in Distributions(sample).deviations(values, fill)]


# Probability of a false alarm in the test below: 4 tests of each case at LEVEL, 1e-10.
@pytest.mark.parametrize("size", [1, 7, 300, 5000, 300_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_from_the_distribution_pass(size: int, dtype: torch.dtype) -> None:
    assert pytest.approx(1e-3) == LEVEL * MOST_TESTS
    assert found((torch.randn(size) * 0.02).to(dtype), Normal(0.0, 0.02)) == []
    assert found(torch.rand(size).to(dtype), Uniform(0.0, 1.0)) == []
    assert found(torch.full((size,), 0.1, dtype=dtype), Constant(0.1)) == []
    trunc = nn.init.trunc_normal_(torch.empty(size), std=1.0, a=-1.0, b=2.0)
    assert found(trunc.to(dtype), TruncNormal(0.0, 1.0, -1.0, 2.0)) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_from_another_distribution_do_not(dtype: torch.dtype) -> None:
    values = torch.randn(100_000)
    assert "variance" in found((1.03 * values).to(dtype), Normal(0.0, 1.0))
    assert "mean" in found((values + 0.04).to(dtype), Normal(0.0, 1.0))
    assert found(torch.full((3,), 0.1, dtype=dtype), Constant(0.2)) == ["not"]
    assert found(torch.tensor([0.1, torch.nan], dtype=dtype), Normal(0.0, 1.0)) == ["not"]


def test_one_value_out_of_range_is_found() -> None:
    values = torch.rand(1000)
    values[500] = 1.0001
    assert found(values, Uniform(0.0, 1.0)) == ["range"]


def test_what_has_no_distribution() -> None:
    assert found(torch.empty(0, 3), Normal(0.0, 1.0)) == []
    with pytest.raises(TypeError, match="no closed form for None"):
        found(torch.ones(3), None)


def test_tests_are_counted() -> None:
    distributions = Distributions()
    for size in (10, 10_000):
        assert list(distributions.deviations(torch.randn(size), Normal(0.0, 1.0))) == []
    assert list(distributions.deviations(torch.zeros(3), Constant(0.0))) == []
    assert distributions.tests == 2 + 4 + 1


@pytest.mark.parametrize("shape", [(768, 768), (1000, 7), (64, 3, 7, 7), (9973,)])
def test_a_sample_is_from_all_over_a_tensor(shape: tuple[int, ...]) -> None:
    total = torch.Size(shape).numel()
    sample = spread(torch.arange(total).view(shape), 500)
    assert len(sample.unique()) == 500
    assert torch.equal(spread(sample, 500), sample)
    # From each tenth of the tensor, and from each tenth of the positions in a row.
    for positions, length in ((sample, total), (sample % shape[-1], shape[-1])):
        counts = torch.histc(positions.float(), bins=min(10, length), min=0, max=length)
        assert counts.min() > 500 / len(counts) / 2


class Odd(nn.Module):
    """Parameters that rules are about, beside others that look alike."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 8))
        self.tokens_of_nothing = nn.Parameter(torch.zeros(1, 8))
        self.layer_scale = nn.Parameter(torch.ones(8))
        self.counts = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
        self.input_norm, self.rms = (Around(weight=torch.ones(8)) for _ in range(2))
        self.bn = nn.BatchNorm1d(8)
        self.normalize = nn.Identity()
        self.attention = nn.MultiheadAttention(8, 2)
        self.lstm = nn.LSTM(8, 8)
        self.up = nn.ConvTranspose2d(8, 8, 2)
        self.mix = nn.Bilinear(4, 4, 4)
        self.embed = nn.EmbeddingBag(8, 8)
        self.head = nn.Linear(8, 8, bias=False)
        self.head.weight = self.embed.weight
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.old = nn.utils.weight_norm(nn.Conv1d(8, 8, 1))
        self.divided = nn.utils.spectral_norm(nn.Linear(8, 8, bias=False))
        # Names as old-style hooks give them, and no hook.
        self.gate = Around(weight_g=torch.ones(8), weight_v=torch.ones(8))


@pytest.mark.filterwarnings("ignore:.* are one parameter. :autoinit.AutoInitWarning")
def test_the_oracle_agrees_with_the_plan_of_the_typical_config() -> None:
    model = Odd()
    report = plan(model, TYPICAL, unmatched="ignore").apply(model)
    assert list(missed(report, covered_by_typical(model))) == []
    assert [name for name, entry in report.items() if entry.outcome != "filled"] == [
        "tokens_of_nothing",
        "counts",
        "rms.weight",
        "attention.in_proj_bias",
        *(f"lstm.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        "mix.weight",
        "mix.bias",
        "gate.weight_g",
        "gate.weight_v",
    ]
    assert {"normed.weight", "old.weight", "divided.weight"} <= covered_by_typical(model)


def test_the_oracle_of_everything_leaves_out_what_cannot_have_a_distribution() -> None:
    model = Odd()
    stored = {
        *(f"normed.parametrizations.weight.original{number}" for number in (0, 1)),
        *(f"old.weight_{ending}" for ending in "gv"),
        "divided.weight_orig",
    }
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    computed = {"normed.weight", "old.weight", "divided.weight"}
    assert covered_by_everything(model) == names - {"counts"} - stored | computed
    del model.counts
    report = plan(model, EVERYTHING).apply(model)
    assert list(missed(report, covered_by_everything(model))) == []
    assert coverage(report)["uncovered"] == []


def test_coverage_counts_what_is_not_filled_by_layer_and_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.PReLU(2), nn.PReLU(4), nn.ParameterList([torch.ones(2), torch.ones(3)]))
    report = plan(model, dict(type="Normal", layer="Linear", bias=None)).apply(model)
    assert coverage(report) == {
        "filled": 1,
        "values": 9,
        "uncovered": [
            ["Linear", "bias", "no rule", 1, 3],
            ["PReLU", "weight", "no rule", 2, 6],
            ["Sequential", "3.N", "no rule", 2, 5],
        ],
    }


def test_parameters_of_a_list_have_the_name_of_the_list() -> None:
    names = {"weight": "weight", "blocks.0.attn.gamma_1": "gamma_1", "a.tokens.12": "tokens.N", "0.weight": "weight"}
    assert {fqn: generic_name(fqn) for fqn in names} == names
