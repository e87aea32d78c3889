"""The base of initializers that are called with a module."""

from __future__ import annotations

from typing import Any

from ...config import bias_init_with_prob
from ...errors import ConfigTypeError


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
