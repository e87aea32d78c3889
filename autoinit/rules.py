"""One initializer, which parameters it is for, and where that was written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache

from torch import nn

from .errors import ConfigError, ConfigTypeError, config_error, nearest
from .fans import Reading, as_layout
from .globs import fqn_pattern, param_pattern
from .initializers import Constant, Initializer, Keep, ModuleFunction, Pretrained, Scheme
from .initializers.needs import needs_of


class Unset(Enum):
    """The value of a key that was not written, where None already means something."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset.UNSET
DEFAULT_PARAMS = ("weight", "bias")
CONVENTIONS = ("torch", "layer")
"""Whose reading of a weight's axes a rule can ask for."""
PADDINGS = ("keep", "fill")
"""Values of `Rule.padding`."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One initializer, one selector, and where they were written.

    Args:
        initializer: an object of a class in `autoinit.initializers`.
        layer: class names, qualified names (`"torch.nn.Conv2d"`) or classes; a class stands for its subclasses too.
        name: globs over module FQNs (`"layer*.conv1"`, `"**.attn"`, `"re:..."`); narrows `layer`, or stands alone.
            In an `override`: the target, and with it everything below.
        params: globs over parameter names; None for weight and bias.
        bias: value of a `bias` that is reached together with a `weight` (0 if it is not given), an expression, or a
            list of values; None leaves it alone.
        fan: how fans are read: `"torch"` as `torch.nn.init` does, `"layer"` by the layer's convention, axes such as
            `"expert,in,out"`, or the arguments of an `autoinit.fans.Layout`; None for what is usual for the scheme.
        padding: "keep" for zeros in the rows that embeddings have for padding (`padding_idx`), as torch's constructor
            makes them; "fill" for the initializer's values in these rows too.
        overwrite: whether to fill parameters that hold data too, such as loaded weights, and copies of others.
        override: rules for parts of the same model that beat this one.
        origin: where it was written; not part of equality.

    Raises:
        ConfigError, ConfigTypeError: a field has a wrong value or type.

    Example:
        >>> from autoinit.initializers import Normal
        >>> Rule(initializer=Normal(std=0.02), layer="Linear").layer
        ('Linear',)
    """

    initializer: Scheme
    layer: Sequence[str | type] = ()
    name: Sequence[str] = ()
    params: Sequence[str] | None = None
    bias: float | Unset | None = UNSET
    fan: Reading | None = None
    padding: str = "keep"
    overwrite: bool = False
    override: Sequence[Rule] = ()
    origin: str = field(default="Rule", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.initializer, (Initializer, Pretrained, ModuleFunction)):
            text = "is not an initializer. Use an object of a class in autoinit.initializers."
            raise config_error(self.origin, f"initializer={self.initializer!r} {text}", ConfigTypeError)
        self._set("layer", self._tuple("layer", (str, type), "a string or a class"))
        self._set("name", self._tuple("name", (str,), "a string"))
        self._set("override", self._tuple("override", (Rule,), "a Rule"))
        if self.params is not None:
            self._set("params", self._tuple("params", (str,), "a string"))
        self._check_selectors()
        if self.bias is not UNSET:
            self._check_bias()
        self._check_fan()
        if not isinstance(self.padding, str):
            raise self._error("padding", f"{self.padding!r} must be 'keep' or 'fill'.", ConfigTypeError)
        if self.padding not in PADDINGS:
            hint = nearest(self.padding, PADDINGS)
            raise self._error("padding", f"{self.padding!r} is unknown.{hint} Known: keep, fill.")
        if not isinstance(self.overwrite, bool):
            raise self._error("overwrite", f"{self.overwrite!r} must be True or False.", ConfigTypeError)

    def _set(self, key: str, value: object) -> None:
        object.__setattr__(self, key, value)

    def _error(self, key: str, text: str, kind: type[ConfigError] = ConfigError) -> ConfigError:
        """An error in the value of a key."""
        return config_error(f"{self.origin}.{key}", text, kind)

    def _tuple(self, key: str, types: tuple[type, ...], what: str) -> tuple[object, ...]:
        value = getattr(self, key)
        items: tuple[object, ...] | None = None
        if isinstance(value, types):
            items = (value,)
        elif isinstance(value, Iterable) and not isinstance(value, Mapping):
            # A tensor of no dimensions cannot be iterated over, and a generator may raise whatever it likes.
            with suppress(Exception):
                items = tuple(value)
        if items is None or not all(isinstance(item, types) for item in items):
            raise self._error(key, f"{value!r} must be {what}, or a list of those.", ConfigTypeError)
        return items

    def _check_selectors(self) -> None:
        if self.params is not None and not self.params:
            raise self._error("params", "an empty list reaches nothing. Name a parameter, or remove the key.")
        for index, override in enumerate(self.override):
            if not override.name:
                raise self._error(f"override[{index}]", "no 'name'. Say which submodule it is for.")
        for layer in self.layer:
            if isinstance(layer, type) and not issubclass(layer, nn.Module):
                raise self._error("layer", f"class {layer.__qualname__} is not a torch.nn.Module.", ConfigTypeError)
        for key, patterns, compiled in (("name", self.name, fqn_pattern), ("params", self.params or (), param_pattern)):
            for pattern in patterns:
                try:
                    compiled(pattern)
                except ConfigError as error:
                    raise self._error(key, str(error)) from error

    def _check_bias(self) -> None:
        bias = self.bias
        if self._reaches("bias") and not self._reaches("weight"):
            raise self._error(
                "bias",
                f"bias={bias} has no effect, because params={self.params} gives the bias what it gives a weight "
                "elsewhere. Remove the key, or use type='Constant'.",
            )
        if bias is None:
            return
        if isinstance(bias, (bool, str)) or not isinstance(bias, numbers.Real):
            self._set("bias", self._bias_numbers(bias))
        try:
            is_nan = isinstance(bias, numbers.Real) and math.isnan(bias)
        except OverflowError as error:
            raise self._error("bias", f"{bias!r} is beyond any float.") from error
        if is_nan:
            raise self._error("bias", "NaN is not a value for a bias.")
        if not self._reaches("bias"):
            raise self._error(
                "bias",
                f"bias={bias} has no effect, because params={self.params} does not reach 'bias'. Add 'bias' to params, "
                "or remove the key.",
            )

    def _bias_numbers(self, bias: object) -> object:
        """A `bias` that is an expression, or a list of numbers."""
        try:
            return Constant(val=bias).val  # type: ignore[arg-type]
        except ConfigTypeError as error:
            text = f"{bias!r} must be a number, or None to leave the bias alone."
            raise self._error("bias", text, ConfigTypeError) from error
        except ConfigError as error:
            raise self._error("bias", str(error).replace("Constant: val=", "", 1)) from error

    def _check_fan(self) -> None:
        if self.fan is None:
            return
        schemes = [each for each in (self.initializer, self._for_bias) if isinstance(each, Initializer)]
        if all(needs_of(scheme).convention == "nothing" for scheme in schemes):
            raise self._error("fan", f"{type(self.initializer).__name__} takes no notice of fans. Remove the key.")
        if self.fan in CONVENTIONS:
            return
        try:
            self._set("fan", as_layout(self.fan))
        except ConfigError as error:
            hint = nearest(self.fan, CONVENTIONS) if isinstance(self.fan, str) else ""
            raise self._error("fan", f"{error}{hint}", type(error)) from error

    def _reaches(self, param: str) -> bool:
        return _is_reached(param, tuple(self.params or DEFAULT_PARAMS))

    def scheme_for(self, param: str) -> Initializer | None:
        """What this rule gives to a parameter of that name in a module that it selects, or None."""
        if not isinstance(self.initializer, Initializer) or not self._reaches(param):
            return None
        # A rule that reaches no weight (`params="bias"`) gives the bias its initializer.
        is_beside_a_weight = param == "bias" and self._reaches("weight")
        return self._for_bias if is_beside_a_weight else self.initializer

    @cached_property
    def _for_bias(self) -> Initializer | None:
        if self.bias is UNSET:
            return self.initializer if isinstance(self.initializer, Keep) else Constant(val=0.0)
        return None if self.bias is None else Constant(val=self.bias)

    def names(self, param: str) -> bool:
        """Whether `params` has the parameter's name itself, not just a pattern that fits it."""
        return self.params is not None and param in self.params

    @property
    def selects_by_itself(self) -> bool:
        """Whether it selects anything besides what its overrides name."""
        return bool(self.layer or self.name or self.params is not None)

    def describe(self) -> str:
        """Where it was written and what it selects: `init_cfg[1] (layer='Linear')`."""
        keys = ("layer", "name", "params")
        shown = {key: [getattr(value, "__qualname__", value) for value in getattr(self, key) or ()] for key in keys}
        parts = [f"{key}={(values[0] if len(values) == 1 else values)!r}" for key, values in shown.items() if values]
        parts += ["overwrite=True"] if self.overwrite else []
        return f"{self.origin} ({', '.join(parts)})" if parts else self.origin


@lru_cache(maxsize=1024)
def _is_reached(param: str, patterns: tuple[str, ...]) -> bool:
    return any(param_pattern(pattern)(param) for pattern in patterns)
