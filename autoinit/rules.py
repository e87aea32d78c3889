"""One initializer, which parameters it is for, and where that was written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any

from torch import nn

from .errors import ConfigError, ConfigTypeError, config_error, nearest
from .fans import Reading, as_layout
from .globs import check_ndim, fits_ndim, fqn_pattern, is_full, param_pattern
from .initializers import Constant, Default, Initializer, Keep, ModuleFunction, Pretrained, Scheme
from .initializers.given_numbers import plain_number
from .initializers.initializer import needs_of


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
NDIM = "a number of dimensions, or a comparison such as '>1'"
LISTS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "layer": ((str, type), "a string or a class"),
    "name": ((str,), "a string"),
    "within": ((str, type), "a string or a class"),
    "params": ((str,), "a string"),
    "ndim": ((int, str), NDIM),
}
"""Fields that are lists: the types of their items, in code and in words."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One initializer, one selector, and where they were written.

    Args:
        initializer: an object of a class in `autoinit.initializers`.
        layer: class names, qualified names (`"torch.nn.Conv2d"`) or classes; a class stands for its subclasses too.
        name: globs over module FQNs (`"layer*.conv1"`, `"**.attn"`, `"re:..."`); narrows `layer`, or stands alone.
            A glob that no module of the model matches is one over the FQNs of parameters (`"head.weight"`).
            In an `override`: the target, and with it everything below. For a checkpoint: what is loaded.
        params: globs over parameter names; None for weight and bias. With dots (`"encoder.**.weight"`) or as a regular
            expression (`"re:..."`) over FQNs of parameters.
        within: classes, as in `layer`: only modules that have an ancestor of such a class, or are of it.
        ndim: numbers of dimensions, or comparisons such as `">1"`: only parameters with so many.
        bias: value of a `bias` that is reached together with a `weight` (if it is not given: 0, or the default of the
            layer for the initializer `Default`), an expression, or a list of values; None leaves it alone.
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
    within: Sequence[str | type] = ()
    ndim: Sequence[int | str] = ()
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
        lists = {**LISTS, "override": ((Rule,), "a Rule")}
        for key, (types, what) in lists.items():
            if key != "params" or self.params is not None:
                object.__setattr__(self, key, self._tuple(key, types, what))
        self._check_selectors()
        if self.bias is not UNSET:
            self._check_bias()
        if self.fan is not None:
            self._check_fan()
        if not isinstance(self.padding, str):
            raise self._error("padding", f"{self.padding!r} must be 'keep' or 'fill'.", ConfigTypeError)
        if self.padding not in PADDINGS:
            hint = nearest(self.padding, PADDINGS)
            raise self._error("padding", f"{self.padding!r} is unknown.{hint} Known: keep, fill.")
        if not isinstance(self.overwrite, bool):
            raise self._error("overwrite", f"{self.overwrite!r} must be True or False.", ConfigTypeError)

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
            hint = "" if key in ("override", "layer") else _quotes_hint(items if items is not None else (value,))
            raise self._error(key, f"{value!r} must be {what}, or a list of those.{hint}", ConfigTypeError)
        return items

    def _check_selectors(self) -> None:
        if self.params is not None and not self.params:
            raise self._error("params", "an empty list reaches nothing. Name a parameter, or remove the key.")
        for index, override in enumerate(self.override):
            if not override.name:
                raise self._error(f"override[{index}]", "no 'name'. Say which submodule it is for.")
        for key in ("layer", "within"):
            for layer in getattr(self, key):
                if isinstance(layer, type) and not issubclass(layer, nn.Module):
                    raise self._error(key, f"class {layer.__qualname__} is not a torch.nn.Module.", ConfigTypeError)
        if any(isinstance(each, bool) for each in self.ndim):
            raise self._error("ndim", f"{list(self.ndim)} must be {NDIM}, not bool.", ConfigTypeError)
        checks: list[tuple[str, Callable[[Any], object], object]] = [("name", fqn_pattern, each) for each in self.name]
        checks += [("params", param_pattern, each) for each in self.params or ()]
        if self.ndim:
            checks.append(("ndim", check_ndim, self.ndim))
        for key, check, value in checks:
            try:
                check(value)
            except ConfigError as error:
                raise self._error(key, str(error)) from error

    def _check_bias(self) -> None:
        given: Any = plain_number(self.bias)
        is_number = isinstance(given, numbers.Real) and not isinstance(given, bool)
        no_effect = f"bias={given} has no effect, because params={self.params}"
        reaches = self._may_reach("bias")
        if reaches and not self._may_reach("weight"):
            remedy = "gives the bias what it gives a weight elsewhere. Remove the key, or use type='Constant'."
            raise self._error("bias", f"{no_effect} {remedy}")
        try:
            if is_number and math.isnan(given):
                raise self._error("bias", "NaN is not a value for a bias.")
        except OverflowError as error:
            raise self._error("bias", f"{given!r} is beyond any float.") from error
        object.__setattr__(self, "bias", given if is_number or given is None else self._bias_numbers(given))
        if given is not None and not reaches:
            raise self._error("bias", f"{no_effect} does not reach 'bias'. Add 'bias' to params, or remove the key.")

    def _bias_numbers(self, bias: object) -> object:
        """A `bias` that is an expression, or a list of numbers."""
        try:
            return Constant(val=bias).val  # type: ignore[arg-type]
        except ConfigTypeError as error:
            hint = " In YAML, None is written null." if bias == "None" else ""
            text = f"{bias!r} must be a number, or None to leave the bias alone.{hint}"
            raise self._error("bias", text, ConfigTypeError) from error
        except ConfigError as error:
            raise self._error("bias", str(error).replace("Constant: val=", "", 1)) from error

    def _check_fan(self) -> None:
        schemes = [each for each in (self.initializer, self._for_bias) if isinstance(each, Initializer)]
        if all(needs_of(scheme).convention == "nothing" for scheme in schemes):
            raise self._error("fan", f"{type(self.initializer).__name__} does not use fans. Remove the key.")
        try:
            if self.fan is not None and self.fan not in CONVENTIONS:
                object.__setattr__(self, "fan", as_layout(self.fan))
        except ConfigError as error:
            hint = nearest(self.fan, CONVENTIONS) if isinstance(self.fan, str) else ""
            raise self._error("fan", f"{error}{hint}", type(error)) from error

    def _may_reach(self, param: str) -> bool:
        """Whether `params` can reach parameters of this name: of a pattern over full names only the end is known."""
        for pattern in self.params or DEFAULT_PARAMS:
            last = "*" if pattern.startswith("re:") else pattern.rpartition(".")[2]
            if param_pattern(last)(param) or pattern == f"re:{param}":
                return True
        return False

    def _reaches(self, param: str, path: str, named: Sequence[str]) -> bool:
        """Whether a parameter of a selected module is reached."""
        fqn = f"{path}.{param}" if path else param
        if named and not any(fqn_pattern(pattern)(fqn) for pattern in named):
            return False
        return (bool(named) and self.params is None) or _is_reached(param, fqn, tuple(self.params or DEFAULT_PARAMS))

    @cached_property
    def has_full_params(self) -> bool:
        """Whether a pattern in `params` is one over full names."""
        return any(map(is_full, self.params or ()))

    def fits(self, ndim: int | None) -> bool:
        """Whether the rule is for parameters with so many dimensions; None stands for any."""
        return ndim is None or fits_ndim(self.ndim, ndim)

    def scheme_for(self, param: str, path: str = "", named: Sequence[str] = ()) -> Initializer | None:
        """What this rule gives to a parameter of a module that it selects, or None.

        Args:
            param: Name of the parameter in the module.
            path: Name of the module, for patterns over full names.
            named: Patterns of `name` that mean parameters: the only parameters that are reached then.
        """
        if not isinstance(self.initializer, Initializer) or not self._reaches(param, path, named):
            return None
        # A rule that reaches no weight (`params="bias"`) gives the bias its initializer.
        is_beside_a_weight = param == "bias" and self._reaches("weight", path, named)
        return self._for_bias if is_beside_a_weight else self.initializer

    @cached_property
    def _for_bias(self) -> Initializer | None:
        if self.bias is UNSET:
            return self.initializer if isinstance(self.initializer, (Keep, Default)) else Constant(val=0.0)
        return None if self.bias is None else Constant(val=self.bias)

    def loads(self, fqn: str, *, is_target: bool = False) -> bool:
        """Whether a rule with a checkpoint is for a tensor: below a module of `name`, and in `params`.

        Args:
            fqn: Name of the tensor, as the module has it that the checkpoint is loaded into.
            is_target: Whether `name` is the target of an override, and does not choose.
        """
        *above, param = fqn.split(".")
        if self.params is not None and not _is_reached(param, fqn, tuple(self.params)):
            return False
        if is_target or not self.name:
            return True
        paths = [".".join([*above, param][:end]) for end in range(len(above) + 2)]
        return any(fqn_pattern(pattern)(path) for pattern in self.name for path in paths)

    def names(self, param: str, path: str = "", named: Sequence[str] = ()) -> bool:
        """Whether the rule has the parameter's name itself, or its full one, not just a pattern that fits it."""
        fqn = f"{path}.{param}" if path else param
        return fqn in named or (self.params is not None and (param in self.params or fqn in self.params))

    @property
    def selects_by_itself(self) -> bool:
        """Whether it selects anything besides what its overrides name."""
        return bool(self.layer or self.name or self.within or self.ndim or self.params is not None)

    def describe(self) -> str:
        """Where it was written and what it selects: `init_cfg[1] (layer='Linear')`."""
        keys = ("layer", "within", "name", "params", "ndim")
        shown = {key: [getattr(value, "__qualname__", value) for value in getattr(self, key) or ()] for key in keys}
        parts = [f"{key}={(values[0] if len(values) == 1 else values)!r}" for key, values in shown.items() if values]
        parts += ["overwrite=True"] if self.overwrite else []
        return f"{self.origin} ({', '.join(parts)})" if parts else self.origin


def _quotes_hint(items: Sequence[object]) -> str:
    """The remedy for a name that YAML reads as a number or a boolean."""
    item = next((item for item in items if isinstance(item, (int, float))), None)
    if isinstance(item, bool):
        return " YAML reads yes, no, on and off as booleans: put the name in quotes."
    return "" if item is None else f" Put it in quotes: '{item}'."


@lru_cache(maxsize=1024)
def _is_reached(param: str, fqn: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern matches a parameter: by its full name, or by its name in the module."""
    return any(
        (is_full(pattern) and fqn_pattern(pattern)(fqn))
        # A parameter in a list has a dotted name in the module that has the list: `scales.0`.
        or (not pattern.startswith("re:") and param_pattern(pattern)(param))
        for pattern in patterns
    )
