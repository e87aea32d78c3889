"""Initializers that are called with a module, such as `KaimingInit(layer="Conv2d")(model)`, and their registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

from torch import nn

from ... import initializers
from ...config import bias_init_with_prob
from ...errors import ConfigTypeError
from ...initializers import Initializer, Pretrained, register_initializer
from ...rules import Rule
from .applying_rules import apply_rules

F = TypeVar("F", bound=Callable[..., Any])


class BaseInit:
    """Base class of initializers of whole modules; a subclass defines `__call__(module)`.

    Args:
        bias: value for the biases.
        bias_prob: the output of a sigmoid at the bias, instead of `bias`.
        layer: class name, or class names, of the modules to initialize.

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
    """Set while it is called for the target of an override: every module is initialized then, whatever `layer` is."""

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
        shown = (f"{key}={value}" for key, value in vars(self).items() if key not in ("wholemodule", "layer"))
        return f"{self._name}: {', '.join(shown)}"

    def __repr__(self) -> str:
        shown = (f"{key}={value!r}" for key, value in vars(self).items() if key != "wholemodule")
        return f"{self._name}({', '.join(shown)})"


class Filling(BaseInit):
    """A scheme for the weights of the modules in `layer`, with a constant for their biases."""

    _initializer: ClassVar[type[Initializer]]

    def scheme(self) -> Initializer:
        """The initializer with the present values of the attributes, which may have been assigned to."""
        # The original has no other arguments, such as `cut`.
        known = [field.name for field in fields(self._initializer) if hasattr(self, field.name)]
        return self._initializer(**{name: getattr(self, name) for name in known})

    def __call__(self, module: nn.Module) -> None:
        """Fill the modules in `layer`, in this module and below it; every module if `wholemodule` is set.

        Raises:
            ConfigError, ShapeError: nothing was changed.
        """
        if self.wholemodule or self.layer:
            selector: dict[str, Any] = {"name": ("**",)} if self.wholemodule else {"layer": self.layer}
            rule = Rule(initializer=self.scheme(), bias=float(self.bias), padding="fill", origin=self._name, **selector)
            # `model.apply(self)` calls this for every module, so that most calls match nothing.
            apply_rules(module, (rule,), "ignore")


class ConstantInit(Filling):
    """Constant weights; see `autoinit.initializers.Constant`. `kwargs` are those of `BaseInit`.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Conv2d(1, 1, 1))
        >>> _ = model.apply(ConstantInit(val=3, bias=4, layer="Linear"))
        >>> model[0].weight.item(), model[0].bias.item(), model[1].weight.item() == 3
        (3.0, 4.0, False)
    """

    _initializer = initializers.Constant

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = val


class XavierInit(Filling):
    """See `autoinit.initializers.Xavier`; `kwargs` are those of `BaseInit`."""

    _initializer = initializers.Xavier

    def __init__(self, gain: float = 1, distribution: str = "normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain, self.distribution = gain, distribution


class NormalInit(Filling):
    """See `autoinit.initializers.Normal`; `kwargs` are those of `BaseInit`."""

    _initializer = initializers.Normal

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.std = mean, std


class TruncNormalInit(Filling):
    """See `autoinit.initializers.TruncNormal`; `kwargs` are those of `BaseInit`."""

    _initializer = initializers.TruncNormal

    def __init__(self, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.std, self.a, self.b = mean, std, a, b


class UniformInit(Filling):
    """See `autoinit.initializers.Uniform`; `kwargs` are those of `BaseInit`."""

    _initializer = initializers.Uniform

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a, self.b = a, b


class KaimingInit(Filling):
    """See `autoinit.initializers.Kaiming`; `kwargs` are those of `BaseInit`."""

    _initializer: ClassVar[type[Initializer]] = initializers.Kaiming

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

    _initializer = initializers.Caffe2Xavier

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


class WeightInitializers:
    """Registers initializers under `autoinit`'s own names, as the original's registry of that name does."""

    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: F | None = None
    ) -> Any:
        """Give an initializer a name that configs can use as `type`: as a decorator, or with `module=` at once.

        Args:
            name: one or several; the name of the class if it is not given.
            force: replace the initializer that has the name already.
            module: a subclass of `BaseInit` that defines `__call__(module)`, or an argument of the decorator
                `autoinit.register_initializer`.

        Raises:
            ConfigError: another initializer has the name.
            ConfigTypeError: an argument has a wrong type.
        """
        if not isinstance(force, bool):
            raise ConfigTypeError(f"register_module: force={force!r} must be true or false.")
        if name is not None and not (isinstance(name, Sequence) and all(isinstance(item, str) for item in name)):
            raise ConfigTypeError(f"register_module: name={name!r} must be a string or a sequence of strings.")

        def register(initializer: F) -> F:
            names = initializer.__name__ if name is None else name
            for each in (names,) if isinstance(names, str) else names:
                register_initializer(each, force=force)(initializer)
            return initializer

        return register if module is None else register(module)


WEIGHT_INITIALIZERS = WeightInitializers()
