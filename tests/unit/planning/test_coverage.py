"""Coverage: what no rule covers is listed, by module type, and can be made an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import ConfigError, ConfigTypeError, CoverageError, MatchError, autoinit, initialize, plan


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.full((1, 3), 9.0))
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(2)])
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])


LINEAR = dict(type="Normal", layer="Linear", std=0.02)


def in_a_block(cfg: object, **options: Any) -> None:
    with autoinit(cfg, **options):
        model = Net()
    assert len(model.blocks) == 2


WAYS: dict[str, Callable[..., object]] = {
    "plan": lambda cfg, **options: plan(Net(), cfg, **options),
    "initialize": lambda cfg, **options: initialize(Net(), cfg, **options),
    "block": in_a_block,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_uncovered_parameter_is_an_error_that_names_it(way: Callable[..., object]) -> None:
    with pytest.raises(CoverageError) as caught:
        way(LINEAR, require_coverage=True)
    assert str(caught.value) == (
        "Net: no rule covers 9 parameters: pos_embed, stem.weight, stem.bias, blocks.0.1.weight, blocks.0.1.bias, "
        "blocks.1.1.weight, blocks.1.1.bias, scales.0, scales.1 (4 of LayerNorm, 3 of Net, 2 of Conv2d). Add rules for "
        "them, of type 'Keep' for what should stay as it is, or name them in allow_uncovered=."
    )
    assert caught.value.fqn == "pos_embed"


def test_nothing_is_written() -> None:
    model = Net()
    before = model.blocks[0][0].weight.detach().clone()
    with pytest.raises(CoverageError):
        initialize(model, LINEAR, require_coverage=True)
    assert torch.equal(model.blocks[0][0].weight, before)
    with pytest.raises(CoverageError):
        with autoinit(dict(type="Constant", layer="Linear", val=3), require_coverage=True):
            model = Net()
    assert not model.blocks[0][0].weight.eq(3).any()


REST = ["pos_embed", "stem.*", "blocks.*.1.*", "scales.*"]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_exceptions_by_pattern(way: Callable[..., object]) -> None:
    way(LINEAR, require_coverage=True, allow_uncovered=REST)
    with pytest.raises(CoverageError, match="no rule covers 2 parameters: stem.weight, stem.bias"):
        way(LINEAR, require_coverage=True, allow_uncovered=[REST[0], *REST[2:]])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_exception_that_is_no_parameter_is_told(way: Callable[..., object]) -> None:
    with pytest.raises(MatchError) as caught:
        way(LINEAR, require_coverage=True, allow_uncovered=[*REST, "pos_embd"])
    assert str(caught.value) == "allow_uncovered: 'pos_embd' is no parameter of Net. Did you mean 'pos_embed'?"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(require_coverage="yes"), ConfigTypeError, "require_coverage='yes' must be true or false"),
        (dict(allow_uncovered=["x"]), ConfigError, "allow_uncovered has no effect without require_coverage=True"),
        (dict(require_coverage=True, allow_uncovered=[3]), ConfigTypeError, "must be a list of names or globs"),
        (dict(require_coverage=True, allow_uncovered={"x": 1}), ConfigTypeError, "must be a list of names or globs"),
        (dict(require_coverage=True, allow_uncovered=["re:("]), ConfigError, "is not a regular expression"),
    ],
)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_options_that_mean_nothing(
    way: Callable[..., object], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        way(LINEAR, **options)


def test_one_pattern_may_stand_alone() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.PReLU())
    decided = plan(model, LINEAR, require_coverage=True, allow_uncovered="1.weight")
    assert list(decided.uncovered) == ["1.weight"]


def test_keep_covers() -> None:
    keep = [
        dict(type="Keep", layer=["Conv2d", "LayerNorm"]),
        dict(type="Keep", params=["pos_embed", "scales.*"]),
    ]
    model = Net()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    report = initialize(model, [LINEAR, *keep], require_coverage=True)
    kept = {fqn for fqn, entry in report.items() if entry.outcome == "kept"}
    assert kept == {name for name in before if ".0." not in name or "1." in name} - {
        "blocks.1.0.weight",
        "blocks.1.0.bias",
    }
    assert all(torch.equal(param, before[name]) for name, param in model.named_parameters() if name in kept)
    assert report.uncovered == () and report["stem.bias"].gets == "Keep()"


def test_keep_beats_what_comes_before_it_and_loses_to_what_comes_after() -> None:
    cfg = [LINEAR, dict(type="Keep", name="blocks.*.0"), dict(type="Constant", name="blocks.1.0", val=3, bias=None)]
    decided = plan(Net(), cfg)
    assert decided["blocks.0.0.weight"].fill is None and decided["blocks.0.0.weight"].origin == "init_cfg[1]"
    assert decided["blocks.0.0.weight"].beat[0].origin == "init_cfg[0]"
    assert decided["blocks.1.0.weight"].fill.value == 3  # type: ignore[union-attr]
    assert decided["blocks.1.0.bias"].origin == "init_cfg[1]"


def test_keep_keeps_the_bias_unless_it_is_given_one() -> None:
    assert plan(nn.Linear(2, 2), dict(type="Keep", layer="Linear"))["bias"].fill is None
    assert plan(nn.Linear(2, 2), dict(type="Keep", layer="Linear", bias=1))["bias"].fill.value == 1  # type: ignore[union-attr]
    assert plan(nn.Linear(2, 2), dict(type="Keep", layer="Linear", bias=None))["bias"].rule is None


def test_keep_bumps_no_version_and_draws_no_seed() -> None:
    model = nn.Linear(2, 2)
    version, generator = model.weight._version, torch.get_rng_state()
    assert initialize(model, dict(type="Keep", layer="Linear")).seed is None
    assert model.weight._version == version and torch.equal(torch.get_rng_state(), generator)


def test_what_has_no_memory_can_be_kept() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(2, 2))
    report = initialize(model, dict(type="Keep", layer="Linear"))
    assert report.outcomes == {"kept": 2}
    assert model[0].weight.is_meta


def test_the_table_of_coverage() -> None:
    decided = plan(Net(), [LINEAR, dict(type="Constant", layer="LayerNorm", val=1, bias=None)])
    assert str(decided.coverage()) == (
        "Coverage of Net\n"
        "layer      parameters  uncovered  values  names\n"
        "---------  ----------  ---------  ------  -------------------\n"
        "Conv2d     2           2          112     weight, bias\n"
        "LayerNorm  4           2          8       bias\n"
        "Linear     4\n"
        "Net        3           3          7       pos_embed, scales.*"
    )
    report = decided.apply(Net(), seed=0)
    assert str(report.coverage()) == str(decided.coverage())
    assert report.uncovered == decided.uncovered


def test_of_several_models_each_has_to_be_covered() -> None:
    with pytest.raises(CoverageError, match=r"^Conv2d: no rule covers 2 parameters: weight, bias \(2 of Conv2d\)"):
        with autoinit(LINEAR, require_coverage=True):
            nn.Linear(1, 1)
            models = [nn.Linear(2, 2), nn.Conv2d(1, 1, 1)]
    assert len(models) == 2


def test_a_block_in_which_no_rule_can_match_is_judged_too() -> None:
    with pytest.raises(CoverageError, match="PReLU: no rule covers 1 parameters: weight"):
        with autoinit([], require_coverage=True):
            model = nn.PReLU()
    assert model.weight.item() == 0.25


def test_what_is_kept_for_a_reason_is_not_uncovered() -> None:
    outside = nn.Conv2d(3, 3, 1)
    with autoinit(LINEAR, require_coverage=True) as run:
        model = nn.Sequential(outside, nn.Linear(3, 3), nn.BatchNorm1d(3))
        model[2].load_state_dict(nn.BatchNorm1d(3).state_dict())
    assert run.report.uncovered == ()


def test_what_a_modules_own_method_may_write_is_uncovered_in_a_plan_and_covered_once_written() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.PReLU(), nn.PReLU()

        def init_weights(self) -> None:
            nn.init.ones_(self.one.weight)

    assert plan(Own(), own_init="run").uncovered == ("one.weight", "two.weight")
    assert initialize(Own(), own_init="run").uncovered == ("two.weight",)


def test_lazy_parameters_are_covered_while_they_wait() -> None:
    with autoinit(LINEAR, require_coverage=True) as run:
        model = nn.LazyLinear(3)
    assert run.report.uncovered == () and nn.parameter.is_lazy(model.weight)
    with pytest.raises(CoverageError, match="no rule covers 2 parameters: weight, bias"):
        initialize(nn.LazyConv2d(3, 1), LINEAR, require_coverage=True, unmatched="ignore")
