"""Schemes whose variance follows from the fans."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .. import fills
from ..fans import Fans
from ..fills import Fill, TensorSpec
from .given_numbers import number
from .initializer import Initializer, choice, unfit
from .other_names import NO_GAIN, folded
from .registry import register_initializer

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal truncated at +-2."""

NONLINEARITIES = (
    *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
)


def _gain_hint(activation: str) -> str:
    """The nonlinearity to name for an activation without a known gain; or nothing."""
    word = folded(activation)
    if word in ("identity", "none"):
        return " Use 'linear'."
    return f" Use 'relu', the usual choice for {activation}." if word in NO_GAIN else ""


@dataclass(frozen=True, kw_only=True)
class _ByFan(Initializer):
    """Zero mean, std gain / sqrt(fan), and the distribution of a field of that name, if there is one."""

    def _gain_and_fan(self, fans: Fans) -> tuple[float, float]:
        return 1.0, fans.fan_in

    def fill(self, spec: TensorSpec) -> Fill:
        if spec.fans is None:
            raise unfit(self, spec, "fan_in and fan_out", "none")
        gain, fan = self._gain_and_fan(spec.fans)
        if not (gain and fan):  # A tensor without elements has a fan of zero.
            return fills.Constant(0.0)
        std, distribution = gain / math.sqrt(fan), getattr(self, "distribution", "uniform")
        if distribution == "normal":
            return fills.ComplexNormal(0.0, std) if spec.dtype.is_complex else fills.Normal(0.0, std)
        if distribution == "uniform":
            bound = math.sqrt(3.0) * std
            return fills.Uniform(-bound, bound)
        scale = std / TRUNCATED_STD
        return fills.TruncNormal(0.0, scale, -2 * scale, 2 * scale)


@register_initializer("VarianceScaling")
@dataclass(frozen=True, kw_only=True)
class VarianceScaling(_ByFan):
    """Variance `scale / fan`: the primitive of Keras and JAX (`jax.nn.initializers.variance_scaling`).

    Args:
        scale: numerator of the variance.
        mode: "fan_in", "fan_out", "fan_avg" (their mean) or "fan_geo_avg" (their geometric mean).
        distribution: "truncated_normal" (at two standard deviations of the parent, whose scale is raised so that
            the variance is as asked), "normal" or "uniform".

    Example:
        >>> from autoinit.initializers import resolve
        >>> round(resolve(VarianceScaling(scale=2.0), (8, 50), torch.float32).fill.std, 6)
        0.2
    """

    scale: float = number(1.0, low=0)
    mode: str = choice("fan_in", ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"))
    distribution: str = choice("truncated_normal", ("truncated_normal", "normal", "uniform"))

    def _gain_and_fan(self, fans: Fans) -> tuple[float, float]:
        by_mode = {
            "fan_in": fans.fan_in,
            "fan_out": fans.fan_out,
            "fan_avg": (fans.fan_in + fans.fan_out) / 2,
            "fan_geo_avg": math.sqrt(fans.fan_in * fans.fan_out),
        }
        return math.sqrt(self.scale), by_mode[self.mode]


@register_initializer("LeCun")
@dataclass(frozen=True, kw_only=True)
class LeCun(_ByFan):
    """Variance `1 / fan_in` (LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp")."""

    distribution: str = choice("truncated_normal", ("truncated_normal", "normal", "uniform"))


@register_initializer("Xavier")
@dataclass(frozen=True, kw_only=True)
class Xavier(_ByFan):
    """Variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot, Bengio 2010; `torch.nn.init.xavier_normal_`)."""

    reads = "torch"

    gain: float = number(1.0, low=0)
    distribution: str = choice("normal", ("normal", "uniform"))

    def _gain_and_fan(self, fans: Fans) -> tuple[float, float]:
        return self.gain, (fans.fan_in + fans.fan_out) / 2


@register_initializer("Kaiming")
@dataclass(frozen=True, kw_only=True)
class Kaiming(_ByFan):
    """Variance `gain**2 / fan` with the gain of the nonlinearity (He et al. 2015; `torch.nn.init.kaiming_normal_`).

    Args:
        a: negative slope, for `nonlinearity="leaky_relu"` only.
        mode: "fan_out" (OpenMMLab's default; torch's is "fan_in") or "fan_in".
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows.
        distribution: "normal" or "uniform".

    Example:
        >>> from autoinit.initializers import resolve
        >>> resolve(Kaiming(mode="fan_in"), (4, 200), torch.float32).fill
        Normal(mean=0.0, std=0.1)
    """

    reads = "torch"

    a: float = number(0.0)
    mode: str = choice("fan_out", ("fan_in", "fan_out"))
    nonlinearity: str = choice("relu", NONLINEARITIES, "has no known gain", _gain_hint)
    distribution: str = choice("normal", ("normal", "uniform"))

    def _gain_and_fan(self, fans: Fans) -> tuple[float, float]:
        gain = torch.nn.init.calculate_gain(self.nonlinearity, self.a)  # type: ignore[arg-type]
        return gain, fans.fan_in if self.mode == "fan_in" else fans.fan_out


@register_initializer("Caffe2Xavier")
@dataclass(frozen=True, kw_only=True)
class Caffe2Xavier(_ByFan):
    """Uniform with variance `1 / fan_in`: Caffe2's `XavierFill`, Kaiming with a=1."""

    reads = "torch"
