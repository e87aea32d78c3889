"""Schemes whose variance follows from the fans: one primitive, and its named cases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .. import fills
from ..errors import ConfigError, ConfigTypeError, ShapeError, nearest
from ..fans import Fans
from ..fills import Fill, TensorSpec
from .base import Initializer, check_choice, check_number
from .registry import register_initializer

# Standard deviation of a standard normal truncated at +-2.
TRUNCATED_STD = 0.87962566103423978

NONLINEARITIES = (
    *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
)


def fans_of(scheme: object, spec: TensorSpec) -> Fans:
    """The fans of a tensor.

    Raises:
        ShapeError: it has none.
    """
    if spec.fans is None:
        raise ShapeError(
            f"{type(scheme).__name__} needs fan_in and fan_out, and shape {spec.shape} has none: "
            "narrow the rule with layer=, name= or params=, or use Constant, Normal or Uniform for this parameter."
        )
    return spec.fans


def spread(distribution: str, std: float, dtype: torch.dtype) -> Fill:
    """A zero-mean fill of a family with exactly this standard deviation."""
    if distribution == "normal":
        return fills.ComplexNormal(0.0, std) if dtype.is_complex else fills.Normal(0.0, std)
    if distribution == "uniform":
        bound = math.sqrt(3.0) * std
        return fills.Uniform(-bound, bound)
    scale = std / TRUNCATED_STD
    return fills.TruncNormal(0.0, scale, -2 * scale, 2 * scale)


def scaled(distribution: str, gain: float, fan: float, spec: TensorSpec) -> Fill:
    """A zero-mean fill with std gain / sqrt(fan); a tensor without elements has a fan of zero."""
    return spread(distribution, gain / math.sqrt(fan), spec.dtype) if fan and gain else fills.Constant(0.0)


@register_initializer("VarianceScaling")
@dataclass(frozen=True, kw_only=True)
class VarianceScaling(Initializer):
    """Variance `scale / fan`: the primitive of Keras and JAX (`jax.nn.initializers.variance_scaling`).

    Args:
        scale: numerator of the variance.
        mode: "fan_in", "fan_out", or "fan_avg", their mean.
        distribution: "truncated_normal" (at two standard deviations of the parent, whose scale is raised so that
            the variance is as asked), "normal" or "uniform".

    Example:
        >>> from autoinit.fans import torch_fans
        >>> from autoinit.fills import TensorSpec
        >>> fill = VarianceScaling(scale=2.0).fill(
        ...     TensorSpec(shape=(8, 50), fans=torch_fans((8, 50)))
        ... )
        >>> round(fill.std, 6)
        0.2
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"

    def __post_init__(self) -> None:
        check_number(self, "scale", low=0)
        check_choice(self, "mode", ("fan_in", "fan_out", "fan_avg"))
        check_choice(self, "distribution", ("truncated_normal", "normal", "uniform"))

    def fill(self, spec: TensorSpec) -> Fill:
        fans = fans_of(self, spec)
        average = (fans.fan_in + fans.fan_out) / 2
        fan = {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "fan_avg": average}[self.mode]
        return scaled(self.distribution, math.sqrt(self.scale), fan, spec)


@register_initializer("LeCun")
@dataclass(frozen=True, kw_only=True)
class LeCun(Initializer):
    """Variance `1 / fan_in` (LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp").

    Example:
        >>> from autoinit.fans import torch_fans
        >>> from autoinit.fills import TensorSpec
        >>> LeCun(distribution="normal").fill(TensorSpec(shape=(2, 100), fans=torch_fans((2, 100))))
        Normal(mean=0.0, std=0.1)
    """

    distribution: str = "truncated_normal"

    def __post_init__(self) -> None:
        check_choice(self, "distribution", ("truncated_normal", "normal", "uniform"))

    def fill(self, spec: TensorSpec) -> Fill:
        return scaled(self.distribution, 1.0, fans_of(self, spec).fan_in, spec)


@register_initializer("Xavier")
@dataclass(frozen=True, kw_only=True)
class Xavier(Initializer):
    """Variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot, Bengio 2010; `torch.nn.init.xavier_normal_`).

    Example:
        >>> from autoinit.fans import torch_fans
        >>> from autoinit.fills import TensorSpec
        >>> Xavier().fill(TensorSpec(shape=(100, 100), fans=torch_fans((100, 100))))
        Normal(mean=0.0, std=0.1)
    """

    reads = "torch"

    gain: float = 1.0
    distribution: str = "normal"

    def __post_init__(self) -> None:
        check_number(self, "gain", low=0)
        check_choice(self, "distribution", ("normal", "uniform"))

    def fill(self, spec: TensorSpec) -> Fill:
        fans = fans_of(self, spec)
        return scaled(self.distribution, self.gain, (fans.fan_in + fans.fan_out) / 2, spec)


@register_initializer("Kaiming")
@dataclass(frozen=True, kw_only=True)
class Kaiming(Initializer):
    """Variance `gain**2 / fan` with the gain of the nonlinearity (He et al. 2015; `torch.nn.init.kaiming_normal_`).

    Args:
        a: negative slope, for `nonlinearity="leaky_relu"` only.
        mode: "fan_out" (OpenMMLab's default; torch's is "fan_in") or "fan_in".
        nonlinearity: a name that `torch.nn.init.calculate_gain` knows.
        distribution: "normal" or "uniform".

    Example:
        >>> from autoinit.fans import torch_fans
        >>> from autoinit.fills import TensorSpec
        >>> Kaiming(mode="fan_in").fill(TensorSpec(shape=(4, 200), fans=torch_fans((4, 200))))
        Normal(mean=0.0, std=0.1)
    """

    reads = "torch"

    a: float = 0.0
    mode: str = "fan_out"
    nonlinearity: str = "relu"
    distribution: str = "normal"

    def __post_init__(self) -> None:
        check_number(self, "a")
        check_choice(self, "mode", ("fan_in", "fan_out"))
        check_choice(self, "distribution", ("normal", "uniform"))
        if not isinstance(self.nonlinearity, str):
            raise ConfigTypeError(
                f"{type(self).__name__}: nonlinearity={self.nonlinearity!r} must be a string, "
                f"not {type(self.nonlinearity).__name__}."
            )
        self._gain()

    def _gain(self) -> float:
        try:
            return float(torch.nn.init.calculate_gain(self.nonlinearity, self.a))  # type: ignore[arg-type]
        except ValueError as error:
            hint = nearest(self.nonlinearity, NONLINEARITIES)
            known = ", ".join(NONLINEARITIES)
            raise ConfigError(
                f"{type(self).__name__}: nonlinearity={self.nonlinearity!r} has no known gain.{hint} Known: {known}."
            ) from error

    def fill(self, spec: TensorSpec) -> Fill:
        fans = fans_of(self, spec)
        fan = fans.fan_in if self.mode == "fan_in" else fans.fan_out
        return scaled(self.distribution, self._gain(), fan, spec)


@register_initializer("Caffe2Xavier")
@dataclass(frozen=True, kw_only=True)
class Caffe2Xavier(Initializer):
    """Uniform with variance `1 / fan_in`: Caffe2's `XavierFill`, Kaiming with a=1.

    Example:
        >>> from autoinit.fans import torch_fans
        >>> from autoinit.fills import TensorSpec
        >>> print(Caffe2Xavier().fill(TensorSpec(shape=(4, 300), fans=torch_fans((4, 300)))))
        Uniform(low=-0.1, high=0.1)
    """

    reads = "torch"

    def fill(self, spec: TensorSpec) -> Fill:
        return scaled("uniform", 1.0, fans_of(self, spec).fan_in, spec)
