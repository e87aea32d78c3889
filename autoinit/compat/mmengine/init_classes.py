"""Initializers that are called with a module: `KaimingInit(layer="Conv2d")(model)`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

from torch import nn

from ...config import bias_init_with_prob
from ...errors import ConfigTypeError
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
from .applying_rules import apply_rules


class BaseInit:
    """What initializers of whole modules have in common; a subclass defines `__call__(module)`.

    Args:
        bias: value for the biases.
        bias_prob: the bias at which a sigmoid outputs this; wins over `bias`.
        layer: class names of the modules to initialize, or one.

    Raises:
        ConfigTypeError: a value of another type.
        ConfigError: a probability that is not strictly between 0 and 1.

    Example:
        >>> import torch
        >>> from autoinit import initialize
        >>> from autoinit.compat.mmengine import WEIGHT_INITIALIZERS, BaseInit
        >>> @WEIGHT_INITIALIZERS.register_module(name="Counting")
        ... class CountingInit(BaseInit):
        ...     def __call__(self, module):
        ...         for m in module.modules():
        ...             if type(m).__name__ in self.layer or self.wholemodule:
        ...                 m.weight.data.copy_(torch.arange(m.weight.numel()).view_as(m.weight))
        >>> layer = torch.nn.Linear(3, 1)
        >>> _ = initialize(layer, dict(type="Counting", layer="Linear"))
        >>> layer.weight.tolist()
        [[0.0, 1.0, 2.0]]
    """

    wholemodule = False
    """Set while it is called for the target of an override: then every module is meant, whatever `layer` says."""

    def __init__(
        self, *, bias: float = 0, bias_prob: float | None = None, layer: str | list[str] | None = None
    ) -> None:
        if not isinstance(bias, (int, float)):
            raise ConfigTypeError(f"{self._name}: bias={bias!r} must be a number, not {type(bias).__name__}.")
        if layer is not None and not isinstance(layer, (str, list)):
            raise ConfigTypeError(
                f"{self._name}: layer={layer!r} must be a string or a list of strings, not {type(layer).__name__}."
            )
        self.bias: float = bias if bias_prob is None else bias_init_with_prob(bias_prob)
        self.layer: list[str] = [layer] if isinstance(layer, str) else layer or []

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _get_init_info(self) -> str:
        shown = {key: value for key, value in vars(self).items() if key not in ("wholemodule", "layer")}
        return f"{self._name}: {', '.join(f'{key}={value}' for key, value in shown.items())}"

    def __repr__(self) -> str:
        shown: dict[str, Any] = {key: value for key, value in vars(self).items() if key != "wholemodule"}
        return f"{self._name}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"


class Filling(BaseInit):
    """A scheme for the weights of the modules in `layer`, with a constant for their biases."""

    _initializer: ClassVar[type[Initializer]]

    def scheme(self) -> Initializer:
        """What the attributes mean now; they may be assigned to."""
        return self._initializer(**{field.name: getattr(self, field.name) for field in fields(self._initializer)})

    def __call__(self, module: nn.Module) -> None:
        """Fill the module's part in `layer`, itself included; all of it if `wholemodule` is set.

        Raises:
            ConfigError, ShapeError: nothing was changed.
        """
        if self.wholemodule or self.layer:
            selector: dict[str, Any] = {"name": ("**",)} if self.wholemodule else {"layer": self.layer}
            rule = Rule(initializer=self.scheme(), bias=float(self.bias), padding="fill", origin=self._name, **selector)
            # `model.apply(self)` calls this for every module, so that a module without such layers is the rule.
            apply_rules(module, (rule,), "ignore")


class ConstantInit(Filling):
    """Constant weights; see `autoinit.initializers.Constant`. `kwargs` are those of `BaseInit`.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Conv2d(1, 1, 1))
        >>> _ = model.apply(ConstantInit(val=3, bias=4, layer="Linear"))
        >>> model[0].weight.item(), model[0].bias.item(), model[1].weight.item() == 3
        (3.0, 4.0, False)
    """

    _initializer = Constant

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = val


class XavierInit(Filling):
    """See `autoinit.initializers.Xavier`; `kwargs` are those of `BaseInit`."""

    _initializer = Xavier

    def __init__(self, gain: float = 1, distribution: str = "normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain, self.distribution = gain, distribution


class NormalInit(Filling):
    """See `autoinit.initializers.Normal`; `kwargs` are those of `BaseInit`."""

    _initializer = Normal

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.std = mean, std


class TruncNormalInit(Filling):
    """See `autoinit.initializers.TruncNormal`; `kwargs` are those of `BaseInit`."""

    _initializer = TruncNormal

    def __init__(self, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.std, self.a, self.b = mean, std, a, b


class UniformInit(Filling):
    """See `autoinit.initializers.Uniform`; `kwargs` are those of `BaseInit`."""

    _initializer = Uniform

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a, self.b = a, b


class KaimingInit(Filling):
    """See `autoinit.initializers.Kaiming`; `kwargs` are those of `BaseInit`."""

    _initializer: ClassVar[type[Initializer]] = Kaiming

    def __init__(
        self,
        a: float = 0,
        mode: str = "fan_out",
        nonlinearity: str = "relu",
        distribution: str = "normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.a, self.mode, self.nonlinearity, self.distribution = a, mode, nonlinearity, distribution


class Caffe2XavierInit(KaimingInit):
    """See `autoinit.initializers.Caffe2Xavier`; `kwargs` are those of `BaseInit`."""

    _initializer = Caffe2Xavier

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform", **kwargs)


class PretrainedInit:
    """Load a checkpoint into the module that it is called with; see `autoinit.initializers.Pretrained`."""

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str = "cpu") -> None:
        self.checkpoint, self.prefix, self.map_location = checkpoint, prefix, map_location

    def __call__(self, module: nn.Module) -> None:
        """Load it.

        Raises:
            CheckpointError: it cannot be read, or nothing in it fits; nothing was changed.
        """
        scheme = Pretrained(checkpoint=self.checkpoint, prefix=self.prefix, map_location=self.map_location)
        apply_rules(module, (Rule(initializer=scheme, origin=type(self).__name__),), "ignore")
