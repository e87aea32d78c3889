"""How the weights of `torch.nn` are read, where that is not as `torch.nn.init` reads them."""

from __future__ import annotations

from torch import nn

from .. import _torch
from .conventions import register_fan
from .layout import Layout

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


@register_fan(_torch.ConvNd)
def _convolution(module: _torch.ConvNd) -> Layout | None:
    # Depthwise, each output reads one channel, and each input is read by one filter.
    return Layout(groups=module.groups, label="groups") if module.groups > 1 else None


@register_fan(_torch.ConvTransposeNd)
def _transposed_convolution(module: _torch.ConvTransposeNd) -> Layout:
    # (in, out / groups, *kernel). The stride, which thins out what an output reads, counts for no convolution.
    return Layout(axes="in,out,...", groups=module.groups, label="transposed")


@register_fan(nn.Embedding)
@register_fan(nn.EmbeddingBag)
def _embedding(module: nn.Embedding | nn.EmbeddingBag) -> Layout:
    # A row is looked up, nothing is summed over the vocabulary. Its width is what the next layer reads, and what
    # tied logits sum over: `flax.linen.Embed` reads both fans so.
    return Layout(axes="out,in", fan_in=module.embedding_dim, fan_out=module.embedding_dim, label="embedding")


@register_fan(nn.Bilinear)
def _bilinear(module: nn.Bilinear) -> Layout:
    # An output sums over all pairs. An input's gradient sums over the outputs and over the other input.
    others = (module.in1_features + module.in2_features) / 2
    fan_in, fan_out = module.in1_features * module.in2_features, module.out_features * others
    return Layout(axes="out,in,in", fan_in=fan_in, fan_out=fan_out, label="bilinear")


@register_fan(nn.RNNBase, params="weight_?h_l*")
def _recurrent(module: nn.RNNBase) -> Layout:
    return Layout(axes="out,in", splits=GATES[module.mode], label="gates")


register_fan(nn.LSTMCell, Layout(axes="out,in", splits=GATES["LSTM"], label="gates"), params="weight_?h")
register_fan(nn.GRUCell, Layout(axes="out,in", splits=GATES["GRU"], label="gates"), params="weight_?h")
register_fan(nn.MultiheadAttention, Layout(axes="out,in", splits=3, label="q, k, v"), params="in_proj_weight")
