"""Schemes of whole matrices and convolutions: a tensor's elements depend on each other."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from .. import fills
from ..errors import ConfigError, ConfigTypeError, ShapeError
from ..fills import Fill, TensorSpec
from .given_numbers import number
from .initializer import Initializer, unfit
from .registry import register_initializer


@register_initializer("Orthogonal")
@dataclass(frozen=True, kw_only=True)
class Orthogonal(Initializer):
    """A (semi-)orthogonal matrix times `gain` (Saxe, McClelland, Ganguli 2013; `torch.nn.init.orthogonal_`).

    Axes after the first are flattened.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> Orthogonal(gain=2).fill(TensorSpec(shape=(4, 16))).std
        0.5
    """

    gain: float = number(1.0)

    def fill(self, spec: TensorSpec) -> Fill:
        if len(spec.shape) < 2:
            raise unfit(self, spec, "at least 2 dimensions", len(spec.shape))
        if not spec.numel:
            return fills.Constant(0.0)
        return fills.Orthogonal(self.gain, spec.shape[0], math.prod(spec.shape[1:]))


@register_initializer("DeltaOrthogonal")
@dataclass(frozen=True, kw_only=True)
class DeltaOrthogonal(Initializer):
    """A convolution whose kernel is an orthogonal matrix times `gain` at its centre and zero elsewhere.

    It preserves norms, so a layer needs at least as many output channels as input channels. 3, 4 or 5 dimensions.

    Source: Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington 2018, "Dynamical isometry and a mean field theory of
    CNNs", algorithm 1; `jax.nn.initializers.delta_orthogonal`.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> DeltaOrthogonal(gain=2).fill(TensorSpec(shape=(16, 4, 3, 3)))
        DeltaOrthogonal(gain=2.0, rows=16, columns=4)
    """

    gain: float = number(1.0)

    def fill(self, spec: TensorSpec) -> Fill:
        if not 3 <= len(spec.shape) <= 5:
            raise unfit(self, spec, "3 or 4 or 5 dimensions", len(spec.shape))
        if not spec.numel:
            return fills.Constant(0.0)
        rows, columns, *kernel = spec.shape
        if rows < columns:
            raise ShapeError(
                f"DeltaOrthogonal needs at least as many output channels as input channels, and shape {spec.shape} has "
                f"{rows} and {columns}: no such convolution preserves norms. Use Orthogonal for it."
            )
        return fills.DeltaOrthogonal(self.gain, rows, columns, math.prod(kernel))


@register_initializer("Dirac")
@dataclass(frozen=True, kw_only=True)
class Dirac(Initializer):
    """A convolution that passes its input channels through (`torch.nn.init.dirac_`): 3, 4 or 5 dimensions.

    Args:
        groups: those of the layer.
    """

    reads = "torch"

    groups: int = 1

    def __post_init__(self) -> None:
        label = f"Dirac: groups={self.groups!r}"
        if isinstance(self.groups, bool) or not isinstance(self.groups, numbers.Integral):
            raise ConfigTypeError(f"{label} must be an integer, not {type(self.groups).__name__}.")
        if self.groups < 1:
            raise ConfigError(f"{label} must be at least 1.")

    def fill(self, spec: TensorSpec) -> Fill:
        if not 3 <= len(spec.shape) <= 5:
            raise unfit(self, spec, "3 or 4 or 5 dimensions", len(spec.shape))
        if spec.shape[0] % self.groups:
            raise ShapeError(f"Dirac: {spec.shape[0]} output channels do not divide into groups={self.groups}.")
        return fills.Dirac(self.groups) if spec.numel else fills.Constant(0.0)


@register_initializer("Eye")
@dataclass(frozen=True, kw_only=True)
class Eye(Initializer):
    """The identity matrix times `gain` (`torch.nn.init.eye_`, Keras's `Identity`): 2 dimensions."""

    gain: float = number(1.0)

    def fill(self, spec: TensorSpec) -> Fill:
        if len(spec.shape) != 2:
            raise unfit(self, spec, "2 dimensions", len(spec.shape))
        return fills.Eye(self.gain)


@register_initializer("Sparse")
@dataclass(frozen=True, kw_only=True)
class Sparse(Initializer):
    """In each column a fraction of zeros, elsewhere normal (Martens 2010; `torch.nn.init.sparse_`): 2 dimensions.

    Example:
        >>> from autoinit.fills import TensorSpec
        >>> Sparse(sparsity=0.25).fill(TensorSpec(shape=(8, 4))).zeros_per_column
        2
    """

    sparsity: float = number(low=0, high=1)
    std: float = number(0.01, low=0)

    def fill(self, spec: TensorSpec) -> Fill:
        if len(spec.shape) != 2:
            raise unfit(self, spec, "2 dimensions", len(spec.shape))
        return fills.Sparse(self.sparsity, self.std, spec.shape[0])
