"""The layers that are known to hold several maps: attention, gated and mixing layers of transformers, timm and others.

Sizes are those of the code that splits the layer's output. A kind fits where the numbers that it names are there and
make up the whole layer, so it holds for copies of that code elsewhere, too. The first that fits counts.
"""

from __future__ import annotations

from .fused import Sizes, fused, fused_by_siblings

QKV = "q, k, v"
GATED = "gate, up"
ATTENTION = "qkv Wqkv qkv_linear to_qkv att_proj c_attn query_key_value in_proj qkv_proj"
READERS = "proj projection o_proj c_proj out_proj dense Wo wo merge to_out project o"

fused_by_siblings(ATTENTION, READERS, count=3, parts=QKV)
fused_by_siblings("kv to_kv kv_proj linear_kv", READERS, count=2, parts="k, v")
fused_by_siblings("gate_up_proj", "down_proj", count=2, parts=GATED)
fused_by_siblings("Wi", "Wo", count=2, parts=GATED)
fused_by_siblings("input_linear", "output_linear", count=2, parts=GATED)
fused_by_siblings("proj_up_gate_z", "proj_down", count=2, parts=GATED)
fused_by_siblings("fc1", "fc2", count=2, parts=GATED)
fused_by_siblings("linear1", "linear2", count=2, parts=GATED)
fused_by_siblings("linear_1", "linear_2", count=2, parts=GATED)
fused_by_siblings("linear_start", "linear_end", count=2, parts=GATED)
fused_by_siblings("up_conv", "down_conv", count=2, parts=GATED)
fused_by_siblings("pointwise_conv1", "depthwise_conv", count=2, parts=GATED)


@fused(
    "query_key_value", parts=QKV, within="BloomAttention GPTNeoXAttention GPTNeoXJapaneseAttention PersimmonAttention"
)
@fused("qkv_proj", parts=QKV, within="MiniMaxLightningAttention")
@fused("in_proj", parts=QKV, within="DisentangledSelfAttention")
@fused("proj", parts=QKV, within="EsmFoldSelfAttention")
@fused("pwise", parts=QKV)
def _per_head(num_heads: int, head_dim: int) -> Sizes:
    return [head_dim] * 3, num_heads


@fused("qkv", parts=QKV)
def _head_first(num_heads: int, head_dim: int, head_first: bool) -> Sizes:
    return ([head_dim] * 3, num_heads) if head_first else ([num_heads * head_dim] * 3, 1)


