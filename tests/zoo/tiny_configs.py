"""Settings that the shrinker cannot guess: fields without a usable default, and sizes that depend on each other."""

from __future__ import annotations

from typing import Any

ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
ROPES = {"full_attention": ROPE, "sliding_attention": ROPE}
SERIES = {"prediction_length": 8, "context_length": 8}
# Its rotary embedding has fixed parts for time, height and width.
ERNIE = {"hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
QWEN3 = {"text_config.shared_expert_intermediate_size": 64, "spatial_merge_size": 2}
QWEN4 = {
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
}
SAPIENS = {
    "upsample_out_channels": [16],
    "upsample_kernel_sizes": [4],
    "conv_out_channels": [16],
    "conv_kernel_sizes": [1],
}
PE = "vit_pe_core_tiny_patch16_384"
NECK = {
    "reduce_channel": [1, 1, 0],
    "return_channel": [1, 1, 0],
    **{
        f"{direction}_{part}": kernel
        for direction in ("vertical_long_to_small_conv", "horizontal_small_to_long_conv", "symmetric_conv_long")
        for part, kernel in (("longratio", [7, 1, 3]), ("midratio", [5, 1, 2]), ("shortratio", [3, 1, 1]))
    },
}


def inside(part: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for name, value in changes.items()}


ARGUMENTS: dict[str, dict[str, Any]] = {
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
            "num_kv_shared_layers": 30,
        }
    }
}
"""By model type: what a config that cannot be made without arguments is made with."""

CHANGES: dict[str, dict[str, Any]] = {
    # Their defaults alone make no model: a field is None or absent that the code does arithmetic with.
    "autoformer": SERIES,
    "informer": SERIES,
    "time_series_transformer": SERIES,
    "aya_vision": {"vision_config.num_attention_heads": 12},
    "chameleon": {"vocabulary_map": {"<image>": 8}},
    "cohere_compass": {"text_config.rope_parameters": ROPES},
    "cohere_compass_text": {"rope_parameters": ROPES},
    "dbrx": {"attn_config.rope_theta": 10_000.0},
    "deepseek_ocr2": {"text_config.mlp_layer_types": ["dense", "sparse"]},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"]},
    "diffusion_gemma": inside("text_config", {"num_experts": 4, "top_k_experts": 1, "moe_intermediate_size": 64}),
    "diffusion_gemma_text": {"num_experts": 4, "top_k_experts": 1, "moe_intermediate_size": 64},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 1},
    "esm": {"vocab_size": 33, "pad_token_id": 1},
    "granite4_vision": {"deepstack_layer_map": [(0, 0), (1, 1)], "downsample_rate": "4/8"},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "hunyuan_vl": {"text_config.head_dim": 16},
    "hunyuan_vl_text": {"head_dim": 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "ministral": {"head_dim": 16},
    "moonshine_streaming": {"num_key_value_heads": 8},
    "nemotron": {"num_key_value_heads": 8},
    "perception_lm": inside("vision_config", {"architecture": PE, "model_args": {"embed_dim": 192}}),
    "pix2struct_text_model": {"initializer_range": 0.02},
    "pp_ocrv5_server_det": {"intraclass_block_config": NECK, "kernel_list": [3, 2, 2]},
    "pp_ocrv6_medium_det": {"intraclass_block_config": NECK, "kernel_list": [3, 2, 2]},
    "qwen3_omni_moe": inside("talker_config", QWEN3),
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 64},
    "qwen4_exp": inside("text_config", QWEN4),
    "qwen4_exp_text": QWEN4,
    "reformer": {"is_decoder": True},
    "t5gemma2_decoder": {"dropout_rate": 0.0},
    "t5gemma2_encoder": inside("text_config", {"dropout_rate": 0.0}),
    "t5gemma2_text": {"dropout_rate": 0.0},
    "timm_backbone": {"backbone": "resnet18"},
    # Sizes that have to fit each other, and do not when they are small.
    "emu3": {"vq_config.base_channels": 32, "vocabulary_map": {"<image>": 8, "<|extra_200|>": 9}},
    "sapiens2": inside("head_config", SAPIENS),
    "vitmatte": {"fusion_hidden_sizes": [16, 8, 4, 2], "convstream_hidden_sizes": [12, 24, 48]},
    "cvt": {"depth": [1, 2, 3]},
    "ernie4_5_vl_moe": inside("text_config", ERNIE),
    "ernie4_5_vl_moe_text": ERNIE,
    "gemma4_assistant": {"text_config.num_kv_shared_layers": 0},
    "gemma4_unified_assistant": {"text_config.num_kv_shared_layers": 0},
    "layoutlmv3": {"coordinate_size": 8, "shape_size": 8, "input_size": 224, "has_spatial_attention_bias": False},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "hybrid"]},
    # Models of timm, of hundreds of millions of parameters, inside.
    "fast_vlm": {"vision_config.architecture": "fastvit_t8"},
    "gemma3n": {"vision_config.architecture": "mobilenetv5_base"},
    "gemma3n_vision": {"architecture": "mobilenetv5_base"},
    "pe_audio_video": {"audio_video_config.video_config.vision_config.architecture": PE},
    "pe_audio_video_encoder": {"video_config.vision_config.architecture": PE},
    "pe_video": {"video_config.vision_config.architecture": PE},
    "pe_video_encoder": {"vision_config.architecture": PE},
}
"""By model type: attributes that are set after shrinking, those of inner configs by dotted names."""
