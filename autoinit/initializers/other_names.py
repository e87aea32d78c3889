"""Names of initializers in torch.nn.init, Keras, JAX, Caffe2 and papers, with what a config says for each."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KAIMING = dict(type="Kaiming", mode="fan_in", nonlinearity="leaky_relu")
_HE_SCALING = dict(type="VarianceScaling", scale=2, mode="fan_in")

_OTHER_NAMES: Mapping[str, Mapping[str, object]] = {
    # torch.nn.init; its kaiming_* have nonlinearity="leaky_relu", which reads `a`.
    "xavieruniform": dict(type="Xavier", distribution="uniform"),
    "xaviernormal": dict(type="Xavier", distribution="normal"),
    "kaiminguniform": dict(_KAIMING, distribution="uniform"),
    "kaimingnormal": dict(_KAIMING, distribution="normal"),
    # Keras and JAX, whose normals of He, Glorot and LeCun are truncated.
    "henormal": dict(_HE_SCALING, distribution="truncated_normal"),
    "heuniform": dict(_HE_SCALING, distribution="uniform"),
    "glorotnormal": dict(type="VarianceScaling", mode="fan_avg", distribution="truncated_normal"),
    "glorotuniform glorot": dict(type="Xavier", distribution="uniform"),
    "lecunnormal": dict(type="LeCun", distribution="truncated_normal"),
    "lecununiform": dict(type="LeCun", distribution="uniform"),
    "randomnormal": dict(type="Normal", std=0.05),
    "randomuniform": dict(type="Uniform", a=-0.05, b=0.05),
    "truncatednormal truncnormaltf": dict(type="TruncNormal", std=0.02, a=-0.04, b=0.04),
    # Caffe, Caffe2, fvcore and timm.
    "gaussian": dict(type="Normal", std=0.01),
    "msrafill c2msrafill": dict(type="Kaiming", mode="fan_out"),
    "xavierfill c2xavierfill": dict(type="Caffe2Xavier"),
    # Papers and plain words.
    "he msra": dict(type="Kaiming", mode="fan_in"),
    "eye identity": dict(type="Eye"),
    "zero zeros": dict(type="Constant", val=0),
    "one ones": dict(type="Constant", val=1),
    "none skip noop nothing": dict(type="Keep"),
    "checkpoint load frompretrained loadcheckpoint": dict(type="Pretrained", checkpoint="model.pth"),
}
OTHER_NAMES = {name: keys for names, keys in _OTHER_NAMES.items() for name in names.split()}
"""From a folded name (see `folded`) to the keys of a rule."""

NO_GAIN = ("gelu", "silu", "swish", "mish", "elu", "celu", "hardswish", "softplus", "relu6", "glu", "swiglu", "geglu")
"""Activations that `torch.nn.init.calculate_gain` does not know; "relu" is the usual choice for them."""

ACTIVATIONS = (*NO_GAIN, "relu", "leakyrelu", "prelu", "selu", "tanh", "sigmoid")


def folded(name: str) -> str:
    """A name without its package, case, underscores and the word initializer.

    Example:
        >>> folded("nn.init.xavier_uniform_"), folded("HeNormal"), folded("ones_init")
        ('xavieruniform', 'henormal', 'ones')
    """
    word = re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())
    return re.sub(r"(?<=.)(initializer|init)$", "", word)


def other_name_hint(name: str) -> str:
    """The keys to write instead of a name of torch, another library or a paper, as a sentence; empty if unknown.

    Example:
        >>> other_name_hint("xavier_uniform_")
        " Write type='Xavier', distribution='uniform'."
        >>> other_name_hint("Kaimming")
        ''
    """
    word = folded(name)
    keys = OTHER_NAMES.get(word)
    if keys is not None:
        written = ", ".join(f"{key}={value!r}" for key, value in keys.items())
        return f" Write {written}.{' For convolutions: Dirac.' if word == 'identity' else ''}"
    if word in ACTIVATIONS:
        gain = {"leakyrelu": "leaky_relu", "prelu": "leaky_relu", **dict.fromkeys(NO_GAIN, "relu")}.get(word, word)
        return f" It is an activation. Write type='Kaiming', nonlinearity={gain!r} for the layers before it."
    return ""
