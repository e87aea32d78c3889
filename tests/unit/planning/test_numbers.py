"""Numbers that depend on the parameter: expressions, lists for maps, vectors, and the factor `scale`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils.parametrizations import weight_norm

from autoinit import ConfigError, ConfigTypeError, Rule, ShapeError, autoinit, initialize, plan, register_fan, verify
from autoinit.fills import Blocks, Constant, Fill, Normal, Orthogonal, TensorSpec, TruncNormal, Uniform, Vector
from autoinit.initializers import Initializer, Scaled, number
from autoinit.initializers import Normal as NormalInitializer
from autoinit.planning import resolver
from tests.ranks import one_of


class Block(nn.Module):
    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, 2)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.c_proj = nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim)


class Model(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 2), nn.ReLU(), nn.Linear(8, 8))
        self.h = nn.ModuleList(Block() for _ in range(depth))
        self.rnn = nn.LSTM(8, 4)
        self.head = nn.Linear(8, 5)


def fills(module: nn.Module, *rules: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """What the rules give, without what they leave alone."""
    made = plan(module, list(rules), **arguments)
    return {fqn: entry.fill for fqn, entry in made.items() if entry.fill is not None}


def stds(module: nn.Module, std: str, **selector: Any) -> dict[str, float]:
    found = fills(module, dict(type="Normal", std=std, bias=None, **selector))
    return {fqn: fill.std for fqn, fill in found.items()}


# The names


def test_layer_and_depth_count_the_outermost_list_of_like_modules() -> None:
    assert stds(Model(), "layer", name="**.c_proj") == {f"h.{n}.c_proj.weight": n + 1 for n in range(3)}
    assert set(stds(Model(), "depth", name="**.c_proj").values()) == {3}
    # The list inside of each block is not the outermost.
    assert stds(Model(), "layer", name="**.mlp.2") == {f"h.{n}.mlp.2.weight": n + 1 for n in range(3)}
    assert stds(Model().h[0], "10 * layer + depth", name="mlp.*") == {"mlp.0.weight": 12, "mlp.2.weight": 22}


@pytest.mark.parametrize("name", ["head", "stem.0", "stem.2"])
def test_without_like_modules_there_is_no_layer(name: str) -> None:
    with pytest.raises(ShapeError, match=r"no 'layer', because no list of like modules is around it") as caught:
        stds(Model(), "1/layer", name=name)
    assert caught.value.origin == "init_cfg[0]" and caught.value.fqn == f"{name}.weight"
    with pytest.raises(ShapeError, match="no 'depth'"):
        stds(Model(1), "1/depth", name="h.**", layer="LayerNorm")


def test_like_modules_have_one_class_whatever_wraps_or_parametrizes_them() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    weight_norm(model[1])
    model[2] = torch.compile(model[2])
    assert stds(model, "layer", layer="Linear") == {"0.weight": 1, "1.weight": 2, "2.weight": 3}
    assert stds(nn.DataParallel(model), "layer", layer="Linear")["2.weight"] == 3


def test_a_tied_weight_has_the_position_of_its_first_name_in_a_list() -> None:
    model = nn.Module()
    model.embed, model.h = nn.Embedding(8, 8), nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    model.h[1].weight = model.embed.weight
    assert stds(model, "layer", params="weight") == {"embed.weight": 2, "h.0.weight": 1}


def test_fans_are_those_of_the_map_that_is_filled() -> None:
    assert stds(nn.Conv2d(8, 6, 3, groups=2), "fan_in * 100 + fan_out", params="weight") == {"weight": 36 * 100 + 27}
    conv = nn.ConvTranspose2d(4, 6, 3)
    assert stds(conv, "fan_in", params="weight") == {"weight": 36}
    assert stds(conv, "fan_in", params="weight", fan="torch") == {"weight": 54}
    assert stds(conv, "fan_in", params="weight", fan=dict(fan_in=7)) == {"weight": 7}
    assert plan(conv, dict(type="Normal", std="fan_in", params="weight", bias=None))["weight"].fans[0].fan_in == 36
    # An initializer with fans reads its expressions by its own convention.
    [kaiming] = fills(conv, dict(type="Xavier", gain="1/fan_in", params="weight")).values()
    assert kaiming.std == pytest.approx(1 / 54 * math.sqrt(2 / (54 + 36)))


@pytest.mark.parametrize(
    ("layer", "param", "fan_in", "fan_out"),
    [
        (nn.Linear(6, 3), "bias", 6, 3),
        (nn.Conv2d(4, 6, 3), "bias", 36, 54),
        (nn.Conv2d(4, 6, 3, groups=2), "bias", 18, 27),
        (nn.ConvTranspose2d(4, 6, 3), "bias", 36, 54),
        (nn.LSTM(6, 3), "bias_ih_l0", 6, 3),
        (nn.GRUCell(6, 3), "bias_hh", 3, 3),
        (nn.MultiheadAttention(8, 2), "in_proj_bias", 8, 8),
        (weight_norm(nn.Linear(6, 3)), "bias", 6, 3),
        (nn.Bilinear(2, 3, 4), "bias", 6, 10),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_bias_has_the_fans_of_the_weight_beside_it(
    layer: nn.Module, param: str, fan_in: float, fan_out: float
) -> None:
    entry = plan(layer, dict(type="Uniform", a="-1/sqrt(fan_in)", b="fan_out", params=param))[param]
    assert entry.fill == Uniform(-1 / math.sqrt(fan_in), fan_out)
    assert {(fans.fan_in, fans.fan_out) for fans in entry.fans} == {(fan_in, fan_out)}


def test_biases_of_experts() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj = nn.Parameter(torch.empty(2, 6, 16))
            self.gate_up_proj_bias = nn.Parameter(torch.empty(2, 16))
            self.down_proj = nn.Parameter(torch.empty(2, 8, 6))

    found = fills(Experts(), dict(type="Constant", val=["fan_in", 0], params="gate_up_proj_bias"))["gate_up_proj_bias"]
    tensor = torch.empty(2, 16)
    found.write(tensor, lambda _: None, None)
    assert tensor.tolist() == [[6.0] * 8 + [0.0] * 8] * 2


def test_a_vector_without_a_weight_has_no_fans() -> None:
    with pytest.raises(ShapeError, match=r"norm.weight of LayerNorm: Constant: val=1/fan_in: there is no 'fan_in'"):
        fills(Model(), dict(type="Constant", val="1/fan_in", layer="LayerNorm", params="weight"))


def test_dim_is_the_last_axis() -> None:
    assert stds(nn.Linear(6, 3), "dim", params=["weight"]) == {"weight": 6}
    assert stds(nn.LayerNorm((4, 5)), "dim", params="weight") == {"weight": 5}
    model = nn.Module()
    model.scalar = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ShapeError, match=r"scalar of Module: .* no 'dim', because a tensor without axes"):
        stds(model, "dim", params="scalar")


def test_what_an_expression_gives_is_checked_with_its_rule_and_parameter() -> None:
    with pytest.raises(
        ShapeError, match=r"^init_cfg\[0\] .*: h\.0\.c_proj\.weight of Linear: .* divides by zero"
    ) as caught:
        stds(Model(), "1/(layer - 1)", name="**.c_proj")
    assert caught.value.fqn == "h.0.c_proj.weight"
    with pytest.raises(
        ShapeError, match=r"h\.2\.c_proj.weight .* std=-1.0 must be at least 0. It comes from std=2 - layer"
    ):
        stds(Model(), "2 - layer", name="**.c_proj")
    with pytest.raises(ShapeError, match=r"a=2.0 is above b=1.5. Swap them. It comes from a=layer"):
        fills(Model(), dict(type="Uniform", a="layer", b=1.5, name="**.c_proj"))


# Lists


def test_a_number_for_each_map() -> None:
    attention = nn.MultiheadAttention(8, 2)
    [fill] = fills(attention, dict(type="Xavier", gain=[1, 1, 0.5], params="in_proj_weight")).values()
    assert isinstance(fill, Blocks)
    assert [each.std for each in fill.fills] == pytest.approx(
        [math.sqrt(1 / 8), math.sqrt(1 / 8), 0.5 * math.sqrt(1 / 8)]
    )
    [fill] = fills(attention, dict(type="Orthogonal", gain=[1, 2, 3], params="in_proj_weight")).values()
    assert [each.gain for each in fill.fills] == [1, 2, 3]
    initialize(attention, dict(type="Orthogonal", gain=[1, 2, 3], params="in_proj_weight"), seed=0)
    for gain, part in zip((1, 2, 3), attention.in_proj_weight.detach().chunk(3), strict=True):
        torch.testing.assert_close(part @ part.T, gain**2 * torch.eye(8), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("layer", "name"), [(nn.LSTM(8, 4), "bias_ih_l0"), (nn.LSTMCell(8, 4), "bias_ih")])
def test_a_constant_for_each_gate(layer: nn.Module, name: str) -> None:
    initialize(layer, dict(type="Constant", val=[0, 1, 0, 0], params="bias_ih*"))
    bias = dict(layer.named_parameters())[name]
    assert bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    assert verify(layer, dict(type="Constant", val=[0, 1, 0, 0], params="bias_ih*")).ok


def test_maps_that_alternate() -> None:
    linear = nn.Linear(3, 12)
    fan = dict(axes="out,in", splits=2, repeats=3)
    initialize(linear, dict(type="Constant", val=[1, 2], params="bias", fan=fan))
    assert linear.bias.tolist() == [1, 1, 2, 2] * 3
    initialize(linear, dict(type="Normal", std=[0, "fan_in"], params="weight", fan=fan), seed=0)
    assert (linear.weight[:2] == 0).all() and (linear.weight[2:4] != 0).all()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (dict(type="Xavier", gain=[1, 2], params="in_proj_weight"), r"2 numbers; .* \(24, 8\) with 3 maps needs 3\.$"),
        (dict(type="Xavier", gain=[1, 2, 3], params="in_proj_weight", fan="torch"), "with 1 map needs 1"),
        (dict(type="Xavier", gain=[1, 2], layer="Linear"), r"with 1 map needs 1.*fan=dict\(splits=3\)"),
        (dict(type="Constant", val=[1, 2], params="in_proj_bias"), "with 3 maps needs 3, or 24 for its values"),
        (dict(type="Normal", std=[1, 2, 3, 4, 5], name="head", params="bias"), "5 numbers; .* with 1 map needs 1"),
    ],
)
def test_a_list_of_another_length(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        fills(Model(), rule)


@pytest.mark.parametrize("convert", [list, tuple, np.array, torch.tensor])
def test_a_bias_of_class_priors(convert: Any) -> None:
    priors = [0.0, -1.0, -2.5, 0.25, 4.0]
    for rule in (
        dict(type="Constant", val=convert(priors), name="head", params="bias"),
        dict(type="Normal", name="head", bias=convert(priors)),
    ):
        model = Model()
        report = initialize(model, rule, seed=0)
        assert model.head.bias.tolist() == priors
        assert report["head.bias"].fill == Vector(tuple(priors))
        assert verify(model, report).ok
    with torch.no_grad():
        model.head.bias[1] = 3
    assert [failure.fqn for failure in verify(model, report).failures] == ["head.bias"]


def test_a_bias_may_be_an_expression() -> None:
    found = fills(Model(), dict(type="Normal", layer="Linear", name="head", bias="log(1/fan_in)"))
    assert found["head.bias"] == Constant(math.log(1 / 8))
    found = fills(Model(), dict(type="Normal", layer="Linear", name="head", bias=["1/fan_in", 1, 2, 3, "dim"]))
    assert found["head.bias"] == Vector((0.125, 1, 2, 3, 5))


@pytest.mark.parametrize("bias", ["relu", [], ["a"], "1/layr", [True], "0.5", [[1]]])
def test_a_bias_that_is_none(bias: object) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(Model(), dict(type="Normal", layer="Linear", bias=bias))
    assert caught.value.origin == "init_cfg.bias"


# The factor


GPT2 = dict(type="Normal", std=0.02, layer="Linear", override=dict(name="**.c_proj", scale="1/sqrt(2 * depth)"))


def test_an_override_with_a_scale_inherits_the_rule_around_it() -> None:
    found = fills(Model(), GPT2)
    assert found["h.1.c_proj.weight"].std == pytest.approx(0.02 / math.sqrt(6))
    assert found["h.1.c_proj.bias"] == Constant(0.0)
    assert found["head.weight"].std == 0.02
    entry = plan(Model(), GPT2)["h.0.c_proj.weight"]
    assert str(entry.rule.initializer) == "Normal(std=0.02) * 1/sqrt(2 * depth)"
    assert entry.to_dict()["fill"] == f"Normal(mean=0.0, std={0.02 * (1 / math.sqrt(6))!r})"


def test_the_scale_of_an_override_takes_the_place_of_the_rules() -> None:
    found = fills(Model(), {**GPT2, "scale": 10})
    assert found["head.weight"].std == pytest.approx(0.2)
    assert found["h.0.c_proj.weight"].std == pytest.approx(0.02 / math.sqrt(6))


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (dict(type="Uniform", a=-1, b=3), Uniform(-6, 2)),
        (dict(type="TruncNormal", mean=1, std=1, a=0, b=4), TruncNormal(-2, 2, -8, 0)),
        (dict(type="Constant", val=3), Constant(-6)),
        (dict(type="Normal", mean=1, std=2), Normal(-2, 4)),
        (dict(type="Orthogonal", gain=3), Orthogonal(-6, 5, 8)),
    ],
)
def test_what_a_factor_does(scheme: dict[str, Any], expected: Fill) -> None:
    assert fills(Model(), dict(**scheme, name="head", scale=-2))["head.weight"] == expected


@pytest.mark.parametrize("kind", ["Eye", "Dirac", "Sparse", "DeltaOrthogonal", "Orthogonal", "Kaiming"])
def test_scaled_values_are_the_values_times_the_factor(kind: str) -> None:
    make = (lambda: nn.Conv2d(4, 4, 3)) if kind in ("Dirac", "DeltaOrthogonal") else lambda: nn.Linear(8, 6)
    rule = dict(type=kind, params="weight", **(dict(sparsity=0.5) if kind == "Sparse" else {}))
    plain, scaled = make(), make()
    initialize(plain, rule, seed=1)
    report = initialize(scaled, {**rule, "scale": 0.25}, seed=1)
    torch.testing.assert_close(scaled.weight, 0.25 * plain.weight)
    assert verify(scaled, report).ok and scaled.weight.abs().sum() > 0


def test_a_scale_for_each_map_and_a_scale_of_zero() -> None:
    [fill] = fills(Model().rnn, dict(type="Orthogonal", params="weight_hh*", scale=[1, 2, 0, 1])).values()
    assert [type(each).__name__ for each in fill.fills] == ["Orthogonal", "Orthogonal", "Constant", "Orthogonal"]
    assert fills(Model(), dict(type="Normal", name="head", scale=0))["head.weight"] == Constant(0.0)


def fill_with(tensor: torch.Tensor, scale: float = 1.0) -> None:
    tensor.fill_(scale)


def test_initializers_with_a_scale_of_their_own_keep_it() -> None:
    [fill] = fills(nn.Linear(4, 4, False), dict(type="VarianceScaling", scale=4, layer="Linear")).values()
    assert fill.std == pytest.approx(1.0)
    layer = nn.Linear(2, 2, False)
    initialize(layer, dict(type=fill_with, scale=3, layer="Linear"))
    assert layer.weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]


@pytest.mark.parametrize(
    ("rule", "error", "origin", "message"),
    [
        (dict(type="Keep", scale=2), ConfigError, "init_cfg.scale", "no effect on Keep"),
        (dict(type=nn.init.normal_, scale=2), ConfigError, "init_cfg.scale", r"Let normal_\(\) do it"),
        (dict(type="Normal", scale="a"), ConfigTypeError, "init_cfg.scale", "'a' must be a number, not str"),
        (dict(type="Normal", scale="1/lair"), ConfigError, "init_cfg.scale", "Did you mean 'layer'"),
        (dict(type="Normal", scale=True), ConfigTypeError, "init_cfg.scale", "True must be a number, not bool"),
        (
            dict(type="VarianceScaling", override=dict(name="head", scale=2)),
            ConfigError,
            "init_cfg.override.scale",
            "has an argument 'scale' of its own",
        ),
    ],
)
def test_factors_that_cannot_be(rule: dict[str, Any], error: type[ConfigError], origin: str, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        plan(Model(), dict(**rule, layer="Linear"))
    assert caught.value.origin == origin


def test_a_factor_beyond_float32() -> None:
    with pytest.raises(ShapeError, match=r"Normal\(mean=0, std=10\) times 1e\+38 is beyond float32"):
        fills(Model(), dict(type="Normal", std=10, scale=1e38, name="head"))


INNER = NormalInitializer(std="1/fan_in")


def test_initializers_of_users_take_expressions_and_lists() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own(Initializer):
        std: float = number(1.0, low=0)
        inner: Initializer = INNER

        def fill(self, spec: TensorSpec) -> Fill:
            inner = self.inner.fill(spec)
            assert isinstance(inner, Normal)
            return Normal(0.0, self.std + inner.std)

    found = fills(nn.LSTM(4, 2), dict(type=Own, std=["1 - 1", 1, 2, "dim"], params="weight_ih*"))["weight_ih_l0"]
    assert [each.std for each in found.fills] == [0.25, 1.25, 2.25, 4.25]
    with pytest.raises(ConfigError, match="Own: std=-1 must be at least 0"):
        Own(std=-1)


def test_the_key_fan_is_for_expressions_too() -> None:
    conv = nn.ConvTranspose2d(4, 6, 3)
    assert fills(conv, dict(type="Normal", layer="ConvTranspose2d", bias="fan_in", fan="torch"))["bias"].value == 54
    assert stds(conv, "fan_in", params="weight", fan="torch") == {"weight": 54}
    with pytest.raises(ConfigError, match="does not use fans"):
        fills(conv, dict(type="Normal", std="layer", name="", fan="torch"))


def test_rules_as_objects() -> None:
    rule = Rule(initializer=Scaled(of=NormalInitializer(std=0.02), scale="1/layer"), name="**.c_proj")
    assert plan(Model(), rule)["h.1.c_proj.weight"].fill == Normal(0.0, 0.01)
    with pytest.raises(ConfigTypeError, match="must be an initializer"):
        Scaled(of=2, scale=1)  # type: ignore[arg-type]


# The same everywhere

EVERYWHERE = [
    dict(type="Normal", layer="Linear", std="1/sqrt(fan_in)", scale="1/layer"),
    dict(type="Uniform", layer="Linear", a="-1/sqrt(fan_in)", b="layer/depth", params="bias"),
]


def lazy(depth: int = 3) -> nn.Sequential:
    return nn.Sequential(*(nn.LazyLinear(6) for _ in range(depth)))


def eager(depth: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), *(nn.Linear(6, 6) for _ in range(depth - 1)))


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_lazy_parameters_get_the_same_values() -> None:
    with autoinit(EVERYWHERE, seed=3) as run:
        later = lazy()
    later(torch.zeros(2, 5))
    now = eager()
    report = initialize(now, EVERYWHERE, seed=3)
    assert equal(now, later)
    assert {fqn: (entry.fill, entry.fans) for fqn, entry in run.report.items()} == {
        fqn: (entry.fill, entry.fans) for fqn, entry in report.items()
    }


def test_a_plan_of_lazy_parameters_is_applied_when_they_have_a_shape() -> None:
    model, now = lazy(), eager()
    made = plan(model, EVERYWHERE)
    model(torch.zeros(2, 5))
    made.apply(model, seed=3)
    initialize(now, EVERYWHERE, seed=3)
    assert equal(now, model)


def test_shards_get_the_same_values() -> None:
    rules = [*EVERYWHERE, dict(type="Constant", val=[1, 2, 3], params="bias", name="2", fan=dict(splits=3))]
    rules.append(dict(type="Constant", val=[1, 2, 3, 4, 5, 6], params="bias", name="1"))
    whole = eager()
    initialize(whole, rules, seed=3)
    for rank in range(4):
        with one_of(4, rank):
            model = eager()
            fully_shard(model, mesh=init_device_mesh("cpu", (4,)))
            initialize(model, rules, seed=3)
            for (name, shard), value in zip(model.named_parameters(), whole.parameters(), strict=True):
                assert isinstance(shard, DTensor)
                start = rank * -(-len(value) // 4)
                assert torch.equal(shard._local_tensor, value[start : start + len(shard._local_tensor)]), name


def test_the_meta_device_and_a_registered_convention() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(6, 8, device="meta"))
            self.bias = nn.Parameter(torch.empty(8, device="meta"))

    register_fan(Fused, dict(axes="in,out", splits=[6, 2]))
    found = fills(Fused(), dict(type="Constant", val=["fan_out", "-fan_in"], params="bias"))["bias"]
    assert str(found) == "[0:6] Constant(value=6), [6:8] Constant(value=-6)"


def test_equal_rules_give_each_position_its_own_number() -> None:
    """Resolved fills are kept by what they depend on."""
    model = nn.Module()
    model.a = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
    model.b = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
    assert stds(model, "depth * 10 + layer", layer="Linear") == {
        **{f"a.{n}.weight": 21 + n for n in range(2)},
        **{f"b.{n}.weight": 41 + n for n in range(4)},
    }


def test_the_children_of_a_container_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[nn.Module] = []
    monkeypatch.setattr(resolver, "class_name", lambda module: seen.append(module) or "Linear")
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(50)))
    assert stds(model, "layer", layer="Linear")["49.weight"] == 50
    assert len(seen) == 50
