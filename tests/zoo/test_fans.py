"""Fans of real layers: what their code sums over, and what it splits, not what the shapes of their weights look like.

The numbers follow from each config: hidden size 48, 6 heads of 8, 2 of them for keys and values, 40 between.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn

from autoinit import plan
from autoinit.fans import own_layout

SIZES = dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=6, vocab_size=32)
GROUPED = SIZES | dict(num_key_value_heads=2, head_dim=8, intermediate_size=40)
EXPERTS = GROUPED | dict(num_local_experts=4, num_experts=4, moe_intermediate_size=40)

Fans = list[tuple[int, int]]


def model_of(name: str, **changes: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **changes})
    return getattr(transformers, f"{name}Model")(config)  # type: ignore[no-any-return]


def fans_of(model: nn.Module, ending: str) -> Fans:
    """Of each kind of part of the first weight with that ending of its name."""
    fqn = next(fqn for fqn, _ in model.named_parameters() if f".{fqn}".endswith(ending))
    name, _, param = fqn.rpartition(".")
    entry = plan(model, dict(type="LeCun", name=name, params=param))[fqn]
    return [(int(fans.fan_in), int(fans.fan_out)) for fans in entry.fans]


DEEPSEEK = EXPERTS | dict(
    **dict(n_routed_experts=4, n_group=2, topk_group=1, first_k_dense_replace=0, kv_lora_rank=12, q_lora_rank=20),
    **dict(qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=10),
)
DBRX = dict(
    **dict(d_model=48, n_heads=6, n_layers=1, attn_config=dict(kv_n_heads=2, rope_theta=10000.0)),
    ffn_config=dict(ffn_hidden_size=40, moe_num_experts=4, moe_top_k=1, hidden_size=48),
)
UP_AND_DOWN: dict[str, Fans] = {".gate_up_proj": [(48, 40)], ".down_proj": [(40, 48)]}
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Fans]]] = {
    "GPT-2": (
        lambda: model_of("GPT2", n_embd=48, n_layer=1, n_head=6, n_inner=40),
        {".c_attn.weight": [(48, 48)], ".attn.c_proj.weight": [(48, 48)], ".c_fc.weight": [(48, 40)]},
    ),
    "Mixtral": (lambda: model_of("Mixtral", **EXPERTS), UP_AND_DOWN | {".gate.weight": [(48, 4)]}),
    "Qwen2 MoE": (lambda: model_of("Qwen2Moe", **EXPERTS), UP_AND_DOWN),
    "DeepSeek-V3": (
        lambda: model_of("DeepseekV3", **DEEPSEEK | dict(num_key_value_heads=6)),
        {
            **{f".experts{name}": fans for name, fans in UP_AND_DOWN.items()},
            ".kv_a_proj_with_mqa.weight": [(48, 12), (48, 4)],
            ".kv_b_proj.weight": [(12, 48), (12, 60)],
        },
    ),
    "Llama 4": (
        lambda: transformers.Llama4TextModel(
            transformers.Llama4TextConfig(**EXPERTS, intermediate_size_mlp=40, pad_token_id=0)
        ),
        {f".experts{name}": fans for name, fans in UP_AND_DOWN.items()},
    ),
    "gpt-oss": (lambda: model_of("GptOss", **EXPERTS), UP_AND_DOWN),
    "DBRX": (
        lambda: model_of("Dbrx", **DBRX),
        {".w1": [(48, 40)], ".v1": [(48, 40)], ".w2": [(40, 48)], ".Wqkv.weight": [(48, 48), (48, 16)]},
    ),
    "Phi-3": (
        lambda: model_of("Phi3", **GROUPED, pad_token_id=0),
        {".qkv_proj.weight": [(48, 48), (48, 16)], ".gate_up_proj.weight": [(48, 40)]},
    ),
    "Falcon, many keys": (
        lambda: model_of("Falcon", num_kv_heads=2, new_decoder_architecture=True),
        {".query_key_value.weight": [(48, 48), (48, 16)]},
    ),
    "Falcon, one key": (
        lambda: model_of("Falcon", multi_query=True, new_decoder_architecture=False),
        {".query_key_value.weight": [(48, 48), (48, 8)]},
    ),
    "Falcon, one key per head": (
        lambda: model_of("Falcon", multi_query=False, new_decoder_architecture=False),
        {".query_key_value.weight": [(48, 48)]},
    ),
    "BLOOM": (lambda: model_of("Bloom", n_head=6, n_layer=1), {".query_key_value.weight": [(48, 48)]}),
    "GPT-BigCode": (
        lambda: model_of("GPTBigCode", n_embd=48, n_layer=1, n_head=6),
        {".c_attn.weight": [(48, 48), (48, 8)]},
    ),
    "Mamba": (
        lambda: model_of("Mamba", intermediate_size=96, state_size=4, time_step_rank=3),
        {".in_proj.weight": [(48, 96)], ".x_proj.weight": [(96, 3), (96, 4)], ".conv1d.weight": [(4, 4)]},
    ),
    "XLNet": (
        lambda: model_of("XLNet", d_model=48, n_head=6, d_inner=40, n_layer=1),
        {".rel_attn.q": [(48, 48)], ".rel_attn.o": [(48, 48)]},
    ),
    "timm's ViT": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10),
        {".attn.qkv.weight": [(192, 192)], ".patch_embed.proj.weight": [(768, 192 * 256)]},
    ),
    "timm's SwiGLU": (lambda: timm.layers.SwiGLUPacked(48, 80), {".fc1.weight": [(48, 40)], ".fc2.weight": [(40, 48)]}),
    "timm's LeViT": (lambda: timm.create_model("levit_128"), {".attn.qkv.linear.weight": [(128, 64), (128, 128)]}),
    "timm's MobileNet": (lambda: timm.create_model("mobilenetv3_small_050"), {".conv_dw.weight": [(9, 9)]}),
    "timm's CondConv": (lambda: timm.layers.CondConv2d(8, 12, 3, num_experts=4), {".weight": [(72, 108)]}),
    "torchvision's Swin": (torchvision.models.swin_t, {".attn.qkv.weight": [(96, 96)]}),
    "torchvision's ViT": (torchvision.models.vit_b_16, {".self_attention.in_proj_weight": [(768, 768)]}),
}


@pytest.mark.parametrize(("build", "expected"), CASES.values(), ids=CASES)
def test_fans_are_those_of_the_layers_code(build: Callable[[], nn.Module], expected: dict[str, Fans]) -> None:
    with torch.device("meta"):
        model = build()
    assert {ending: fans_of(model, ending) for ending in expected} == expected


@pytest.mark.parametrize("name", ["Mixtral", "GptOss", "Qwen3Moe", "NemotronH"])
def test_the_axis_that_experts_sum_over_is_the_one_that_follows_the_input(name: str) -> None:
    """Where only one feature goes in, one slice of the weight has a gradient, across the axis that is summed over."""
    more: dict[str, object] = dict(layers_block_type=["moe"], n_routed_experts=4) if name == "NemotronH" else {}
    model = model_of(name, **{**EXPERTS, **more}, experts_implementation="eager")
    experts = next(module for module in model.modules() if type(module).__name__.endswith("Experts"))
    up = "gate_up_proj" if hasattr(experts, "gate_up_proj") else "up_proj"
    weight = experts.get_parameter(up)
    torch.nn.init.normal_(weight)
    torch.nn.init.normal_(experts.get_parameter("down_proj"))
    hidden = torch.zeros(1, 48)
    hidden[0, 5] = 1
    experts(hidden, torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1)).sum().backward()
    layout = own_layout(experts, up)
    assert weight.grad is not None and layout is not None
    axis = layout.roles(weight.shape).index("in")
    assert weight.grad.nonzero()[:, axis].unique().tolist() == [5]
    # Half of the rows gate the other half, in the order that the convention says: what gates has another gradient.
    if up == "gate_up_proj":
        out = layout.roles(weight.shape).index("out")
        gate, value = (layout.region(weight, part) for part in layout.parts(weight.shape))
        with torch.no_grad():
            gate.zero_()
        alone = experts(hidden, torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1))
        with torch.no_grad():
            value.mul_(2)
        assert gate.shape[out] + value.shape[out] == gate.shape[out] * 2
        again = experts(hidden, torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1))
        # silu(0) = 0: nothing passes a closed gate, whatever is behind it.
        assert torch.equal(alone, again) and alone.count_nonzero() == 0
