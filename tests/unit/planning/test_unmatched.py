"""Rules that match nothing, and parameters that no rule covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import (
    AutoInitError,
    AutoInitWarning,
    ConfigError,
    ConfigTypeError,
    CoverageError,
    MatchError,
    TargetError,
    autoinit,
    initialize,
    plan,
)
from tests.models import Around, SubLinear
from tests.unit.planning.net import Net, constant

# --- rules that match nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cfg", "kind", "text"),
    [
        (constant(1, layer="Conv2D"), MatchError, r"\(layer='Conv2D'\) matches no .* mean 'Conv2d' \(3 modules\)\?"),
        (constant(1, layer=["Linear", "Batchnorm2d"]), MatchError, r"layer='Batchnorm2d'.*'BatchNorm2d' \(3 modules\)"),
        (constant(1, layer="Qwerty"), MatchError, "The model has: "),
        (constant(1, name="haed"), MatchError, "matches no module of Net"),
        (constant(1, layer="Linear", params="wieght"), MatchError, "none of their parameters .*Did you mean 'weight'"),
        (constant(1, layer="Linear", params="cls_token"), MatchError, "Other layers .* have it: remove layer="),
        (constant(1, override=dict(name="haed")), TargetError, "no submodule 'haed'. Did you mean 'head'"),
        (constant(1, override=dict(name="layer1.0.cnov1")), TargetError, "Did you mean 'layer1.0.conv1'"),
        (constant(1, override=dict(name="cls_token")), TargetError, "is a Parameter, not a module"),
        (constant(1, override=dict(name="**.nothing")), TargetError, "matches no module"),
        (constant(1, within="Blok"), MatchError, r"\(within='Blok'\) matches no .* 'Block' \(3 modules\)\?$"),
        (constant(1, within=["Block", "Qwerty"]), MatchError, r"\(within='Qwerty'\) matches no .* The model"),
        (constant(1, name="head.wieght"), MatchError, r"matches no module of Net. Did you mean 'head.weight'\?$"),
        (constant(1, name="head.weight", layer="Conv2d"), MatchError, "a name is of another class, or elsewhere.$"),
        (constant(1, name="head", within="Block"), MatchError, r"matches no module of Net. head is of class SubSubLin"),
        (constant(1, params="layer1.0.conv.weight"), MatchError, r"none of .* Did you mean 'layer1.0.conv1.weight'\?$"),
        (constant(1, params="re:conv1.weight"), MatchError, r"none of their parameters \(re:conv1.weight\)\."),
    ],
)  # fmt: skip
def test_a_certain_mistake_is_an_error_in_a_config_that_was_passed_and_a_warning_in_a_modules_own(
    cfg: dict[str, object], kind: type[AutoInitError], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        plan(Net(), cfg)
    assert caught.value.origin is not None
    plan(Net(), cfg, unmatched="ignore")
    net = Net()
    net.init_cfg = cfg
    for model, given, unmatched in ((Net(), cfg, "warn"), (net, None, "auto")):
        with pytest.warns(AutoInitWarning, match=text):
            plan(model, given, unmatched=unmatched)  # type: ignore[arg-type]
    with pytest.raises(kind):
        plan(net, unmatched="error")


@pytest.mark.parametrize(
    ("model", "cfg", "text"),
    [
        (Net, constant(1, layer="_InstanceNorm"), "The class exists; this model has none"),
        (nn.ReLU, constant(1, layer="ReLU"), "none of their parameters"),
        (Net, constant(1, within="_InstanceNorm"), "The class exists; this model has none.$"),
        (Net, constant(1, within="Block", layer=SubLinear), "The model has such layers, but none there.$"),
        (Net, constant(1, params="*", ndim=">4"), r"ndim='>4'\) matches no parameter .* has 1, 2, 3 or 4 dimensions.$"),
        (Net, constant(1, layer="BatchNorm2d", ndim=2), "what the other keys select has 1 dimensions.$"),
        (Net, constant(1, name="head.weight", ndim=1), "what the other keys select has 2 dimensions.$"),
        (Net, constant(1, name="head.weight", bias=2), "bias=2 has no effect, because name= has names of parameters"),
    ],
)
def test_what_may_be_meant_is_a_warning(model: Callable[[], nn.Module], cfg: dict[str, object], text: str) -> None:
    with pytest.warns(AutoInitWarning, match=text):
        plan(model(), cfg)
    with pytest.raises(MatchError, match=text):
        plan(model(), cfg, unmatched="error")


def test_the_modules_around_one_with_a_config_of_its_own_do_not_count() -> None:
    proj = nn.Sequential(nn.Linear(2, 2))
    proj.init_cfg = constant(1, within="Around", layer="Linear")
    with pytest.warns(AutoInitWarning, match="within='Around'.*The model has such layers, but none there"):
        assert not plan(Around(dict(a=proj)))["a.0.weight"].rule


@pytest.mark.parametrize(
    ("model", "has"), [(nn.Linear(2, 2), ": weight, bias."), (nn.ReLU(), " no modules inside it, and no parameters.")]
)
def test_a_root_without_children_is_described_by_its_parameters(model: nn.Module, has: str) -> None:
    with pytest.raises(MatchError) as caught:
        plan(model, constant(1, name="layer2.*"))
    assert (
        str(caught.value)
        == f"init_cfg (name='layer2.*') matches no module of {type(model).__name__}. The model has{has}"
    )


def test_configs_without_a_warning() -> None:
    kaiming = dict(type="Kaiming", layer="Conv2d", override=dict(name="head"))
    decided = plan(Net(), [constant(1, layer="Linear"), kaiming, constant(1, layer=["_InstanceNorm", "_BatchNorm"])])
    assert decided["head.weight"].origin == "init_cfg[1].override"


# --- coverage ----------------------------------------------------------------------------------------------------


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.full((1, 3), 9.0))
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(2)])
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])


LINEAR = dict(type="Normal", layer="Linear", std=0.02)
REST = ["pos_embed", "stem.*", "blocks.*.1.*", "scales.*"]
UNCOVERED = (
    "Vit: no rule covers 9 parameters: pos_embed, stem.weight, stem.bias, blocks.0.1.weight, blocks.0.1.bias, "
    "blocks.1.1.weight, blocks.1.1.bias, scales.0, scales.1 (4 of LayerNorm, 3 of Vit, 2 of Conv2d). Add rules for "
    "them, of type 'Keep' for what should stay as it is, or name them in allow_uncovered=."
)


def in_a_block(cfg: object, **options: Any) -> None:
    with autoinit(cfg, **options):
        model = Vit()
    assert len(model.blocks) == 2


WAYS: dict[str, Callable[..., object]] = {
    "plan": lambda cfg, **options: plan(Vit(), cfg, **options),
    "initialize": lambda cfg, **options: initialize(Vit(), cfg, **options),
    "block": in_a_block,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(require_coverage=True), CoverageError, UNCOVERED),
        (
            dict(require_coverage=True, allow_uncovered=[REST[0], *REST[2:]]),
            CoverageError,
            "no rule covers 2 parameters: stem.weight, stem.bias",
        ),
        (
            dict(require_coverage=True, allow_uncovered=[*REST, "pos_embd"]),
            MatchError,
            "allow_uncovered: 'pos_embd' is no parameter of Vit. Did you mean 'pos_embed'?",
        ),
        (dict(require_coverage="yes"), ConfigTypeError, "require_coverage='yes' must be true or false"),
        (dict(allow_uncovered=["x"]), ConfigError, "allow_uncovered has no effect without require_coverage=True"),
        (dict(require_coverage=True, allow_uncovered=[3]), ConfigTypeError, "must be a list of names or globs"),
        (dict(require_coverage=True, allow_uncovered={"x": 1}), ConfigTypeError, "must be a list of names or globs"),
        (dict(require_coverage=True, allow_uncovered=["re:("]), ConfigError, "is not a regular expression"),
    ],
)
def test_what_is_not_covered_is_an_error_that_names_it(
    way: Callable[..., object], options: dict[str, Any], error: type[AutoInitError], message: str
) -> None:
    with pytest.raises(error) as caught:
        way(LINEAR, **options)
    assert message in str(caught.value)
    assert message != UNCOVERED or (str(caught.value) == UNCOVERED and caught.value.fqn == "pos_embed")
    way(LINEAR, require_coverage=True, allow_uncovered=REST)
    way(LINEAR, require_coverage=True, allow_uncovered="re:.*")


def test_nothing_is_written() -> None:
    model = Vit()
    before = model.blocks[0][0].weight.detach().clone()
    with pytest.raises(CoverageError):
        initialize(model, LINEAR, require_coverage=True)
    assert torch.equal(model.blocks[0][0].weight, before)
    with pytest.raises(CoverageError):
        with autoinit(dict(type="Constant", layer="Linear", val=3), require_coverage=True):
            model = Vit()
    assert not model.blocks[0][0].weight.eq(3).any()


def test_keep_covers() -> None:
    keep = [dict(type="Keep", layer=["Conv2d", "LayerNorm"]), dict(type="Keep", params=["pos_embed", "scales.*"])]
    model = Vit()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    report = initialize(model, [LINEAR, *keep], require_coverage=True)
    kept = {fqn for fqn, entry in report.items() if entry.outcome == "kept"}
    filled = {f"blocks.{block}.0.{name}" for block in (0, 1) for name in ("weight", "bias")}
    assert kept == before.keys() - filled
    assert all(torch.equal(param, before[name]) for name, param in model.named_parameters() if name in kept)
    assert report.uncovered == () and report["stem.bias"].gets == "Keep()"


def test_keep_beats_what_comes_before_it_and_loses_to_what_comes_after() -> None:
    cfg = [LINEAR, dict(type="Keep", name="blocks.*.0"), dict(type="Constant", name="blocks.1.0", val=3, bias=None)]
    decided = plan(Vit(), cfg)
    assert decided["blocks.0.0.weight"].fill is None and decided["blocks.0.0.weight"].origin == "init_cfg[1]"
    assert decided["blocks.0.0.weight"].overrides[0].origin == "init_cfg[0]"
    assert decided["blocks.1.0.weight"].fill.value == 3  # type: ignore[union-attr]
    assert decided["blocks.1.0.bias"].origin == "init_cfg[1]"


def test_keep_keeps_the_bias_unless_it_is_given_one() -> None:
    biases = [plan(nn.Linear(2, 2), dict(type="Keep", layer="Linear", **keys))["bias"] for keys in ({}, {"bias": 1})]
    assert [str(entry.fill) for entry in biases] == ["None", "Constant(value=1)"]
    assert plan(nn.Linear(2, 2), dict(type="Keep", layer="Linear", bias=None))["bias"].rule is None


def test_keep_needs_no_memory_bumps_no_version_and_draws_no_seed() -> None:
    model = nn.Linear(2, 2)
    version, generator = model.weight._version, torch.get_rng_state()
    assert initialize(model, dict(type="Keep", layer="Linear")).seed is None
    assert model.weight._version == version and torch.equal(torch.get_rng_state(), generator)
    model = nn.Linear(2, 2, device="meta")
    assert initialize(model, dict(type="Keep", layer="Linear")).outcomes == {"kept": 2} and model.weight.is_meta


def test_the_table_of_coverage() -> None:
    decided = plan(Vit(), [LINEAR, dict(type="Constant", layer="LayerNorm", val=1, bias=None)])
    assert str(decided.coverage()) == (
        "Coverage of Vit\n"
        "layer      parameters  uncovered  values  names\n"
        "---------  ----------  ---------  ------  -------------------\n"
        "Conv2d     2           2          112     weight, bias\n"
        "LayerNorm  4           2          8       bias\n"
        "Linear     4\n"
        "Vit        3           3          7       pos_embed, scales.*"
    )
    report = decided.apply(Vit(), seed=0)
    assert str(report.coverage()) == str(decided.coverage())
    assert report.uncovered == decided.uncovered


@pytest.mark.parametrize(
    ("cfg", "models", "message"),
    [
        (
            LINEAR,
            lambda: [nn.Linear(2, 2), nn.Conv2d(1, 1, 1)],
            r"^Conv2d: .* 2 parameters: weight, bias \(2 of Conv2d",
        ),
        ([], lambda: [nn.PReLU()], "PReLU: no rule covers 1 parameters: weight"),  # No rule can match.
    ],
)
def test_each_model_of_a_block_has_to_be_covered(cfg: object, models: Callable[[], object], message: str) -> None:
    with pytest.raises(CoverageError, match=message):
        with autoinit(cfg, require_coverage=True):
            kept_alive = models()
    assert kept_alive


def test_what_is_kept_for_a_reason_is_not_uncovered() -> None:
    outside = nn.Conv2d(3, 3, 1)
    with autoinit(LINEAR, require_coverage=True) as run:
        model = nn.Sequential(outside, nn.Linear(3, 3), nn.BatchNorm1d(3))
        model[2].load_state_dict(nn.BatchNorm1d(3).state_dict())
    assert run.report.uncovered == ()


def test_what_a_modules_own_method_may_write_is_uncovered_in_a_plan_and_covered_once_written() -> None:
    class Own(nn.Sequential):
        def init_weights(self) -> None:
            nn.init.ones_(self[0].weight)

    assert plan(Own(nn.PReLU(), nn.PReLU()), own_init="run").uncovered == ("0.weight", "1.weight")
    assert initialize(Own(nn.PReLU(), nn.PReLU()), own_init="run").uncovered == ("1.weight",)


def test_lazy_parameters_are_covered_while_they_wait() -> None:
    with autoinit(LINEAR, require_coverage=True) as run:
        model = nn.LazyLinear(3)
    assert run.report.uncovered == () and nn.parameter.is_lazy(model.weight)
    with pytest.raises(CoverageError, match="no rule covers 2 parameters: weight, bias"):
        initialize(nn.LazyConv2d(3, 1), LINEAR, require_coverage=True, unmatched="ignore")
