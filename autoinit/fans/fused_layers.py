"""The layers that are known to hold several maps: attention, gated and mixing layers of transformers, timm and others.

Sizes are those of the code that splits the layer's output. A row fits where its numbers are there and make up the whole
layer, so it holds for copies of that code elsewhere too. The first that fits counts.
"""

from __future__ import annotations

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


class Fused(NamedTuple):
    """One kind of layer that holds several maps.

    Args:
        paths: paths of such layers in the module that knows the sizes; `*` stands for each of a list.
        parts: names of the maps, in their order.
        sizes: the numbers of outputs of the parts, as Python over numbers of that module or of its `config`; `out` is
            the number of outputs of the layer.
        repeats: how often the parts follow each other, in the same way.
        within: names of the classes that have such layers; empty where the numbers leave no doubt.
    """

    paths: str
    parts: str
    sizes: str
    repeats: str = "1"
    within: str = ""


HALVES, THIRDS = "[out / 2] * 2", "[out / 3] * 3"
FALCON = (
    "[num_heads // num_kv_heads * head_dim, head_dim, head_dim] "
    "if new_decoder_architecture or num_kv_heads == 1 else [head_dim] * 3",
    "num_kv_heads if new_decoder_architecture or num_kv_heads == 1 else num_heads",
)

