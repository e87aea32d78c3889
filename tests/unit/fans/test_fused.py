"""Weights that hold several maps, and stacked experts: told by the module around them, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import initialize, plan, register_fan
from autoinit.fans import Layout, inner_layouts, own_layout
from tests.models import Around

XAVIER = dict(type="Xavier", layer="Linear", distribution="normal")


def layouts(children: dict[str, nn.Module | None], **numbers: Any) -> dict[str, Layout | None]:
    return inner_layouts(Around(children, **numbers))


def attention(out: int = 96, width: int = 32) -> dict[str, nn.Module | None]:
    return {"qkv": nn.Linear(width, out), "proj": nn.Linear(width, width)}


@pytest.mark.parametrize("name", ["qkv", "Wqkv", "c_attn", "query_key_value", "in_proj", "qkv_proj", "to_qkv"])
@pytest.mark.parametrize("reader", ["proj", "o_proj", "out_proj", "dense", "Wo", "c_proj"])
def test_three_parts_if_the_output_layer_reads_a_third(name: str, reader: str) -> None:
    found = layouts({name: nn.Linear(32, 96), reader: nn.Linear(32, 32)})
    assert found == {f"{name}.weight": Layout(splits=3)}
    assert found[f"{name}.weight"].convention == "q, k, v"  # type: ignore[union-attr]


GATED = (
    "gate_up_proj down_proj, Wi Wo, input_linear output_linear, proj_up_gate_z proj_down, fc1 fc2, linear1 linear2, "
    "linear_1 linear_2, linear_start linear_end, up_conv down_conv, kv proj"
)


@pytest.mark.parametrize(("first", "second"), [pair.split() for pair in GATED.split(", ")])
def test_two_parts_if_the_next_layer_reads_half(first: str, second: str) -> None:
    assert layouts({first: nn.Linear(8, 64), second: nn.Linear(32, 8)}) == {f"{first}.weight": Layout(splits=2)}
    assert layouts({first: nn.Linear(8, 64), second: nn.Linear(64, 8)}) == {}


KV_B = {"kv_b_proj": nn.Linear(8, 48)}
NOPE = dict(num_heads=4, qk_nope_head_dim=8)
GROUPED = {"qkv_proj": nn.Linear(64, 96), "o_proj": nn.Linear(64, 64)}
POINTWISE = {"pointwise_conv1": nn.Conv1d(8, 16, 1)}
ONE_KV_HEAD = dict(head_dim=16, num_key_value_heads=1, config=SimpleNamespace(num_attention_heads=4))


@pytest.mark.parametrize(
    ("children", "numbers", "found"),
    [
        ({"qkv": nn.Linear(32, 96)}, {}, {}),
        ({"qkv": nn.Linear(32, 96), "proj": nn.Linear(48, 32)}, {}, {}),
        ({"qkv": nn.Linear(64, 96), "proj": nn.Linear(64, 64)}, {}, {}),
        ({"qkv": nn.Linear(32, 96), "proj": None}, {}, {}),
        ({"qkv": None, "proj": nn.Linear(32, 32)}, {}, {}),
        ({"qkv": nn.LazyLinear(96), "proj": nn.Linear(32, 32)}, {}, {}),
        ({"qkv": nn.Linear(32, 96), "proj": nn.LazyLinear(32)}, {}, {}),
        ({"qkv": nn.Linear(32, 96), "proj": nn.Identity()}, {}, {}),
        ({"qkv": nn.Conv2d(32, 96, 1, groups=2), "proj": nn.Conv2d(32, 32, 1)}, {}, {}),
        ({"qkv": nn.Embedding(96, 32), "proj": nn.Linear(32, 32)}, {}, {}),
        ({"query": nn.Linear(32, 96), "proj": nn.Linear(32, 32)}, {}, {}),
        # The second layer may be a convolution of each channel.
        (
            POINTWISE | {"depthwise_conv": nn.Conv1d(8, 8, 3, groups=8)},
            {},
            {"pointwise_conv1.weight": Layout(splits=2)},
        ),
        (POINTWISE | {"depthwise_conv": nn.Conv1d(16, 16, 3, groups=16)}, {}, {}),
        # 64 + 16 + 16 = 96 rows, which three divides.
        (GROUPED, {}, {}),
        (GROUPED, ONE_KV_HEAD, {"qkv_proj.weight": Layout(splits=(64, 16, 16))}),
        # Numbers that do not make up the layer, or are not there, say nothing; nor does a part of no size.
        (KV_B, NOPE | dict(v_head_dim=4), {"kv_b_proj.weight": Layout(splits=(8, 4), repeats=4)}),
        *((KV_B, NOPE | wrong, {}) for wrong in (dict(v_head_dim=5), dict(v_head_dim=None), {})),
        ({"kv_a_proj_with_mqa": nn.Linear(8, 16)}, dict(kv_lora_rank=16, qk_rope_head_dim=0), {}),
        # Numbers of the module come before the shape of the next layer.
        (attention(), dict(q_dim=48, kv_dim=24), {"qkv.weight": Layout(splits=(48, 24, 24))}),
    ],
)
def test_what_is_certain_is_found(
    children: dict[str, nn.Module | None], numbers: dict[str, Any], found: dict[str, Layout]
) -> None:
    assert layouts(children, **numbers) == found


HEADS = dict(num_heads=3, head_dim=5)
NEW_FALCON = dict(num_heads=6, head_dim=5, num_kv_heads=2, new_decoder_architecture=True)
MAMBA = dict(intermediate_size=7, n_groups=2, ssm_state_size=3, num_heads=5)
DELTA_NET = dict(num_k_heads=2, num_v_heads=6, head_k_dim=4, head_v_dim=5)
NARROW = dict(num_heads=3, key_dim=4, val_dim=7)


@pytest.mark.parametrize(
    ("within", "path", "numbers", "sizes", "repeats"),
    [
        ("BloomAttention", "query_key_value", HEADS, (5, 5, 5), 3),
        ("MiniMaxLightningAttention", "qkv_proj", HEADS, (5, 5, 5), 3),
        ("DisentangledSelfAttention", "in_proj", HEADS, (5, 5, 5), 3),
        ("EsmFoldSelfAttention", "proj", HEADS, (5, 5, 5), 3),
        ("", "pwise", HEADS, (5, 5, 5), 3),
        ("", "qkv", HEADS | dict(head_first=True), (5, 5, 5), 3),
        ("", "qkv", HEADS | dict(head_first=False), (15, 15, 15), 1),
        ("CodeGenAttention", "qkv_proj", dict(num_heads=8, head_dim=5), (10, 10, 10), 4),
        ("", "query_key_value", HEADS | dict(num_kv_heads=1, new_decoder_architecture=False), (15, 5, 5), 1),
        ("", "query_key_value", HEADS | dict(num_kv_heads=3, new_decoder_architecture=False), (5, 5, 5), 3),
        ("", "query_key_value", NEW_FALCON, (15, 5, 5), 2),
        ("GPTBigCodeAttention", "c_attn", HEADS | dict(embed_dim=15, kv_dim=5, multi_query=True), (15, 5, 5), 1),
        ("GPTBigCodeAttention", "c_attn", HEADS | dict(embed_dim=15, kv_dim=5, multi_query=False), (5, 5, 5), 3),
        ("", "Wqkv", dict(num_heads=6, num_key_value_heads=2, head_dim=5), (30, 10, 10), 1),
        ("", "qkv", dict(q_dim=11, kv_dim=3), (11, 3, 3), 1),
        ("Qwen3NextAttention", "q_proj", HEADS, (5, 5), 3),
        ("", "kv_a_proj_with_mqa", dict(kv_lora_rank=7, qk_rope_head_dim=4), (7, 4), 1),
        ("", "kv_b_proj", dict(num_heads=3, qk_nope_head_dim=7, v_head_dim=4), (7, 4), 3),
        ("", "q_gate_proj", dict(num_heads=3, qk_head_dim=7, v_head_dim=4), (7, 4), 3),
        ("", "qkv", NARROW, (4, 4, 7), 3),
        ("", "qkv.linear", NARROW, (4, 4, 7), 3),
        ("", "kv.linear", NARROW, (4, 7), 3),
        ("", "queries_keys_values.linear", dict(num_heads=3, key_dim=4, attention_ratio=2.0), (4, 4, 8), 3),
        ("", "keys_values.linear", dict(num_heads=3, key_dim=4, attention_ratio=2.0), (4, 8), 3),
        ("", "kv", dict(num_heads=3, dim_head_qk=4, dim_head_v=7), (4, 7), 3),
        ("", "qkv", dict(dim_out_qk=4, dim_out_v=7), (4, 4, 7), 1),
        ("", "qkv", dict(num_heads=3, dim_qk=4, dim_v=7), (12, 4, 7), 1),
        ("", "qkvs.0.conv", dict(key_dim=4, val_dim=7), (4, 4, 7), 1),
        ("", "qkv.c", dict(qk_dim=4, pdim=7), (4, 4, 7), 1),
        ("LinearSelfAttention", "qkv_proj", dict(embed_dim=7), (1, 7, 7), 1),
        ("ParallelScalingBlock", "in_proj", HEADS, (19, 15, 15, 15), 1),
        ("DiffParallelScalingBlock", "in_proj", HEADS, (19, 30, 30, 30), 1),
        ("ZambaMambaMixer", "in_proj", dict(intermediate_size=7), (1, 1), 7),
        ("", "in_proj", dict(intermediate_size=7, ssm_state_size=3), (7, 7), 1),
        ("", "in_proj", MAMBA, (7, 7, 6, 6, 5), 1),
        ("", "x_proj", dict(time_step_rank=7, ssm_state_size=3), (7, 3, 3), 1),
        ("", "in_proj_qkv", dict(key_dim=4, value_dim=7), (4, 4, 7), 1),
        ("", "in_proj_qkvz", DELTA_NET, (4, 4, 15, 15), 2),
        ("", "in_proj_ba", dict(num_k_heads=2, num_v_heads=6), (3, 3), 2),
        ("EsmFoldInvariantPointAttention", "linear_kv", dict(num_heads=3, hidden_dim=5), (5, 5), 3),
        ("", "index_qk_proj", dict(index_n_heads=6, index_kv_heads=2, index_head_dim=5), (30, 10), 1),
        ("", "qkv_opreact", dict(qk_dim=4, v_dim=7), (4, 4, 7, 7), 1),
        ("", "ifgate_preact", dict(num_heads=3), (3, 3), 1),
        ("", "f", dict(dim=7, focal_level=2), (7, 7, 3), 1),
        ("Wav2Vec2AdapterLayer", "conv", {}, (5, 5), 1),
        ("Conv1dSubsampler", "conv_layers.0", {}, (5, 5), 1),
        ("timm.models.convit.GPSA", "qk", {}, (5, 5), 1),
        ("timm.models.iformer.SHMA", "v_gate.c", {}, (5, 5), 1),
        ("TimesformerSelfAttention", "qkv", {}, (5, 5, 5), 1),
    ],
)
def test_the_numbers_of_the_module_around_a_layer_say_how_it_is_split(
    within: str, path: str, numbers: dict[str, Any], sizes: tuple[int, ...], repeats: int
) -> None:
    """As the code of transformers 5.23 and timm 1.0.31 splits the outputs of the layer."""
    first, *inner = path.split(".")
    layer: nn.Module = nn.Linear(8, sum(sizes) * repeats)
    for step in reversed(inner):
        layer = Around({step: layer})
    module, _, name = within.rpartition(".")
    cls = type(name or "Around", (Around,), {"__module__": module or __name__})
    splits = len(sizes) if len(set(sizes)) == 1 else sizes
    assert inner_layouts(cls({first: layer}, **numbers)) == {f"{path}.weight": Layout(splits=splits, repeats=repeats)}


def test_a_wrapped_layer_and_one_in_a_list_are_found() -> None:
    wrapped = nn.Sequential()
    wrapped.add_module("linear", nn.Linear(32, 64))
    found = layouts({"qkv": wrapped}, num_heads=2, key_dim=8, val_dim=16)
    assert found == {"qkv.linear.weight": Layout(splits=(8, 8, 16), repeats=2)}
    heads = [Around({"conv": conv}) for conv in (nn.Conv2d(8, 32, 1), nn.Identity(), nn.Conv2d(8, 32, 1))]
    found = layouts({"qkvs": nn.ModuleList(heads)}, key_dim=8, val_dim=16)
    assert found == {f"qkvs.{at}.conv.weight": Layout(splits=(8, 8, 16)) for at in (0, 2)}


def test_the_axes_of_the_layer_itself_are_respected() -> None:
    class Conv1D(Around):
        """(in, out), as in GPT-2."""

    register_fan(Conv1D, "in,out")
    found = layouts({"c_attn": Conv1D(weight=torch.empty(32, 96)), "c_proj": Conv1D(weight=torch.empty(32, 32))})
    assert found == {"c_attn.weight": Layout(axes="in,out", splits=3)}


def test_what_a_user_says_of_the_layer_or_of_the_module_around_it_comes_first() -> None:
    class Mine(nn.Linear): ...

    class Attention(Around): ...

    register_fan(Mine, dict(axes="out,in", fan_out=7))
    assert layouts({"qkv": Mine(32, 96), "proj": nn.Linear(32, 32)}) == {}
    register_fan(Attention, dict(axes="out,in", splits=6), params="qkv.weight")
    assert inner_layouts(Attention(attention())) == {"qkv.weight": Layout(axes="out,in", splits=6)}
    register_fan(Attention, params="qkv.weight")(lambda module: None)
    assert inner_layouts(Attention(attention())) == {"qkv.weight": None}


def test_a_plan_has_the_fans_of_a_part_and_a_rule_can_refuse() -> None:
    model = Around(attention())
    assert {fans.fan_out for fans in plan(model, XAVIER, fan="layer")["qkv.weight"].fans} == {32}
    assert plan(model, XAVIER)["qkv.weight"].fans[0].fan_out == 96
    assert plan(model, XAVIER | dict(fan="torch"), fan="layer")["qkv.weight"].fans[0].fan_out == 96


def test_unequal_parts_have_unequal_scales() -> None:
    """std = sqrt(2 / (fan_in + fan_out)) of each; a chi-square interval of false-alarm rate 1e-6 at a fixed seed."""
    model = Around({"kv_b_proj": nn.Linear(256, 4 * (192 + 64))}, num_heads=4, qk_nope_head_dim=192, v_head_dim=64)
    initialize(model, XAVIER, fan="layer", seed=1)
    rows = model.kv_b_proj.weight.detach().unflatten(0, (4, 256))  # type: ignore[operator, union-attr]
    for part, heads in ((rows[:, :192], 4 * 192), (rows[:, 192:], 4 * 64)):
        assert part.std() == pytest.approx((2 / (256 + heads)) ** 0.5, rel=0.02)


def experts(gate_up: tuple[int, ...], down: tuple[int, ...], **flags: bool) -> nn.Module:
    return Around(gate_up_proj=torch.empty(gate_up), down_proj=torch.empty(down), **flags)


@pytest.mark.parametrize(
    ("module", "repeats"),
    [
        # 8 experts, hidden 32, intermediate 48: first as Mixtral has them, then as Llama 4.
        (experts((8, 96, 32), (8, 32, 48)), 1),
        (experts((8, 32, 96), (8, 48, 32)), 1),
        # Where shapes fit both orders only the module itself can tell.
        (experts((8, 32, 64), (8, 32, 32), is_transposed=True), 1),
        (experts((8, 32, 96), (8, 48, 32), is_transposed=True, is_concatenated=False), 48),
        (experts((8, 96, 32), (8, 32, 48), is_transposed=False, is_concatenated=False), 48),
        # LongCat has more experts up than down.
        (experts((12, 96, 32), (8, 32, 48)), 1),
    ],
)
def test_stacked_experts(module: nn.Module, repeats: int) -> None:
    width = 32 if module.gate_up_proj.shape[2] == 64 else 48
    for name, fans, count in (("gate_up_proj", (32, width), 2), ("down_proj", (width, 32), 1)):
        layout = own_layout(module, name)
        assert layout is not None and layout.repeats == (repeats if count == 2 else 1)
        parts = layout.parts(getattr(module, name).shape)
        assert [(part.fans.fan_in, part.fans.fan_out) for part in parts] == [fans] * count


@pytest.mark.parametrize(
    "module",
    [
        experts((8, 96, 32), (8, 48, 48)),
        experts((96, 32), (32, 48)),
        experts((96, 32), (32, 48), is_transposed=True),
        nn.ParameterDict({"up_proj": torch.empty(8, 96, 32), "down_proj": torch.empty(8, 32, 96)}),
    ],
)
def test_experts_whose_order_is_not_certain_are_read_as_torch_does(module: nn.Module) -> None:
    assert [own_layout(module, name) for name in ("gate_up_proj", "up_proj", "down_proj")] == [None] * 3


@pytest.mark.parametrize(("transposed", "axes"), [(False, "expert,out,in"), (True, "expert,in,out")])
def test_without_a_gate_only_the_module_can_tell(transposed: bool, axes: str) -> None:
    module = Around(is_transposed=transposed, up_proj=torch.empty(8, 48, 32), down_proj=torch.empty(8, 32, 48))
    assert [own_layout(module, name) for name in ("up_proj", "down_proj")] == [Layout(axes=axes)] * 2
    del module.__dict__["is_transposed"]
    assert own_layout(module, "up_proj") is None


def test_a_convention_for_another_name_of_a_tied_weight_counts() -> None:
    class Tied(Around): ...

    register_fan(Tied, dict(axes="out,in", fan_out=5), params="head.weight")
    model = Tied({"first": nn.Linear(4, 4), "head": nn.Linear(4, 4)})
    model.head.weight = model.first.weight  # type: ignore[union-attr, assignment]
    assert plan(model, XAVIER, fan="layer")["first.weight"].fans[0].fan_out == 5
