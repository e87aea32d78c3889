"""Fans as torch reads them, and as layers are meant."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autoinit import AutoInitError, ConfigError, ConfigTypeError, ShapeError, plan, register_fan
from autoinit.fans import Fans, Layout, as_layout, inner_layouts, own_layout, torch_fans
from autoinit.fills import Blocks, Normal


@given(shape=st.lists(st.integers(0, 9), min_size=2, max_size=6))
def test_fans_are_those_of_torch(shape: list[int]) -> None:
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    assert torch_fans(shape) == Fans(fan_in=fan_in, fan_out=fan_out, convention="torch")


def test_vectors_and_scalars_have_none() -> None:
    assert [torch_fans(shape) for shape in ((), (3,), torch.Size([5]))] == [None] * 3
    assert str(torch_fans((8, 4, 3, 3))) == "in 36, out 72 (torch)"


# ---------------------------------------------------------------- by layer


def fans_of(module: nn.Module, name: str) -> set[tuple[float, float]]:
    shape = module.get_parameter(name).shape
    layout = own_layout(module, name) or Layout()
    return {(part.fans.fan_in, part.fans.fan_out) for part in layout.parts(shape)}


# The parameter, what is right, and whether torch reads it differently.
TORCH_LAYERS = [
    (nn.Linear(5, 7), "weight", (5, 7), False),
    (nn.Conv2d(4, 8, 3), "weight", (36, 72), False),
    (nn.Conv2d(64, 64, 3, groups=64), "weight", (9, 9), True),
    (nn.Conv1d(8, 12, 5, groups=4), "weight", (10, 15), True),
    (nn.ConvTranspose2d(16, 64, 3), "weight", (144, 576), True),
    (nn.ConvTranspose2d(16, 64, 3, groups=4), "weight", (36, 144), True),
    (nn.ConvTranspose3d(2, 4, (1, 2, 3)), "weight", (12, 24), True),
    (nn.LSTM(32, 64), "weight_ih_l0", (32, 64), True),
    (nn.LSTM(32, 64, 2, bidirectional=True), "weight_hh_l1_reverse", (64, 64), True),
    (nn.LSTM(32, 64, proj_size=16), "weight_hh_l0", (16, 64), True),
    (nn.LSTM(32, 64, proj_size=16), "weight_hr_l0", (64, 16), False),
    (nn.GRU(32, 64), "weight_ih_l0", (32, 64), True),
    (nn.RNN(32, 64), "weight_ih_l0", (32, 64), False),
    (nn.LSTMCell(32, 64), "weight_hh", (64, 64), True),
    (nn.GRUCell(32, 64), "weight_ih", (32, 64), True),
    (nn.RNNCell(32, 64), "weight_ih", (32, 64), False),
    (nn.MultiheadAttention(16, 2), "in_proj_weight", (16, 16), True),
    (nn.MultiheadAttention(16, 2, kdim=8, vdim=4), "k_proj_weight", (8, 16), False),
    (nn.Embedding(100, 16), "weight", (16, 16), True),
    (nn.EmbeddingBag(100, 16), "weight", (16, 16), True),
    (nn.Bilinear(3, 5, 7), "weight", (15, 28), True),
]


@pytest.mark.parametrize(("module", "name", "right", "differs"), TORCH_LAYERS, ids=str)
def test_layers_as_they_are_meant(module: nn.Module, name: str, right: tuple[float, float], differs: bool) -> None:
    assert fans_of(module, name) == {right}
    naive = torch_fans(module.get_parameter(name).shape)
    assert ((naive.fan_in, naive.fan_out) != right) == differs


@pytest.mark.parametrize("cls", [nn.Conv2d, nn.ConvTranspose2d, nn.LSTM, nn.MultiheadAttention, nn.Embedding])
def test_subclasses_and_lazy_layers_are_read_as_their_base(cls: type) -> None:
    arguments = (8, 4, 3) if "Conv" in cls.__name__ else (8, 4)
    layer, sub = cls(*arguments), type("Sub", (cls,), {})(*arguments)
    names = [name for name, param in layer.named_parameters() if param.ndim > 1 and "." not in name]
    assert names and [fans_of(sub, name) for name in names] == [fans_of(layer, name) for name in names]
    assert own_layout(nn.LazyConvTranspose2d(4, 3), "weight") == Layout(axes="in,out,...")


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("fan", "shape", "parts"),
    [
        ("in,out", (768, 3072), [(768, 3072, 1)]),
        ("expert,out,in", (8, 64, 128), [(128, 64, 8)]),
        ("expert,in,out", (8, 64, 128), [(64, 128, 8)]),
        ("stack,kernel", (32, 4), [(4, 4, 32)]),
        ("out,in,kernel,kernel", (2, 3, 5, 7), [(105, 70, 1)]),
        ("head,out,in", (4, 16, 64), [(64, 16, 4)]),
        ("out,out,in", (4, 16, 64), [(64, 64, 1)]),
        ("in,out,out", (64, 4, 16), [(64, 64, 1)]),
        (" in , out ", (2, 3), [(2, 3, 1)]),
        (dict(axes="out,in", splits=3), (48, 16), [(16, 16, 1)] * 3),
        (dict(axes="in,out", splits=3), (16, 48), [(16, 16, 1)] * 3),
        (dict(axes="out,in", splits=[32, 8, 8]), (48, 16), [(16, 32, 1), (16, 8, 1), (16, 8, 1)]),
        (dict(axes="out,in", splits=3, repeats=4), (48, 16), [(16, 16, 1)] * 3),
        (dict(axes="out,in", splits=[8, 4, 4], repeats=4), (64, 16), [(16, 32, 1), (16, 16, 1), (16, 16, 1)]),
        (dict(axes="expert,out,in", splits=2), (8, 64, 16), [(16, 32, 8)] * 2),
        (dict(groups=4), (8, 2, 3), [(6, 6, 4)]),
        (dict(axes="in,out,...", groups=4), (8, 2, 3), [(6, 6, 4)]),
        (dict(fan_in=3), (8, 2), [(3, 8, 1)]),
        (dict(fan_in=3, fan_out=5), (8,), [(3, 5, 1)]),
        (dict(axes="in,out", fan_out=7.5), (2, 9), [(2, 7.5, 1)]),
    ],
    ids=str,
)
def test_parts(fan: object, shape: tuple[int, ...], parts: list[tuple[float, float, int]]) -> None:
    found = as_layout(fan).parts(shape)  # type: ignore[arg-type]
    assert [(part.fans.fan_in, part.fans.fan_out, part.copies) for part in found] == parts


def index_of(layout: Layout, shape: tuple[int, ...]) -> list[list[int]]:
    """Which elements each map consists of."""
    ramp = torch.arange(math.prod(shape)).view(shape)
    return [view.flatten().tolist() for part in layout.parts(shape) for view in layout.maps(ramp, part)]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, tuple[int, ...]]:
    """A layout and a shape that fits it."""
    words = draw(st.permutations(["out", "in", *draw(st.lists(st.sampled_from(["stack", "kernel", "out", "in"])))]))[:5]
    shape = [draw(st.integers(1, 3)) for _ in words]
    kind = draw(st.sampled_from(["plain", "splits", "sizes", "groups"]))
    repeats, keys = draw(st.integers(1, 3)), {}
    if kind == "splits" and "out" in words:
        keys = dict(splits=draw(st.integers(1, 3)), repeats=repeats)
        shape[words.index("out")] *= keys["splits"] * repeats
    elif kind == "sizes" and "out" in words:
        sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        keys = dict(splits=sizes, repeats=repeats)
        shape[words.index("out")] = sum(sizes) * repeats
    elif kind == "groups" and {"out", "in"} & set(words):
        keys = dict(groups=draw(st.integers(1, 3)))
        shape[next(at for at, word in enumerate(words) if word in ("out", "in"))] *= keys["groups"]
    return Layout(axes=",".join(words), **keys), tuple(shape)


@given(case=layouts())
def test_maps_tile_the_weight_and_have_the_shape_and_fans_of_their_part(case: tuple[Layout, tuple[int, ...]]) -> None:
    layout, shape = case
    assert sorted(index for indices in index_of(layout, shape) for index in indices) == list(range(math.prod(shape)))
    for part in layout.parts(shape):
        views = list(layout.maps(torch.empty(shape), part))
        assert len(views) == part.copies
        assert {view.reshape(part.shape).shape for view in views} == {torch.Size(part.shape)}
        assert layout.region(torch.empty(shape), part).numel() == part.copies * math.prod(part.shape)
        out, in_, *kernel = part.shape
        assert (part.fans.fan_in, part.fans.fan_out) == (in_ * math.prod(kernel), out * math.prod(kernel))


def test_the_maps_of_a_fused_weight() -> None:
    assert index_of(as_layout(dict(axes="out,in", splits=2)), (4, 1)) == [[0, 1], [2, 3]]
    assert index_of(as_layout(dict(axes="out,in", splits=2, repeats=2)), (4, 1)) == [[0, 2], [1, 3]]
    assert index_of(as_layout("in,out"), (2, 2)) == [[0, 2, 1, 3]]


@pytest.mark.parametrize(
    ("layout", "is_plain", "is_numbers", "convention"),
    [
        (Layout(), True, False, "out,in,..."),
        (Layout(axes="out,in"), True, False, "out,in"),
        (Layout(axes="in,out"), False, False, "in,out"),
        (Layout(axes="stack,out,in"), False, False, "stack,out,in"),
        (Layout(splits=3), False, False, "out,in,... splits=3"),
        (Layout(repeats=3), False, False, "out,in,... repeats=3"),
        (Layout(groups=2), False, False, "out,in,... groups=2"),
        (Layout(fan_in=3), True, True, "fan_in=3"),
        (Layout(fan_in=3, fan_out=4), True, True, "fan_in=3 fan_out=4"),
        (Layout(axes="out,in", fan_out=4), True, False, "out,in fan_out=4"),
        (Layout(splits=3, label="q, k, v"), False, False, "q, k, v"),
    ],
    ids=str,
)
def test_what_a_layout_says(layout: Layout, is_plain: bool, is_numbers: bool, convention: str) -> None:
    assert (layout.is_plain, layout.is_numbers, layout.convention) == (is_plain, is_numbers, convention)


EXPERTS = dict(moe_num_experts=4)
ZAMBA = dict(time_step_rank=7, ssm_state_size=3)
CONDITIONAL = dict(weight_shape=(6, 4, 3, 5), groups=2)


@pytest.mark.parametrize(
    ("cls", "name", "numbers", "layout"),
    [
        ("AMSoftmaxLoss", "weight", {}, Layout(axes="in,out")),
        ("AMSoftmaxLoss", "other", {}, None),
        ("JetMoeParallelExperts", "weight", {}, Layout(axes="expert,out,in")),
        ("InklingSharedExperts", "up_proj", {}, Layout(axes="expert,out,in")),
        ("CsmCodebooksHead", "weight", {}, Layout(axes="expert,in,out")),
        ("RecurrentGemmaRglru", "input_gate_weight", {}, Layout(axes="expert,in,out")),
        ("XLNetRelativeAttention", "r", {}, Layout(axes="in,out,out")),
        ("XLNetRelativeAttention", "o", {}, Layout(axes="out,in,in")),
        ("FunnelRelMultiheadAttention", "r_kernel", {}, Layout(axes="in,out,out")),
        ("DbrxExpertGLU", "v1", EXPERTS, Layout(axes="out,in", groups=4)),
        ("DbrxExpertGLU", "w2", EXPERTS, Layout(axes="in,out", groups=4)),
        ("DeepseekV4GroupedLinear", "weight", dict(n_groups=4), Layout(axes="out,in", groups=4)),
        ("ZambaMambaMixer", "x_proj_weight", ZAMBA, Layout(axes="expert,out,in", splits=(7, 3, 3))),
        ("timm.layers.cond_conv2d.CondConv2d", "weight", CONDITIONAL, Layout(fan_in=4 * 15, fan_out=3 * 15)),
    ],
)
def test_layers_of_libraries_by_name(cls: str, name: str, numbers: dict[str, object], layout: Layout | None) -> None:
    module, _, short = cls.rpartition(".")
    layer = type(short, (nn.Module,), {"__module__": module or __name__})()
    layer.__dict__.update(numbers)
    assert own_layout(layer, name) == layout


@pytest.mark.parametrize(
    ("fan", "error", "message"),
    [
        ("out,inn", ConfigError, "'inn' is no axis. Did you mean 'in'?"),
        ("...,out", ConfigError, "'...' stands for what is left, so it must be the last"),
        ("", ConfigError, "'' is no axis"),
        (7, ConfigTypeError, "7 must be axes such as 'expert,in,out', a dict or a Layout, not int"),
        (dict(layout="in,out"), ConfigTypeError, "'layout' is unknown."),
        (dict(axes="in,out", label="mine"), ConfigTypeError, "'label' is unknown."),
        (dict(axis="in,out"), ConfigTypeError, "'axis' is unknown. Did you mean 'axes'?"),
        (dict(axes=["in", "out"]), ConfigTypeError, "must be a string such as 'expert,in,out'"),
        (dict(splits=0), ConfigError, "splits=0 must be at least 1"),
        (dict(splits="3"), ConfigTypeError, "splits='3' must be a positive integer, not str"),
        (dict(splits=[]), ConfigError, "splits: an empty list"),
        (dict(splits=[2, True]), ConfigTypeError, "splits=True must be a positive integer"),
        (dict(splits=3, groups=2), ConfigError, "splits and groups divide the same axis"),
        (dict(axes="stack,kernel", splits=3), ConfigError, "axes='stack,kernel' has none"),
        (dict(repeats=0), ConfigError, "repeats=0 must be at least 1"),
        (dict(groups="2"), ConfigTypeError, "groups='2' must be a positive integer, not str"),
        (dict(fan_in=0), ConfigError, "fan_in=0 must be positive and finite"),
        (dict(fan_in=math.inf), ConfigError, "fan_in=inf must be positive"),
        (dict(fan_out="64"), ConfigTypeError, "fan_out='64' must be a number"),
    ],
)
def test_what_is_no_layout(fan: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        as_layout(fan)  # type: ignore[arg-type]
    assert message in str(caught.value)
    with pytest.raises(error) as caught:
        plan(nn.Linear(2, 2), dict(type="Kaiming", layer="Linear", fan=fan))
    assert str(caught.value).startswith("init_cfg.fan: ") and caught.value.origin == "init_cfg.fan"


@pytest.mark.parametrize(
    ("fan", "shape", "message"),
    [
        ("expert,in,out", (2, 3), "fan layout 'expert,in,out' is for 3 axes, and shape (2, 3) has 2"),
        ("in,out", (2, 3, 4), "fan layout 'in,out' is for 2 axes, and shape (2, 3, 4) has 3"),
        (dict(splits=3), (4, 2), "splits=3, repeats=1 do not divide an axis of 4 in shape (4, 2)"),
        (dict(splits=[3, 2]), (4, 2), "splits=(3, 2) with repeats=1 make 5, and the axis that they divide has 4"),
        (dict(groups=3), (4, 2), "groups=3 do not divide an axis of 4"),
    ],
)
def test_a_layout_that_does_not_fit(fan: object, shape: tuple[int, ...], message: str) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.full(shape, 9.0))
    with pytest.raises(ShapeError) as caught:
        plan(model, dict(type="LeCun", params="weight", fan=fan))
    assert message in str(caught.value)
    assert str(caught.value).startswith("init_cfg (params='weight'): weight of Module: ")
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "weight")


# ---------------------------------------------------------------- in rules


DEPTHWISE = {"layer": Fans(fan_in=9, fan_out=9, convention="groups")}
DEPTHWISE["torch"] = Fans(fan_in=9, fan_out=576, convention="torch")


@pytest.mark.parametrize(
    ("type_", "default"),
    [
        *(("Xavier", "torch"), ("Caffe2Xavier", "torch"), ("Kaiming", "torch")),
        *(("LeCun", "layer"), ("VarianceScaling", "layer")),
    ],
)
def test_which_convention_is_the_default_and_how_it_is_chosen(type_: str, default: str) -> None:
    def fans(cfg: dict[str, object], **options: Any) -> Fans:
        model = nn.Conv2d(64, 64, 3, groups=64)
        [found] = plan(model, dict(type=type_, layer="Conv2d", **cfg), **options)["weight"].fans
        return found

    assert fans({}) == DEPTHWISE[default]
    for fan, other in (("torch", "layer"), ("layer", "torch")):
        assert fans(dict(fan=fan)) == fans({}, fan=fan) == fans(dict(fan=fan), fan=other) == DEPTHWISE[fan]
    # A number that is missing is read by the convention of the scheme.
    one = fans(dict(fan=dict(fan_in=10)))
    assert (one.fan_in, one.fan_out) == (10, DEPTHWISE[default].fan_out)


@pytest.mark.parametrize(
    ("fan", "fans", "convention"),
    [
        (dict(fan_in=10), (10, 576), "fan_in=10"),
        (dict(fan_out=10), (9, 10), "fan_out=10"),
        (dict(fan_in=10, fan_out=20), (10, 20), "fan_in=10 fan_out=20"),
        ("stack,kernel,kernel,kernel", (9, 9), "stack,kernel,kernel,kernel"),
    ],
)
def test_numbers_take_the_place_of_what_the_shape_says(fan: object, fans: tuple[int, int], convention: str) -> None:
    [found] = plan(nn.Conv2d(64, 64, 3, groups=64), dict(type="Kaiming", layer="Conv2d", fan=fan))["weight"].fans
    assert found == Fans(fan_in=fans[0], fan_out=fans[1], convention=convention)


def test_a_bias_beside_a_weight_has_no_fans() -> None:
    decided = plan(nn.Linear(4, 2), dict(type="Kaiming", layer="Linear", fan="in,out"))
    assert decided["weight"].fans[0].fan_in == 2 and decided["bias"].fans == ()


@pytest.mark.parametrize(
    ("cfg", "options", "message"),
    [
        *(
            (dict(fan="in,out", **scheme), {}, r"^init_cfg\.fan: \w+ does not use fans\. Remove the key\.")
            for scheme in (dict(type="Normal"), dict(type="Constant", val=1), dict(type=nn.init.eye_))
        ),
        (dict(type="LeCun"), dict(fan="right"), "fan='right' is unknown. Known: auto, layer, torch"),
        (dict(type="LeCun", fan="trch"), {}, "'trch' is no axis.* Did you mean 'torch'?"),
    ],
)
def test_a_fan_that_means_nothing_is_an_error(cfg: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(nn.Linear(2, 2), dict(layer="Linear", **cfg), **options)


def test_an_override_without_a_type_inherits_it() -> None:
    cfg = dict(type="LeCun", layer="Conv2d", fan="torch", override=dict(name="1"))
    decided = plan(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 8, 3)), cfg)
    assert decided["1.weight"].fans[0].convention == "torch"


# ---------------------------------------------------------------- parts that differ


def test_parts_of_different_sizes_get_different_values_and_like_ones_are_one_fill() -> None:
    cfg = dict(type="Xavier", layer="Linear", fan=dict(axes="out,in", splits=[64, 16, 16]))
    entry = plan(nn.Linear(64, 96, bias=False), cfg)["weight"]
    expected = [Normal(0.0, math.sqrt(2 / (64 + out))) for out in (64, 16, 16)]
    assert isinstance(entry.fill, Blocks) and list(entry.fill.fills) == expected
    assert [fans.fan_out for fans in entry.fans] == [64, 16]
    assert entry.gets.startswith("[0:64] Normal(mean=0, std=0.125), [64:80] Normal(")
    alike = plan(nn.MultiheadAttention(16, 2), dict(type="Xavier", params="in_proj_weight", fan="layer"))
    assert alike["in_proj_weight"].fill == Normal(0.0, 0.25)


# ---------------------------------------------------------------- the registry


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, 6))
        self.qkv = nn.Linear(4, 12)
        self.parts = 3


@pytest.fixture
def module() -> nn.Module:
    return Mixer()


@pytest.mark.parametrize(
    ("layer", "fan", "layout"),
    [
        ("Mixer", "in,out", Layout(axes="in,out")),
        (Mixer, dict(axes="in,out", splits=3), Layout(axes="in,out", splits=3)),
        ("Mixer", lambda mixer: dict(axes="in,out", splits=mixer.parts), Layout(axes="in,out", splits=3)),
        ("Mixer", lambda mixer: None, None),
    ],
)
def test_a_convention_is_a_layout_or_a_function_of_the_module(
    module: nn.Module, layer: Any, fan: Any, layout: Layout | None
) -> None:
    if callable(fan):
        assert register_fan(layer, params="w*")(fan) is fan
    else:
        assert register_fan(layer, fan, params="w*")(Mixer) is Mixer
    found = own_layout(module, "weight")
    assert found == layout
    assert found is None or found.convention == "Mixer"
    assert own_layout(module, "other") is None


def test_which_convention_wins(module: nn.Module) -> None:
    """A later one, one of a subclass, and one of the module around a layer."""
    register_fan("Mixer", "in,out")
    register_fan("Mixer", "out,in", params="w*")
    assert own_layout(module, "weight") == Layout(axes="out,in")
    register_fan("Mixer", "in,out")
    assert own_layout(module, "weight") == Layout(axes="in,out")
    special = type("Special", (nn.Conv2d,), {})(4, 4, 1, groups=2)
    register_fan("Special", "in,out,...")
    assert own_layout(special, "weight") == Layout(axes="in,out,...")
    assert own_layout(nn.Conv2d(4, 4, 1, groups=2), "weight") == Layout(groups=2)
    register_fan("Mixer", dict(axes="out,in", splits=3), params="qkv.weight")
    register_fan("Mixer", "in,out", params="no.such.weight")  # A path that leads nowhere is no error.
    register_fan(nn.Linear, "in,out")
    assert inner_layouts(module)["qkv.weight"] == Layout(axes="out,in", splits=3)
    decided = plan(nn.Sequential(module, nn.Linear(4, 12)), dict(type="LeCun", layer="Linear"))
    assert decided["0.qkv.weight"].fans[0].fan_out == 4
    assert decided["1.weight"].fans[0].convention == "Linear"


def test_a_convention_for_all_modules_is_the_last_that_counts(module: nn.Module) -> None:
    register_fan(nn.Module, "in,out", params="*")
    assert own_layout(module, "weight") == own_layout(nn.Module(), "gate_up_proj") == Layout(axes="in,out")
    assert own_layout(nn.Conv2d(4, 4, 1, groups=2), "weight") == Layout(groups=2)


@pytest.mark.parametrize(
    ("arguments", "keys", "message"),
    [
        ((7,), {}, "layer=7 must be a class or the name of one"),
        (("",), {}, "layer='' must be a class"),
        ((Tensor,), {}, "class Tensor is not a torch.nn.Module"),
        (("Mixer", "out,inn"), {}, "register_fan('Mixer'): axes='out,inn': 'inn' is no axis"),
        (("Mixer", "in,out"), dict(params=3), "params=3 must be the name of a parameter"),
        (("Mixer",), {}, "register_fan('Mixer'): 7 is not a function"),
    ],
)
def test_what_cannot_be_registered(arguments: tuple[object, ...], keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        register_fan(*arguments, **keys)(7)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("convention", "message"),
    [
        (lambda mixer: mixer.no_such_attribute, "failed on a Mixer: AttributeError: 'Mixer' object has no attribute"),
        (lambda mixer: "out,inn", "is wrong: axes='out,inn': 'inn' is no axis"),
    ],
)
def test_a_convention_that_fails_is_named(module: nn.Module, convention: object, message: str) -> None:
    register_fan("Mixer")(convention)  # type: ignore[type-var]
    with pytest.raises(AutoInitError) as caught:
        plan(module, dict(type="LeCun", params="weight", layer="Mixer"))
    assert "weight of Mixer: the fan convention of 'Mixer'" in str(caught.value)
    assert message in str(caught.value)
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "weight")
