"""The values of `type`, and how an initializer is made from one and its arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, cast

from ..errors import ConfigTypeError, config_error, nearest
from ..initializers import Function, Initializer, ModuleFunction, Pretrained, Scheme, canonical_name, registered
from ..initializers.other_names import other_name_hint

ORIGINALS = ("mmengine", "mmcv", "autoinit")
"""Packages whose `KaimingInit` and the like are known by their names."""


def resolve_type(value: object, origin: str) -> object:
    """Resolve a config's `type` to an initializer, an initializer class or a function."""
    if isinstance(value, str):
        factory = find_initializer(value)
        if factory is None:
            hint = other_name_hint(value) or nearest(canonical_name(value), registered)
            hint = hint or f" Known: {', '.join(sorted(registered))}."
            raise config_error(f"{origin}.type", f"no initializer named {value!r}.{hint}")
        return factory
    if isinstance(value, type) and not issubclass(value, (Initializer, Pretrained)):
        known = registered.get(canonical_name(value.__name__))
        if value.__module__.partition(".")[0] in ORIGINALS and known is not None:
            return known
    if isinstance(value, (Initializer, Pretrained)) or callable(value):
        return value
    text = "must be a name, an initializer, or a function that fills a tensor in place"
    raise config_error(f"{origin}.type", f"{value!r} {text}, not {type(value).__name__}.", ConfigTypeError)


def find_initializer(name: str) -> object:
    """The initializer with this name, registered here or by a codebase with mmengine; None if there is none."""
    theirs = sys.modules.get("mmengine.registry")
    return registered.get(canonical_name(name)) or (theirs and theirs.WEIGHT_INITIALIZERS.get(name))


def acts_on_modules(factory: object) -> bool:
    """Whether it is an initializer in OpenMMLab's sense: a `BaseInit` that is called with a module."""
    cls = factory if isinstance(factory, type) else type(factory)
    return any(base.__name__ == "BaseInit" for base in cls.__mro__)


def known_arguments(factory: object) -> Sequence[str] | None:
    """The hyper-parameters of a type, or None where only its own signature knows them."""
    if isinstance(factory, type) and is_dataclass(factory):
        return tuple(field.name for field in fields(factory) if field.init)
    return () if isinstance(factory, (Initializer, Pretrained)) else None


def takes_argument(factory: object, name: str) -> bool:
    """Whether a callable has an argument of a name."""
    try:
        parameters = inspect.signature(cast(Callable[..., object], factory)).parameters.values()
    except (ValueError, TypeError):
        return False
    return any(each.name == name or each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def build_scheme(factory: object, arguments: Mapping[str, Any]) -> Scheme:
    """The initializer of a type with these hyper-parameters, which it may refuse with a ConfigError."""
    if isinstance(factory, (Initializer, Pretrained)):
        return factory
    if not isinstance(factory, type):
        function = cast(Callable[..., object], factory)
        of_modules = acts_on_modules(factory)
        return ModuleFunction(function=function) if of_modules else Function(function=function, arguments=arguments)
    if is_dataclass(factory):
        if inspect.isabstract(factory):
            raise ConfigTypeError(f"class {factory.__qualname__} is abstract. Use one of its subclasses.")
        for field in fields(factory):
            if field.name not in arguments and field.default is MISSING and field.default_factory is MISSING:
                raise ConfigTypeError(f"{factory.__name__} needs {field.name!r}. Add {field.name}=...")
        return cast(Scheme, factory(**arguments))
    if not acts_on_modules(factory):
        raise ConfigTypeError(
            f"class {factory.__qualname__} is not an initializer. Subclass autoinit.initializers.Initializer, or pass "
            "a function that fills a tensor in place."
        )
    try:
        built = factory(**arguments)
    except TypeError as error:
        raise ConfigTypeError(f"{factory.__name__}{inspect.signature(factory)}: {error}.") from error
    return ModuleFunction(function=built)
