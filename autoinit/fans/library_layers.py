"""How weights of transformers and timm are read whose axes are not in torch's order, by the names of their classes."""

from __future__ import annotations

import math
from typing import Any

from .conventions import register_fan
from .layout import Layout

IN_OUT = Layout(axes="in,out", label="in,out")
STACKED = Layout(axes="expert,out,in", label="experts out,in")
STACKED_IN_OUT = Layout(axes="expert,in,out", label="experts in,out")
IN_HEADS_OUT = Layout(axes="in,out,out", label="in,heads,out")

for _layer, _param, _layout in (
    ("transformers.pytorch_utils.Conv1D", "weight", Layout(axes="in,out", label="Conv1D")),
    ("Gemma3MultiModalProjector", "mm_input_projection_weight", IN_OUT),
    ("T5Gemma2MultiModalProjector", "mm_input_projection_weight", IN_OUT),
    ("XCLIPModel", "prompts_visual_projection", IN_OUT),
    ("OmDetTurboLanguageBackbone", "text_projection", IN_OUT),
    ("InklingRelativeLogits", "proj", IN_OUT),
    ("Inkling2RelativeLogits", "proj", IN_OUT),
    ("AMSoftmaxLoss", "weight", IN_OUT),
    ("SwiftFormerEfficientAdditiveAttention", "w_g", IN_OUT),
    ("timm.models.swiftformer.EfficientAdditiveAttention", "w_g", IN_OUT),
    ("timm.layers.attention2d.MultiQueryAttentionV2", "key_proj", IN_OUT),
    ("timm.layers.attention2d.MultiQueryAttentionV2", "value_proj", IN_OUT),
    ("JetMoeParallelExperts", "weight", STACKED),
    ("MoshiFlexibleLinear", "weight", STACKED),
    ("KyutaiSpeechToTextFlexibleLinear", "weight", STACKED),
    ("InklingSharedExperts", "*_proj", STACKED),
    ("ZambaMambaMixer", "dt_proj_weight", STACKED),
    ("CsmCodebooksHead", "weight", STACKED_IN_OUT),
    ("EsmFold2ConfidenceHead", "plddt_weight", STACKED_IN_OUT),
    ("EsmFold2ConfidenceHead", "resolved_weight", STACKED_IN_OUT),
    ("RecurrentGemmaRglru", "*_gate_weight", STACKED_IN_OUT),
    ("GroupedLinearLayer", "weight", STACKED_IN_OUT),
    ("timm.layers.ml_decoder.MLDecoder", "duplicate_pooling", STACKED_IN_OUT),
    ("XLNetRelativeAttention", "[qkvr]", IN_HEADS_OUT),
    ("XLNetRelativeAttention", "o", Layout(axes="out,in,in", label="out,heads,in")),
    ("FunnelRelMultiheadAttention", "r_kernel", IN_HEADS_OUT),
):
    register_fan(_layer, _layout, params=_param)


@register_fan("DbrxExpertGLU", params="[wv]1")
def _dbrx_up(module: Any) -> Layout:
    return Layout(axes="out,in", groups=module.moe_num_experts, label="experts out,in")


@register_fan("DbrxExpertGLU", params="w2")
def _dbrx_down(module: Any) -> Layout:
    return Layout(axes="in,out", groups=module.moe_num_experts, label="experts in,out")


@register_fan("DeepseekV4GroupedLinear")
def _block_diagonal(module: Any) -> Layout:
    return Layout(axes="out,in", groups=module.n_groups, label="groups")


@register_fan("ZambaMambaMixer", params="x_proj_weight")
def _zamba_dynamics(module: Any) -> Layout:
    sizes = (module.time_step_rank, module.ssm_state_size, module.ssm_state_size)
    return Layout(axes="expert,out,in", splits=sizes, label="dt, B, C")


@register_fan("timm.layers.cond_conv2d.CondConv2d")
def _conditional_convolution(module: Any) -> Layout:
    # (experts, all values of one expert's kernel), mixed and folded to `weight_shape` in forward.
    out, in_, *kernel = module.weight_shape
    field = math.prod(kernel)
    return Layout(fan_in=in_ * field, fan_out=out // module.groups * field, label="CondConv2d")
