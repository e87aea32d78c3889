"""How weights of transformers and timm are read whose axes are not in torch's order, by the names of their classes."""

from __future__ import annotations

import math
from typing import Any

from .conventions import register_fan
from .layout import Layout

IN_OUT = Layout(axes="in,out", label="in,out")
STACKED = Layout(axes="expert,out,in", label="experts out,in")
STACKED_IN_OUT = Layout(axes="expert,in,out", label="experts in,out")

register_fan("transformers.pytorch_utils.Conv1D", Layout(axes="in,out", label="Conv1D"))
for _layer, _param in (
    ("Gemma3MultiModalProjector", "mm_input_projection_weight"),
    ("T5Gemma2MultiModalProjector", "mm_input_projection_weight"),
    ("XCLIPModel", "prompts_visual_projection"),
    ("OmDetTurboLanguageBackbone", "text_projection"),
    ("InklingRelativeLogits", "proj"),
    ("Inkling2RelativeLogits", "proj"),
    ("AMSoftmaxLoss", "weight"),
    ("SwiftFormerEfficientAdditiveAttention", "w_g"),
    ("timm.models.swiftformer.EfficientAdditiveAttention", "w_g"),
    ("timm.layers.attention2d.MultiQueryAttentionV2", "key_proj"),
    ("timm.layers.attention2d.MultiQueryAttentionV2", "value_proj"),
):
    register_fan(_layer, IN_OUT, params=_param)
for _layer, _param in (
    ("JetMoeParallelExperts", "weight"),
    ("MoshiFlexibleLinear", "weight"),
    ("KyutaiSpeechToTextFlexibleLinear", "weight"),
    ("InklingSharedExperts", "*_proj"),
    ("ZambaMambaMixer", "dt_proj_weight"),
):
    register_fan(_layer, STACKED, params=_param)
for _layer, _param in (
    ("CsmCodebooksHead", "weight"),
    ("EsmFold2ConfidenceHead", "plddt_weight"),
    ("EsmFold2ConfidenceHead", "resolved_weight"),
    ("RecurrentGemmaRglru", "*_gate_weight"),
    ("GroupedLinearLayer", "weight"),
    ("timm.layers.ml_decoder.MLDecoder", "duplicate_pooling"),
):
    register_fan(_layer, STACKED_IN_OUT, params=_param)
for _param in "qkvr":
    register_fan("XLNetRelativeAttention", Layout(axes="in,out,out", label="in,heads,out"), params=_param)
register_fan("XLNetRelativeAttention", Layout(axes="out,in,in", label="out,heads,in"), params="o")
register_fan("FunnelRelMultiheadAttention", Layout(axes="in,out,out", label="in,heads,out"), params="r_kernel")


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
