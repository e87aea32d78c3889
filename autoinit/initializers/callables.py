"""Functions as schemes: those that fill a tensor in place, and those that initialize a whole module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from .. import fills
from ..errors import ConfigTypeError
from ..fills import Fill, TensorSpec
from .initializer import Initializer
from .pretrained import Pretrained


@dataclass(frozen=True, kw_only=True)
class Function(Initializer):
    """`function(tensor, **arguments)`, which must overwrite the tensor in place.

    Args:
        function: for example `torch.nn.init.orthogonal_`. It sees torch's generators seeded from the parameter's
            key, so its values are as reproducible as autoinit's own. It gets the parameter itself, under
            `torch.no_grad`, with the attributes that libraries keep on it (`infshape` of mup). A parametrized or
            sharded parameter is a plain tensor with these attributes.
        arguments: keyword arguments.

    Raises:
        ConfigTypeError: the arguments do not fit the function's signature.

    Example:
        >>> import torch
        >>> print(Function(function=torch.nn.init.constant_, arguments={"val": 2.0}))
        constant_(val=2.0)
    """

    reads = "nothing"

    function: Callable[..., object]
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", dict(self.arguments))
        try:
            signature = inspect.signature(self.function)
        except (ValueError, TypeError):
            return  # Some builtins have no signature; they check their arguments when they are called.
        try:
            signature.bind(None, **self.arguments)
        except TypeError as error:
            name = getattr(self.function, "__name__", repr(self.function))
            raise ConfigTypeError(
                f"{name}{signature} cannot be called with a tensor and {self.arguments}: {error}."
            ) from error

    def fill(self, spec: TensorSpec) -> Fill:
        return fills.Custom(self.function, self.arguments)

    def __str__(self) -> str:
        return str(fills.Custom(self.function, self.arguments))


@dataclass(frozen=True, kw_only=True)
class ModuleFunction:
    """A callable that initializes a whole module: what it writes is known only after it has run."""

    function: Callable[[nn.Module], object]

    def __str__(self) -> str:
        return f"{getattr(self.function, '__name__', type(self.function).__name__)}(module)"


Scheme = Initializer | Pretrained | ModuleFunction
"""The types of `Rule.initializer`."""
