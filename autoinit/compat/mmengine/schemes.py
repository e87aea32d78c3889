"""The schemes as functions of a module: `KaimingInit(layer="Conv2d")(model)`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from ...initializers import (
    Caffe2Xavier,
    Constant,
    Initializer,
    Kaiming,
    Normal,
    Pretrained,
    TruncNormal,
    Uniform,
    Xavier,
)
from ...rules import Rule
from .base_init import BaseInit
from .carrying_out import carry_out


class Filling(BaseInit):
    """A scheme for the weights of the modules in `layer`, with a constant for their biases."""

    @abstractmethod
    def scheme(self) -> Initializer:
        """What the attributes mean now; they may be assigned to."""

    def __call__(self, module: nn.Module) -> None:
        """Fill the module's part in `layer`, itself included; all of it if `wholemodule` is set.

        Raises:
            ConfigError, ShapeError: nothing was changed.
        """
        if self.wholemodule or self.layer:
            selector: dict[str, Any] = {"name": ("**",)} if self.wholemodule else {"layer": self.layer}
            rule = Rule(initializer=self.scheme(), bias=float(self.bias), padding="fill", origin=self._name, **selector)
            # `model.apply(self)` calls this for every module, so that a module without such layers is the rule.
            carry_out(module, (rule,), "ignore")


class ConstantInit(Filling):
    """Constant weights; see `autoinit.initializers.Constant`. `kwargs` are those of `BaseInit`.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Conv2d(1, 1, 1))
        >>> _ = model.apply(ConstantInit(val=3, bias=4, layer="Linear"))
        >>> model[0].weight.item(), model[0].bias.item(), model[1].weight.item() == 3
        (3.0, 4.0, False)
    """

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = val

    def scheme(self) -> Initializer:
        return Constant(val=self.val)


class XavierInit(Filling):
    """See `autoinit.initializers.Xavier`; `kwargs` are those of `BaseInit`."""

    def __init__(self, gain: float = 1, distribution: str = "normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = gain
        self.distribution = distribution

    def scheme(self) -> Initializer:
        return Xavier(gain=self.gain, distribution=self.distribution)


class NormalInit(Filling):
    """See `autoinit.initializers.Normal`; `kwargs` are those of `BaseInit`."""

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std

    def scheme(self) -> Initializer:
        return Normal(mean=self.mean, std=self.std)


class TruncNormalInit(Filling):
    """See `autoinit.initializers.TruncNormal`; `kwargs` are those of `BaseInit`."""

    def __init__(self, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std
        self.a = a
        self.b = b

    def scheme(self) -> Initializer:
        return TruncNormal(mean=self.mean, std=self.std, a=self.a, b=self.b)


class UniformInit(Filling):
    """See `autoinit.initializers.Uniform`; `kwargs` are those of `BaseInit`."""

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.b = b

    def scheme(self) -> Initializer:
        return Uniform(a=self.a, b=self.b)


class KaimingInit(Filling):
    """See `autoinit.initializers.Kaiming`; `kwargs` are those of `BaseInit`."""

    def __init__(
        self,
        a: float = 0,
        mode: str = "fan_out",
        nonlinearity: str = "relu",
        distribution: str = "normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.mode = mode
        self.nonlinearity = nonlinearity
        self.distribution = distribution

    def scheme(self) -> Initializer:
        return Kaiming(a=self.a, mode=self.mode, nonlinearity=self.nonlinearity, distribution=self.distribution)


class Caffe2XavierInit(KaimingInit):
    """See `autoinit.initializers.Caffe2Xavier`; `kwargs` are those of `BaseInit`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform", **kwargs)

    def scheme(self) -> Initializer:
        return Caffe2Xavier()


class PretrainedInit:
    """Load a checkpoint into the module that it is called with; see `autoinit.initializers.Pretrained`."""

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Load it.

        Raises:
            CheckpointError: it cannot be read, or nothing in it fits; nothing was changed.
        """
        scheme = Pretrained(checkpoint=self.checkpoint, prefix=self.prefix, map_location=self.map_location)
        carry_out(module, (Rule(initializer=scheme, origin=type(self).__name__),), "ignore")