@fused("qkv_proj", parts="q, v, k", within="CodeGenAttention")
def _codegen(num_heads: int, head_dim: int) -> Sizes:
    # Four groups, for as many TPU cores.
    return [num_heads * head_dim // 4] * 3, 4


@fused("query_key_value", parts=QKV)
def _falcon(num_heads: int, head_dim: int, num_kv_heads: int, new_decoder_architecture: bool) -> Sizes:
    if new_decoder_architecture:
        return [num_heads // num_kv_heads * head_dim, head_dim, head_dim], num_kv_heads
    return ([num_heads * head_dim, head_dim, head_dim], 1) if num_kv_heads == 1 else ([head_dim] * 3, num_heads)


@fused("c_attn", parts=QKV, within="GPTBigCodeAttention")
def _gpt_bigcode(embed_dim: int, kv_dim: int, num_heads: int, head_dim: int, multi_query: bool) -> Sizes:
    return ([embed_dim, kv_dim, kv_dim], 1) if multi_query else ([head_dim] * 3, num_heads)


@fused("qkv_proj", "Wqkv", "qkv", parts=QKV)
def _grouped_query(num_heads: int, num_key_value_heads: int, head_dim: int) -> Sizes:
    return [num_heads * head_dim, num_key_value_heads * head_dim, num_key_value_heads * head_dim], 1


@fused("qkv", parts=QKV)
def _grouped_query_dims(q_dim: int, kv_dim: int) -> Sizes:
    return [q_dim, kv_dim, kv_dim], 1


@fused(
    "q_proj", parts="q, gate", within="Qwen3NextAttention Qwen3_5Attention Qwen3_5MoeAttention Qwen4ExpTextAttention"
)
def _gated_query(num_heads: int, head_dim: int) -> Sizes:
    return [head_dim] * 2, num_heads


@fused("kv_a_proj_with_mqa", parts="latent, rotary")
def _latent(kv_lora_rank: int, qk_rope_head_dim: int) -> Sizes:
    return [kv_lora_rank, qk_rope_head_dim], 1


@fused("kv_b_proj", parts="k, v")
def _from_latent(num_heads: int, qk_nope_head_dim: int, v_head_dim: int) -> Sizes:
    return [qk_nope_head_dim, v_head_dim], num_heads


@fused("q_gate_proj", parts="q, gate")
def _gated_latent_query(num_heads: int, qk_head_dim: int, v_head_dim: int) -> Sizes:
    return [qk_head_dim, v_head_dim], num_heads


@fused("qkv", "qkv.linear", parts=QKV)
def _narrow_keys(num_heads: int, key_dim: int, val_dim: int) -> Sizes:
    return [key_dim, key_dim, val_dim], num_heads


@fused("kv.linear", parts="k, v")
def _narrow_keys_of_values(num_heads: int, key_dim: int, val_dim: int) -> Sizes:
    return [key_dim, val_dim], num_heads


@fused("queries_keys_values.linear", parts=QKV)
def _levit(num_heads: int, key_dim: int, attention_ratio: float) -> Sizes:
    return [key_dim, key_dim, attention_ratio * key_dim], num_heads


@fused("keys_values.linear", parts="k, v")
def _levit_subsample(num_heads: int, key_dim: int, attention_ratio: float) -> Sizes:
    return [key_dim, attention_ratio * key_dim], num_heads


@fused("kv", parts="k, v")
def _halo(num_heads: int, dim_head_qk: int, dim_head_v: int) -> Sizes:
    return [dim_head_qk, dim_head_v], num_heads


@fused("qkv", parts=QKV)
def _bottleneck(dim_out_qk: int, dim_out_v: int) -> Sizes:
    return [dim_out_qk, dim_out_qk, dim_out_v], 1


@fused("qkv", parts=QKV)
def _lambda(num_heads: int, dim_qk: int, dim_v: int) -> Sizes:
    return [num_heads * dim_qk, dim_qk, dim_v], 1


@fused("qkvs.*.conv", parts=QKV)
def _cascaded(key_dim: int, val_dim: int) -> Sizes:
    return [key_dim, key_dim, val_dim], 1


@fused("qkv.c", parts=QKV)
def _single_head(qk_dim: int, pdim: int) -> Sizes:
    return [qk_dim, qk_dim, pdim], 1


@fused("qkv_proj", parts=QKV, within="LinearSelfAttention")
def _mobilevit(embed_dim: int) -> Sizes:
    return [1, embed_dim, embed_dim], 1


@fused("in_proj", parts="mlp, q, k, v", within="ParallelScalingBlock")
def _parallel_block(out: int, num_heads: int, head_dim: int) -> Sizes:
    width = num_heads * head_dim
    return [out - 3 * width, width, width, width], 1


@fused("in_proj", parts="mlp, q, k, v", within="DiffParallelScalingBlock")
def _differential_block(out: int, num_heads: int, head_dim: int) -> Sizes:
    # Each head has two queries and two keys, and values that are twice as wide.
    return _parallel_block(out, num_heads, 2 * head_dim)


@fused("in_proj", parts="x, gate", within="ZambaMambaMixer")
def _zamba(intermediate_size: int) -> Sizes:
    return [1, 1], intermediate_size


@fused("in_proj", parts="x, gate")
def _mamba(intermediate_size: int, ssm_state_size: int) -> Sizes:
    return [intermediate_size] * 2, 1


@fused("in_proj", parts="gate, x, B, C, dt")
def _mamba2(intermediate_size: int, n_groups: int, ssm_state_size: int, num_heads: int) -> Sizes:
    state = n_groups * ssm_state_size
    return [intermediate_size, intermediate_size, state, state, num_heads], 1


@fused("x_proj", parts="dt, B, C")
def _mamba_dynamics(time_step_rank: int, ssm_state_size: int) -> Sizes:
    return [time_step_rank, ssm_state_size, ssm_state_size], 1


@fused("in_proj_qkv", parts=QKV)
def _delta_net(key_dim: int, value_dim: int) -> Sizes:
    return [key_dim, key_dim, value_dim], 1


@fused("in_proj_qkvz", parts="q, k, v, z")
def _gated_delta_net(num_k_heads: int, num_v_heads: int, head_k_dim: int, head_v_dim: int) -> Sizes:
    value = num_v_heads // num_k_heads * head_v_dim
    return [head_k_dim, head_k_dim, value, value], num_k_heads


@fused("in_proj_ba", parts="b, a")
def _gated_delta_net_rates(num_k_heads: int, num_v_heads: int) -> Sizes:
    return [num_v_heads // num_k_heads] * 2, num_k_heads


@fused("linear_kv", parts="k, v", within="EsmFoldInvariantPointAttention")
def _pairs_of_heads(num_heads: int, hidden_dim: int) -> Sizes:
    return [hidden_dim] * 2, num_heads


@fused("index_qk_proj", parts="q, k")
def _indexer(index_n_heads: int, index_kv_heads: int, index_head_dim: int) -> Sizes:
    return [index_n_heads * index_head_dim, index_kv_heads * index_head_dim], 1


@fused("qkv_opreact", parts="q, k, v, o")
def _xlstm(qk_dim: int, v_dim: int) -> Sizes:
    return [qk_dim, qk_dim, v_dim, v_dim], 1


@fused("ifgate_preact", parts="i, f")
def _xlstm_gates(num_heads: int) -> Sizes:
    return [num_heads] * 2, 1


@fused("f", "projection_in", parts="q, context, gates")
def _focal(dim: int, focal_level: int) -> Sizes:
    return [dim, dim, focal_level + 1], 1


@fused("conv", parts=GATED, within="Data2VecAudioAdapterLayer Wav2Vec2AdapterLayer Wav2Vec2ConformerAdapterLayer")
@fused("conv", parts=GATED, within="WavLMAdapterLayer")
@fused("conv_layers.*", parts=GATED, within="Conv1dSubsampler")
@fused("residual_conv", "self_attn_conv", parts=GATED, within="SeamlessM4TConformerAdapterLayer")
@fused("residual_conv", "self_attn_conv", parts=GATED, within="SeamlessM4Tv2ConformerAdapterLayer")
@fused("ext_pw_conv_1d", parts=GATED, within="Phi4MultimodalAudioGluPointWiseConv")
@fused("proj", parts=GATED, within="ClvpGatedLinearUnit")
@fused("linear_1", parts=GATED, within="AyaVisionMultiModalProjector Cohere2VisionMultiModalProjector")
@fused("gate", parts="gate, gate", within="DFineGate Deimv2Gate")
@fused("pointwise_lin1", parts=GATED, within="GraniteSpeech5EncoderConvolutionModule")
@fused("kv_proj", parts="k, v", within="JetMoeAttention")
@fused("qk", parts="q, k", within="timm.models.convit.GPSA timm.models.tnt.Attention")
@fused("v_gate.c", parts="v, gate", within="timm.models.iformer.SHMA")
@fused("dense", parts="q, k", within="PPDocLayoutV2GlobalPointer PPDocLayoutV3GlobalPointer")
def _halves(out: int) -> Sizes:
    return [out / 2] * 2, 1


@fused("qkv", parts=QKV, within="torchvision.models.video.mvit.MultiscaleAttention")
@fused("qkv", parts=QKV, within="TimesformerSelfAttention")
@fused("qkv_linear", parts=QKV, within="LayoutLMv2SelfAttention")
@fused("in_proj", parts="B, C, x", within="Lfm2ShortConv Lfm2MoeShortConv Lfm3ShortConv Lfm3VlVisionShortConv")
@fused("BCdt_proj.conv", parts="B, C, dt")
def _thirds(out: int) -> Sizes:
    return [out / 3] * 3, 1
