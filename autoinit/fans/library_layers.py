"""How weights of transformers and timm are read whose axes are not in torch's order, by the names of their classes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

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


@register_fan(nn.Module, params="gate_up_proj")
def _gate_and_up(module: nn.Module) -> Layout | None:
    layout, shape = _stacked(module, "gate_up_proj"), _shape(module, "gate_up_proj")
    if layout is None or shape is None:
        return None
    # gpt-oss alternates: a row of the gate, then one of what it gates.
    alternates = module.__dict__.get("is_concatenated") is False
    repeats = shape[2 if layout.axes.endswith("out") else 1] // 2 if alternates else 1
    return replace(layout, splits=2, repeats=repeats, label=f"{layout.label} gate, up")


def _stacked(module: nn.Module, name: str) -> Layout | None:
    """How a parameter of stacked experts is read, as transformers and copies of it call them; None if not certain.

    A module of transformers says itself what it does (`is_transposed`, `is_concatenated`, as
    `transformers.integrations.moe` sets them). Others are told by the shapes, which fit one order only: what goes down
    is as wide as half of what goes up.
    """
    if _shape(module, name) is None:
        return None
    told = module.__dict__.get("is_transposed")
    if isinstance(told, bool):
        return STACKED_IN_OUT if told else STACKED
    gate_up, down = _shape(module, "gate_up_proj"), _shape(module, "down_proj")
    if gate_up is None or down is None:
        return None
    if gate_up[1:] == (2 * down[2], down[1]):
        return STACKED
    return STACKED_IN_OUT if gate_up[1:] == (down[2], 2 * down[1]) else None


def _shape(module: nn.Module, name: str) -> tuple[int, ...] | None:
    param = module._parameters.get(name)
    return tuple(param.shape) if param is not None and not is_lazy(param) and param.dim() == 3 else None


register_fan(nn.Module, params="up_proj")(partial(_stacked, name="up_proj"))
register_fan(nn.Module, params="down_proj")(partial(_stacked, name="down_proj"))
