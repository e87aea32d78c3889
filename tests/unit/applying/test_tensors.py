"""Every kind of tensor: dtypes, memory formats, ties, buffers, lists of parameters, raw parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from autoinit import AutoInitWarning, MatchError, ShapeError, autoinit, initialize, plan
from autoinit.fills import ComplexNormal
from tests.closed_form import deviations

LOW = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
FP8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
COMPLEX = [torch.complex32, torch.complex64, torch.complex128]


def holder(tensor: Tensor, name: str = "weight") -> nn.Module:
    module = nn.Module()
    module.register_parameter(
        name, nn.Parameter(tensor, requires_grad=tensor.is_floating_point() or tensor.is_complex())
    )
    return module


def rule(type_: str = "Normal", **keys: object) -> dict[str, object]:
    return dict(type=type_, params="weight", **keys)


# ---------------------------------------------------------------- precision

SCHEMES = [
    rule(std=0.02),
    rule("Uniform", a=-0.1, b=0.1),
    rule("TruncNormal", std=0.02, a=-0.04, b=0.04),
    rule("Constant", val=0.3),
    rule("Kaiming"),
    rule("Orthogonal"),
    rule("Sparse", sparsity=0.25),
    rule("Eye"),
]


@pytest.mark.parametrize("dtype", [*LOW, *FP8[2:], torch.float64], ids=str)
@pytest.mark.parametrize("cfg", SCHEMES, ids=lambda cfg: cfg["type"])
def test_low_precision_is_drawn_in_float32_and_rounded_once(cfg: dict[str, object], dtype: torch.dtype) -> None:
    low, single = holder(torch.empty(64, 48, dtype=dtype)), holder(torch.empty(64, 48))
    for model in (low, single):
        initialize(model, cfg, seed=0)
    if cfg["type"] == "Orthogonal" and dtype == torch.float64:  # It is computed in float64.
        torch.testing.assert_close(low.weight.float(), single.weight, rtol=0, atol=1e-5)
        return
    assert torch.equal(low.weight.float(), single.weight.to(dtype).float())


@pytest.mark.parametrize("dtype", LOW[:2], ids=str)
def test_a_truncated_normal_in_half_precision_is_one(dtype: torch.dtype) -> None:
    # timm 1.0.31 gives 0.09 for 0.02 in bfloat16, with weights at 100 sigma: erfinv in the parameter's own precision.
    model = holder(torch.empty(1000, 1000, dtype=dtype))
    initialize(model, rule("TruncNormal", std=0.02, a=-2, b=2), seed=0)
    values = model.weight.detach().double()
    # A chi-square test of the variance of a million values at 1e-6; rounding adds 0.0003 % to it.
    assert float(values.std()) == pytest.approx(0.02, rel=4.9 / math.sqrt(2 * values.numel()))
    assert float(values.abs().max()) < 0.02 * 5.5
    naive = torch.empty(1000, 1000, dtype=dtype).uniform_(-1, 1, generator=torch.Generator().manual_seed(0)).erfinv_()
    assert not naive.mul_(0.02 * math.sqrt(2)).isfinite().all() or float(naive.std()) > 0.03


@pytest.mark.parametrize(
    ("dtype", "cfg", "largest"),
    [
        (torch.float8_e4m3fn, rule(std=100), "634"),
        (torch.float8_e4m3fn, rule("Uniform", a=0, b=449), "449"),
        (torch.float16, rule(mean=6e4, std=2000), "72680"),
        (torch.float16, rule("TruncNormal", std=1e5, a=-1e6, b=1), "634000"),
        (torch.float8_e4m3fn, rule("TruncNormal", std=50, a=400, b=1e9), "717"),
        (torch.float8_e4m3fn, rule("TruncNormal", std=200, a=-600, b=400), "600"),
    ],
    ids=str,
)
def test_values_that_a_dtype_cannot_hold_are_refused(dtype: torch.dtype, cfg: dict[str, object], largest: str) -> None:
    model = holder(torch.full((4, 4), 0.5).to(dtype))
    with pytest.raises(ShapeError, match=f"reaches {largest}, and the largest {str(dtype)[6:]} is") as caught:
        initialize(model, cfg)
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "weight")
    assert model.weight.float().unique().tolist() == [0.5]


def test_bounds_that_are_never_reached_do_not_count() -> None:
    model = holder(torch.empty(4, 4, dtype=torch.float16))
    initialize(model, rule("TruncNormal", std=1, a=-1e6, b=1e6), seed=0)
    assert model.weight.isfinite().all()


# ---------------------------------------------------------------- complex


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_a_complex_normal_is_that_of_torch(dtype: torch.dtype) -> None:
    model = holder(torch.empty(400, 500, dtype=dtype))
    report = initialize(model, rule(mean=1.0, std=2.0), seed=0)
    assert report["weight"].fill == ComplexNormal(1.0, 2.0)
    values = model.weight.detach().to(torch.complex128)
    parts = {"real": values.real.float().contiguous(), "imag": values.imag.float().contiguous()}
    fill = report["weight"].fill
    # Half precision rounds to 1e-3; the tests of shape at 200,000 values see 3e-3. Rate 1e-3, and a fixed seed.
    assert deviations(parts, {"real": fill.real, "imag": fill.imaginary}) == []
    assert abs(float(torch.corrcoef(torch.stack([p.flatten() for p in parts.values()]))[0, 1])) < 0.01
    theirs = torch.empty(400, 500, dtype=torch.complex64).normal_(generator=torch.Generator().manual_seed(0))
    assert float(theirs.real.std()) == pytest.approx(fill.imaginary.std / 2, rel=0.01)


@pytest.mark.parametrize("cfg", [rule("Xavier"), rule("Kaiming"), rule("LeCun", distribution="normal")], ids=str)
def test_schemes_of_fans_keep_the_variance(cfg: dict[str, object]) -> None:
    real, complex_ = holder(torch.empty(400, 500)), holder(torch.empty(400, 500, dtype=torch.complex64))
    for model in (real, complex_):
        initialize(model, cfg, seed=0)
    squares = [model.weight.detach().abs().square().mean() for model in (real, complex_)]
    assert float(squares[1]) == pytest.approx(float(squares[0]), rel=0.02)


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_an_orthogonal_complex_weight_is_unitary(shape: tuple[int, int]) -> None:
    model = holder(torch.empty(shape, dtype=torch.complex64))
    initialize(model, rule("Orthogonal"), seed=0)
    weight = model.weight.detach() if shape[0] <= shape[1] else model.weight.detach().T
    torch.testing.assert_close(weight @ weight.mH, torch.eye(8, dtype=torch.complex64), atol=1e-5, rtol=0)


def test_the_phases_of_a_unitary_weight_are_uniform() -> None:
    # LAPACK leaves R a real diagonal, so that the first entry of Q always has a negative real part, or a positive one.
    model = nn.ModuleList([holder(torch.empty(4, 4, dtype=torch.complex64)) for _ in range(400)])
    initialize(model, rule("Orthogonal"), seed=0)
    phases = torch.stack([part.weight.detach()[0, 0].angle() for part in model]) / (2 * math.pi) + 0.5
    assert stats.kstest(phases.double().numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    "cfg",
    [rule("Uniform"), rule("TruncNormal"), rule("Xavier", distribution="uniform"), rule("LeCun"), rule("Caffe2Xavier")],
    ids=lambda cfg: cfg["type"],
)
def test_what_is_not_defined_for_complex_numbers_is_refused(cfg: dict[str, object]) -> None:
    model = holder(torch.full((4, 4), 2j))
    with pytest.raises(
        ShapeError, match="is not defined for a parameter of dtype torch.complex64: use Normal or Constant"
    ):
        initialize(model, cfg)
    assert model.weight.eq(2j).all()


@pytest.mark.parametrize("cfg", [rule("Constant", val=3), rule("Eye"), rule("Sparse", sparsity=0.5)], ids=str)
def test_what_is_defined_for_them(cfg: dict[str, object]) -> None:
    model = holder(torch.empty(40, 40, dtype=torch.complex64))
    initialize(model, cfg, seed=0)
    found = {"Constant": torch.full((40, 40), 3 + 0j), "Eye": torch.eye(40) + 0j}.get(str(cfg["type"]))
    if found is not None:
        assert torch.equal(model.weight, found)
    else:
        assert (model.weight == 0).sum(0).tolist() == [20] * 40 and model.weight.imag.any()


# ---------------------------------------------------------------- no real numbers


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool], ids=str)
def test_integers_are_refused_where_a_rule_reaches_them_and_left_alone_otherwise(dtype: torch.dtype) -> None:
    model = nn.Sequential(holder(torch.ones(4, 4).to(dtype)), nn.Linear(4, 4))
    with pytest.raises(ShapeError, match="holds integers; it cannot get .* or write a rule of type 'Keep' for it"):
        initialize(model, rule("Constant", val=2))
    report = initialize(model, [rule("Constant", val=2), dict(type="Keep", name="0", params="weight")])
    assert report["0.weight"].outcome == "kept"
    assert model[0].weight.unique().tolist() == [1]
    assert model[1].weight.unique().tolist() == [2]


def test_a_quantized_weight_is_refused() -> None:
    quantized = torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8)
    with pytest.raises(ShapeError) as caught:
        initialize(holder(quantized), rule())
    assert str(caught.value) == (
        "init_cfg (params='weight'): weight of Module: a parameter of dtype torch.qint8 holds quantized values, which "
        "come from a float weight; it cannot get Normal(mean=0, std=1). Narrow the rule with name= or params= to leave "
        "it out, or write a rule of type 'Keep' for it."
    )


@pytest.mark.parametrize("dtype", [torch.float8_e8m0fnu, torch.float4_e2m1fn_x2], ids=str)
def test_scales_and_packed_values_are_refused(dtype: torch.dtype) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.empty(4, 4, dtype=torch.uint8).view(dtype), requires_grad=False)
    with pytest.raises(ShapeError, match="holds scales or packed values"):
        initialize(model, rule("Constant", val=1))


def test_a_layer_whose_weight_is_packed_away_has_no_parameter() -> None:
    model = nn.Sequential(torch.ao.nn.quantized.Linear(4, 4))
    with pytest.warns(AutoInitWarning, match="matches modules of Sequential but none of their parameters"):
        initialize(model, dict(type="Normal", layer="Linear"))


# ---------------------------------------------------------------- memory


def test_an_expanded_parameter_gets_constants_only() -> None:
    model = holder(torch.full((3, 1), 7.0).expand(3, 5))
    with pytest.raises(ShapeError, match=r"elements of shape \(3, 5\) share memory, because the parameter is expanded"):
        initialize(model, rule())
    assert model.weight.eq(7).all()
    report = initialize(model, rule("Constant", val=2))
    assert report["weight"].outcome == "filled"
    assert model.weight.eq(2).all() and model.weight.stride() == (1, 0)


@pytest.mark.parametrize("scheme", ["Normal", "Orthogonal", "Constant"])
def test_a_parameter_in_use_sees_one_write(scheme: str) -> None:
    model = nn.Linear(700, 600)
    version, loss = model.weight._version, model(torch.ones(1, 700, requires_grad=True)).square().sum()
    initialize(model, dict(type=scheme, layer="Linear", **(dict(val=1) if scheme == "Constant" else {})), seed=0)
    assert model.weight._version == version + 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ---------------------------------------------------------------- ties


class Tied(nn.Module):
    def __init__(self, tie: Callable[[nn.Parameter], nn.Parameter]) -> None:
        super().__init__()
        self.tokens = nn.Embedding(6, 4)
        self.logits = nn.Linear(4, 6, bias=False)
        self.logits.weight = tie(self.tokens.weight)


TIES: dict[str, Callable[[nn.Parameter], nn.Parameter]] = {
    "one parameter": lambda param: param,
    "one memory": lambda param: nn.Parameter(param),
    "one memory through .data": lambda param: nn.Parameter(param.data),
}


@pytest.mark.parametrize("tie", TIES.values(), ids=TIES)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_ties_are_one_tensor_with_two_names(tie: Callable[[nn.Parameter], nn.Parameter], device: str) -> None:
    if device == "meta" and tie is TIES["one memory through .data"]:
        return  # There is no memory to have in common: `.data` is a new tensor.
    with torch.device(device):
        model = Tied(tie)
    decided = plan(model, dict(type="Normal", layer=["Embedding", "Linear"], std=0.02))
    assert list(decided) == ["tokens.weight"]
    assert decided["tokens.weight"].aliases == ("logits.weight",)
    assert decided["logits.weight"] is decided["tokens.weight"]


@pytest.mark.parametrize("tie", TIES.values(), ids=TIES)
def test_two_rules_for_one_tensor_are_told(tie: Callable[[nn.Parameter], nn.Parameter]) -> None:
    model = Tied(tie)
    cfg = [dict(type="Normal", layer="Embedding", std=0.02), dict(type="Constant", layer="Linear", val=2)]
    with pytest.warns(AutoInitWarning) as told:
        initialize(model, cfg)
    assert [str(each.message) for each in told] == [
        "tokens.weight and logits.weight are one parameter: init_cfg[0] gives Normal(mean=0, std=0.02) to tokens.weight"
        ", and init_cfg[1] Constant(value=2). The latter wins. Narrow one of the two rules with name=."
    ]
    assert model.tokens.weight.eq(2).all() and model.logits.weight.eq(2).all()


@pytest.mark.parametrize(
    "last",
    [dict(type="Normal", layer="Linear", std=0.02), dict(type="Constant", layer=["Linear", "Embedding"], val=2)],
    ids=["the same fill", "a rule for both"],
)
def test_rules_for_one_tensor_that_agree_do_not_warn(last: dict[str, object]) -> None:
    model = Tied(TIES["one parameter"])
    report = initialize(model, [dict(type="Normal", layer="Embedding", std=0.02), last], seed=0)
    assert [rule.origin for rule in report["logits.weight"].overrides] == ["init_cfg[0]"]
    assert model.logits.weight.eq(2).all() or last["type"] == "Normal"
    assert model.tokens.weight is model.logits.weight


def test_neighbours_in_one_buffer_are_not_tied() -> None:
    flat = torch.zeros(20)
    model = nn.ModuleList([holder(flat[:8].view(2, 4)), holder(flat[8:16].view(4, 2))])
    report = initialize(model, rule(std=0.1), seed=0)
    assert [entry.aliases for entry in report.values()] == [(), ()]
    assert flat[:16].all() and not flat[16:].any()


# ---------------------------------------------------------------- buffers


def norms() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("params", ["*", ["weight", "*mean"], "re:.*"], ids=str)
def test_a_pattern_does_not_reach_buffers(params: object) -> None:
    model = norms()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    decided = plan(model, dict(type="Constant", name="1", params=params, val=5))
    assert not {*decided} & {*before}
    initialize(model, dict(type="Constant", name="1", params=params, val=5))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_a_buffer_that_a_rule_names_is_filled() -> None:
    model = norms()
    report = initialize(
        model, dict(type="Constant", layer="BatchNorm1d", params=["running_mean", "running_var"], val=5)
    )
    assert model[1].running_mean.eq(5).all() and model[1].running_var.eq(5).all()
    assert report["1.running_var"].outcome == "filled"
    assert {*list(report)[-2:]} == {"1.running_mean", "1.running_var"}
    assert model[1].num_batches_tracked == 0


def test_a_pattern_does_not_take_a_buffer_from_the_rule_that_names_it() -> None:
    model = norms()
    named, pattern = dict(type="Constant", params="running_var", val=5), dict(type="Constant", params="*", val=9)
    report = initialize(model, [dict(named, name="1"), dict(pattern, name="1")])
    assert model[1].running_var.eq(5).all() and model[1].weight.eq(9).all()
    assert report["1.running_var"].overrides == ()


def test_a_plan_with_a_buffer_is_applied_elsewhere() -> None:
    cfg = dict(type="Constant", layer="BatchNorm1d", params="running_var", val=5)
    with torch.device("meta"):
        decided = plan(norms(), cfg)
    model = norms()
    decided.apply(model)
    assert model[1].running_var.eq(5).all()


def test_the_weight_of_a_frozen_norm_is_a_buffer() -> None:
    frozen = nn.Module()
    frozen.register_buffer("weight", torch.ones(4))
    initialize(nn.Sequential(frozen, nn.Linear(4, 4)), dict(type="Constant", name="**", val=5))
    assert frozen.weight.eq(1).all()
    initialize(nn.Sequential(frozen, nn.Linear(4, 4)), dict(type="Constant", name="**", params="weight", val=5))
    assert frozen.weight.eq(5).all()


def test_a_buffer_that_was_loaded_is_kept() -> None:
    @autoinit(dict(type="Constant", layer="BatchNorm1d", params="running_var", val=5))
    def build() -> nn.Module:
        norm = nn.BatchNorm1d(4)
        norm.load_state_dict({**norm.state_dict(), "running_var": torch.full((4,), 3.0)})
        return norm

    with pytest.warns(AutoInitWarning, match=r"fills nothing: all that it matches \(running_var\)"):
        model = build()
    assert model.running_var.eq(3).all()


# ---------------------------------------------------------------- lists of parameters, raw parameters


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
        self.gamma = nn.Parameter(torch.ones(8))
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))])
        self.tables = nn.ParameterDict(
            dict(one=nn.Parameter(torch.ones(2)), two=nn.ParameterList([nn.Parameter(torch.ones(4))]))
        )


ALL = ["cls_token", "pos_embed", "gamma", "scales.0", "scales.1", "tables.one", "tables.two.0"]


@pytest.mark.parametrize(
    ("keys", "reached"),
    [
        (dict(params="*_token"), ["cls_token"]),
        (dict(params=["*_token", "*_embed"]), ["cls_token", "pos_embed"]),
        (dict(layer="Raw", params="*"), ALL),
        (dict(params="scales.*"), ["scales.0", "scales.1"]),
        (dict(layer="Raw", params="scales.1"), ["scales.1"]),
        (dict(params="tables.*"), ["tables.one", "tables.two.0"]),
        (dict(params="tables.two.0"), ["tables.two.0"]),
        (dict(name="scales", params="*"), ["scales.0", "scales.1"]),
        (dict(name="scales", params="1"), ["scales.1"]),
        (dict(layer="ParameterDict", params="one"), ["tables.one"]),
        (dict(name="**", params="*"), ALL),
    ],
    ids=str,
)
def test_what_reaches_parameters_that_are_in_no_layer(keys: dict[str, object], reached: list[str]) -> None:
    model = Raw()
    report = initialize(model, dict(type="Constant", val=3, **keys))
    assert [fqn for fqn, entry in report.items() if entry.rule] == reached
    assert [name for name, param in model.named_parameters() if param.eq(3).all()] == reached
    assert [*report] == ALL and {entry.layer for entry in report.values()} == {"Raw"}


def test_a_name_that_is_nearly_one_is_suggested() -> None:
    with pytest.raises(MatchError, match="Did you mean 'scales.0'"):
        plan(Raw(), dict(type="Constant", val=3, params="scale.0"))
