"""The layers that are known to hold several maps: attention, gated and mixing layers of transformers, timm and others.

Sizes are those of the code that splits the layer's output. A row fits where the numbers that its function takes are
there and make up the whole layer, so it holds for copies of that code elsewhere, too. The first that fits counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

QKV = "q, k, v"
KV = "k, v"
GATED = "gate, up"
BLOOM = "BloomAttention GPTNeoXAttention GPTNeoXJapaneseAttention PersimmonAttention"
QWEN = "Qwen3NextAttention Qwen3_5Attention Qwen3_5MoeAttention Qwen4ExpTextAttention"
GATED_CONVOLUTIONS = "Data2VecAudioAdapterLayer Wav2Vec2AdapterLayer Wav2Vec2ConformerAdapterLayer WavLMAdapterLayer"
SEAMLESS = "SeamlessM4TConformerAdapterLayer SeamlessM4Tv2ConformerAdapterLayer"
READERS = "proj projection o_proj c_proj out_proj dense Wo wo merge to_out project o"

EQUAL_PARTS = (
    ("qkv Wqkv qkv_linear to_qkv att_proj c_attn query_key_value in_proj qkv_proj", READERS, 3, QKV),
    ("kv to_kv kv_proj linear_kv", READERS, 2, KV),
    ("gate_up_proj", "down_proj", 2, GATED),
    ("Wi", "Wo", 2, GATED),
    ("input_linear", "output_linear", 2, GATED),
    ("proj_up_gate_z", "proj_down", 2, GATED),
    ("fc1", "fc2", 2, GATED),
    ("linear1", "linear2", 2, GATED),
    ("linear_1", "linear_2", 2, GATED),
    ("linear_start", "linear_end", 2, GATED),
    ("up_conv", "down_conv", 2, GATED),
    ("pointwise_conv1", "depthwise_conv", 2, GATED),
)
"""Names of layers, those of layers beside them that read one part, the number of parts, and what these are."""

Sizes = tuple[Sequence[float], float]
"""The number of outputs of each part, and how often the parts follow each other."""


class Fused(NamedTuple):
    """One kind of layer that holds several maps.

    Args:
        paths: paths of such layers in the module that knows the sizes; `*` stands for each of a list.
        parts: names of the maps, in their order.
        sizes: function of numbers of that module or of its `config`, which are found by the names of the arguments;
            `out` is the number of outputs of the layer.
        within: names of the classes that have such layers; empty where the numbers leave no doubt.
    """

    paths: str
    parts: str
    sizes: Callable[..., Sizes]
    within: str = ""


def _per_head(num_heads: int, head_dim: int) -> Sizes:
    return [head_dim] * 3, num_heads


def _per_head_or_whole(num_heads: int, head_dim: int, head_first: bool) -> Sizes:
    return ([head_dim] * 3, num_heads) if head_first else ([num_heads * head_dim] * 3, 1)


def _falcon(num_heads: int, head_dim: int, num_kv_heads: int, new_decoder_architecture: bool) -> Sizes:
    if new_decoder_architecture:
        return [num_heads // num_kv_heads * head_dim, head_dim, head_dim], num_kv_heads
    return ([num_heads * head_dim, head_dim, head_dim], 1) if num_kv_heads == 1 else ([head_dim] * 3, num_heads)


def _gpt_bigcode(embed_dim: int, kv_dim: int, num_heads: int, head_dim: int, multi_query: bool) -> Sizes:
    return ([embed_dim, kv_dim, kv_dim], 1) if multi_query else ([head_dim] * 3, num_heads)


def _grouped_query(num_heads: int, num_key_value_heads: int, head_dim: int) -> Sizes:
    return [num_heads * head_dim, num_key_value_heads * head_dim, num_key_value_heads * head_dim], 1


def _mamba2(intermediate_size: int, n_groups: int, ssm_state_size: int, num_heads: int) -> Sizes:
    state = n_groups * ssm_state_size
    return [intermediate_size, intermediate_size, state, state, num_heads], 1


def _gated_delta_net(num_k_heads: int, num_v_heads: int, head_k_dim: int, head_v_dim: int) -> Sizes:
    value = num_v_heads // num_k_heads * head_v_dim
    return [head_k_dim, head_k_dim, value, value], num_k_heads


def _parallel_block(out: int, num_heads: int, head_dim: int) -> Sizes:
    width = num_heads * head_dim
    return [out - 3 * width, width, width, width], 1


def _halves(out: int) -> Sizes:
    return [out / 2] * 2, 1


def _thirds(out: int) -> Sizes:
    return [out / 3] * 3, 1


FUSED = (
    # Attention.
    Fused("pwise", QKV, _per_head),
    Fused("proj", QKV, _per_head, "EsmFoldSelfAttention"),
    Fused("in_proj", QKV, _per_head, "DisentangledSelfAttention"),
    Fused("qkv_proj", QKV, _per_head, "MiniMaxLightningAttention"),
    Fused("query_key_value", QKV, _per_head, BLOOM),
    Fused("qkv", QKV, _per_head_or_whole),
    # Four groups, for as many TPU cores.
    Fused("qkv_proj", "q, v, k", lambda num_heads, head_dim: ([num_heads * head_dim // 4] * 3, 4), "CodeGenAttention"),
    Fused("query_key_value", QKV, _falcon),
    Fused("c_attn", QKV, _gpt_bigcode, "GPTBigCodeAttention"),
    Fused("qkv_proj Wqkv qkv", QKV, _grouped_query),
    Fused("qkv", QKV, lambda q_dim, kv_dim: ([q_dim, kv_dim, kv_dim], 1)),
    Fused("q_proj", "q, gate", lambda num_heads, head_dim: ([head_dim] * 2, num_heads), QWEN),
    Fused(
        "kv_a_proj_with_mqa",
        "latent, rotary",
        lambda kv_lora_rank, qk_rope_head_dim: ([kv_lora_rank, qk_rope_head_dim], 1),
    ),
    Fused("kv_b_proj", KV, lambda num_heads, qk_nope_head_dim, v_head_dim: ([qk_nope_head_dim, v_head_dim], num_heads)),
    Fused("q_gate_proj", "q, gate", lambda num_heads, qk_head_dim, v_head_dim: ([qk_head_dim, v_head_dim], num_heads)),
    Fused("qkv qkv.linear", QKV, lambda num_heads, key_dim, val_dim: ([key_dim, key_dim, val_dim], num_heads)),
    Fused("kv.linear", KV, lambda num_heads, key_dim, val_dim: ([key_dim, val_dim], num_heads)),
    # LeViT.
    Fused(
        "queries_keys_values.linear",
        QKV,
        lambda num_heads, key_dim, attention_ratio: ([key_dim, key_dim, attention_ratio * key_dim], num_heads),
    ),
    Fused(
        "keys_values.linear",
        KV,
        lambda num_heads, key_dim, attention_ratio: ([key_dim, attention_ratio * key_dim], num_heads),
    ),
    Fused("kv", KV, lambda num_heads, dim_head_qk, dim_head_v: ([dim_head_qk, dim_head_v], num_heads)),
    Fused("qkv", QKV, lambda dim_out_qk, dim_out_v: ([dim_out_qk, dim_out_qk, dim_out_v], 1)),
    Fused("qkv", QKV, lambda num_heads, dim_qk, dim_v: ([num_heads * dim_qk, dim_qk, dim_v], 1)),
    Fused("qkvs.*.conv", QKV, lambda key_dim, val_dim: ([key_dim, key_dim, val_dim], 1)),
    Fused("qkv.c", QKV, lambda qk_dim, pdim: ([qk_dim, qk_dim, pdim], 1)),
    Fused("qkv_proj", QKV, lambda embed_dim: ([1, embed_dim, embed_dim], 1), "LinearSelfAttention"),
    Fused("in_proj", "mlp, q, k, v", _parallel_block, "ParallelScalingBlock"),
    # Each head has two queries and two keys, and values that are twice as wide.
    Fused(
        "in_proj",
        "mlp, q, k, v",
        lambda out, num_heads, head_dim: _parallel_block(out, num_heads, 2 * head_dim),
        "DiffParallelScalingBlock",
    ),
    Fused(
        "linear_kv", KV, lambda num_heads, hidden_dim: ([hidden_dim] * 2, num_heads), "EsmFoldInvariantPointAttention"
    ),
    Fused(
        "index_qk_proj",
        "q, k",
        lambda index_n_heads, index_kv_heads, index_head_dim: (
            [index_n_heads * index_head_dim, index_kv_heads * index_head_dim],
            1,
        ),
    ),
    # State spaces and linear attention.
    Fused("in_proj", "x, gate", lambda intermediate_size: ([1, 1], intermediate_size), "ZambaMambaMixer"),
    Fused("in_proj", "x, gate", lambda intermediate_size, ssm_state_size: ([intermediate_size] * 2, 1)),
    Fused("in_proj", "gate, x, B, C, dt", _mamba2),
    Fused(
        "x_proj",
        "dt, B, C",
        lambda time_step_rank, ssm_state_size: ([time_step_rank, ssm_state_size, ssm_state_size], 1),
    ),
    Fused("in_proj_qkv", QKV, lambda key_dim, value_dim: ([key_dim, key_dim, value_dim], 1)),
    Fused("in_proj_qkvz", "q, k, v, z", _gated_delta_net),
    Fused("in_proj_ba", "b, a", lambda num_k_heads, num_v_heads: ([num_v_heads // num_k_heads] * 2, num_k_heads)),
    Fused("qkv_opreact", "q, k, v, o", lambda qk_dim, v_dim: ([qk_dim, qk_dim, v_dim, v_dim], 1)),
    Fused("ifgate_preact", "i, f", lambda num_heads: ([num_heads] * 2, 1)),
    Fused("f projection_in", "q, context, gates", lambda dim, focal_level: ([dim, dim, focal_level + 1], 1)),
    # Equal parts of classes that are known by name.
    Fused("conv", GATED, _halves, GATED_CONVOLUTIONS),
    Fused("conv_layers.*", GATED, _halves, "Conv1dSubsampler"),
    Fused("residual_conv self_attn_conv", GATED, _halves, SEAMLESS),
    Fused("ext_pw_conv_1d", GATED, _halves, "Phi4MultimodalAudioGluPointWiseConv"),
    Fused("proj", GATED, _halves, "ClvpGatedLinearUnit"),
    Fused("linear_1", GATED, _halves, "AyaVisionMultiModalProjector Cohere2VisionMultiModalProjector"),
    Fused("gate", "gate, gate", _halves, "DFineGate Deimv2Gate"),
    Fused("pointwise_lin1", GATED, _halves, "GraniteSpeech5EncoderConvolutionModule"),
    Fused("kv_proj", KV, _halves, "JetMoeAttention"),
    Fused("qk", "q, k", _halves, "timm.models.convit.GPSA timm.models.tnt.Attention"),
    Fused("v_gate.c", "v, gate", _halves, "timm.models.iformer.SHMA"),
    Fused("dense", "q, k", _halves, "PPDocLayoutV2GlobalPointer PPDocLayoutV3GlobalPointer"),
    Fused("qkv", QKV, _thirds, "torchvision.models.video.mvit.MultiscaleAttention TimesformerSelfAttention"),
    Fused("qkv_linear", QKV, _thirds, "LayoutLMv2SelfAttention"),
    Fused("in_proj", "B, C, x", _thirds, "Lfm2ShortConv Lfm2MoeShortConv Lfm3ShortConv Lfm3VlVisionShortConv"),
    Fused("BCdt_proj.conv", "B, C, dt", _thirds),
)
"""The kinds that are split by numbers."""