FUSED = (
    # Attention.
    Fused("pwise", QKV, "[head_dim] * 3", "num_heads"),
    Fused("proj", QKV, "[head_dim] * 3", "num_heads", "EsmFoldSelfAttention"),
    Fused("in_proj", QKV, "[head_dim] * 3", "num_heads", "DisentangledSelfAttention"),
    Fused("qkv_proj", QKV, "[head_dim] * 3", "num_heads", "MiniMaxLightningAttention"),
    Fused("query_key_value", QKV, "[head_dim] * 3", "num_heads", BLOOM),
    Fused("qkv", QKV, "[head_dim if head_first else num_heads * head_dim] * 3", "num_heads if head_first else 1"),
    # Four groups, for as many TPU cores.
    Fused("qkv_proj", "q, v, k", "[num_heads * head_dim // 4] * 3", "4", "CodeGenAttention"),
    Fused("query_key_value", QKV, *FALCON),
    Fused(
        "c_attn",
        QKV,
        "[embed_dim, kv_dim, kv_dim] if multi_query else [head_dim] * 3",
        "1 if multi_query else num_heads",
        "GPTBigCodeAttention",
    ),
    Fused(
        "qkv_proj Wqkv qkv",
        QKV,
        "[num_heads * head_dim, num_key_value_heads * head_dim, num_key_value_heads * head_dim]",
    ),
    Fused("qkv", QKV, "[q_dim, kv_dim, kv_dim]"),
    Fused("q_proj", "q, gate", "[head_dim] * 2", "num_heads", QWEN),
    Fused("kv_a_proj_with_mqa", "latent, rotary", "[kv_lora_rank, qk_rope_head_dim]"),
    Fused("kv_b_proj", KV, "[qk_nope_head_dim, v_head_dim]", "num_heads"),
    Fused("q_gate_proj", "q, gate", "[qk_head_dim, v_head_dim]", "num_heads"),
    Fused("qkv qkv.linear", QKV, "[key_dim, key_dim, val_dim]", "num_heads"),
    Fused("kv.linear", KV, "[key_dim, val_dim]", "num_heads"),
    # LeViT.
    Fused("queries_keys_values.linear", QKV, "[key_dim, key_dim, attention_ratio * key_dim]", "num_heads"),
    Fused("keys_values.linear", KV, "[key_dim, attention_ratio * key_dim]", "num_heads"),
    Fused("kv", KV, "[dim_head_qk, dim_head_v]", "num_heads"),
    Fused("qkv", QKV, "[dim_out_qk, dim_out_qk, dim_out_v]"),
    Fused("qkv", QKV, "[num_heads * dim_qk, dim_qk, dim_v]"),
    Fused("qkvs.*.conv", QKV, "[key_dim, key_dim, val_dim]"),
    Fused("qkv.c", QKV, "[qk_dim, qk_dim, pdim]"),
    Fused("qkv_proj", QKV, "[1, embed_dim, embed_dim]", within="LinearSelfAttention"),
    Fused(
        "in_proj",
        "mlp, q, k, v",
        "[out - 3 * num_heads * head_dim] + [num_heads * head_dim] * 3",
        within="ParallelScalingBlock",
    ),
    # Each head has two queries and two keys, and values that are twice as wide.
    Fused(
        "in_proj",
        "mlp, q, k, v",
        "[out - 6 * num_heads * head_dim] + [2 * num_heads * head_dim] * 3",
        within="DiffParallelScalingBlock",
    ),
    Fused("linear_kv", KV, "[hidden_dim] * 2", "num_heads", "EsmFoldInvariantPointAttention"),
    Fused("index_qk_proj", "q, k", "[index_n_heads * index_head_dim, index_kv_heads * index_head_dim]"),
    # State spaces and linear attention.
    Fused("in_proj", "x, gate", "[1, 1]", "intermediate_size", "ZambaMambaMixer"),
    Fused("in_proj", "x, gate", "[intermediate_size] * 2 if ssm_state_size else []"),
    Fused("in_proj", "gate, x, B, C, dt", "[intermediate_size] * 2 + [n_groups * ssm_state_size] * 2 + [num_heads]"),
    Fused("x_proj", "dt, B, C", "[time_step_rank, ssm_state_size, ssm_state_size]"),
    Fused("in_proj_qkv", QKV, "[key_dim, key_dim, value_dim]"),
    Fused(
        "in_proj_qkvz", "q, k, v, z", "[head_k_dim] * 2 + [num_v_heads // num_k_heads * head_v_dim] * 2", "num_k_heads"
    ),
    Fused("in_proj_ba", "b, a", "[num_v_heads // num_k_heads] * 2", "num_k_heads"),
    Fused("qkv_opreact", "q, k, v, o", "[qk_dim, qk_dim, v_dim, v_dim]"),
    Fused("ifgate_preact", "i, f", "[num_heads] * 2"),
    Fused("f projection_in", "q, context, gates", "[dim, dim, focal_level + 1]"),
    # Equal parts of classes that are known by name.
    Fused("conv", GATED, HALVES, within=GATED_CONVOLUTIONS),
    Fused("conv_layers.*", GATED, HALVES, within="Conv1dSubsampler"),
    Fused("residual_conv self_attn_conv", GATED, HALVES, within=SEAMLESS),
    Fused("ext_pw_conv_1d", GATED, HALVES, within="Phi4MultimodalAudioGluPointWiseConv"),
    Fused("proj", GATED, HALVES, within="ClvpGatedLinearUnit"),
    Fused("linear_1", GATED, HALVES, within="AyaVisionMultiModalProjector Cohere2VisionMultiModalProjector"),
    Fused("gate", "gate, gate", HALVES, within="DFineGate Deimv2Gate"),
    Fused("pointwise_lin1", GATED, HALVES, within="GraniteSpeech5EncoderConvolutionModule"),
    Fused("kv_proj", KV, HALVES, within="JetMoeAttention"),
    Fused("qk", "q, k", HALVES, within="timm.models.convit.GPSA timm.models.tnt.Attention"),
    Fused("v_gate.c", "v, gate", HALVES, within="timm.models.iformer.SHMA"),
    Fused("dense", "q, k", HALVES, within="PPDocLayoutV2GlobalPointer PPDocLayoutV3GlobalPointer"),
    Fused("qkv", QKV, THIRDS, within="torchvision.models.video.mvit.MultiscaleAttention TimesformerSelfAttention"),
    Fused("qkv_linear", QKV, THIRDS, within="LayoutLMv2SelfAttention"),
    Fused("in_proj", "B, C, x", THIRDS, within="Lfm2ShortConv Lfm2MoeShortConv Lfm3ShortConv Lfm3VlVisionShortConv"),
    Fused("BCdt_proj.conv", "B, C, dt", THIRDS),
)
"""The kinds that are split by numbers."""
