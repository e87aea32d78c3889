"""A module's own initialization: its `init_cfg`, and its `init_weights`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import FunctionType

from torch import nn

from ..config import find_initializer, parse_config
from ..errors import ConfigError
from ..rules import Rule

ENGINES = frozenset({"autoinit.compat.mmengine.modules", "mmengine.model.base_module", "mmcv.runner.base_module"})
"""Modules whose `BaseModule.init_weights` only applies `init_cfg`, as planning does."""

SELECTORS = ("layer", "name", "params", "within", "override", "checkpoint")
"""Keys of which a rule has at least one."""


def own_rules(module: nn.Module, fqn: str) -> tuple[Rule, ...]:
    """Rules of a module's own `init_cfg`, an attribute of the object or its class; none of another library's (O7)."""
    # Not getattr on the object: wrappers such as torch.compile's pass that on to the module inside.
    cls: type = type(module)
    cfg = module.__dict__["init_cfg"] if "init_cfg" in module.__dict__ else getattr(cls, "init_cfg", None)
    if cfg is None or is_initialized(module):
        return ()
    protocol = engine_of(cls) is not None
    items = cfg if isinstance(cfg, Sequence) and not isinstance(cfg, str) else [cfg]
    if not any(map(_is_rule, items)) and not (protocol and cfg):
        return ()
    try:
        return parse_config(
            cfg, f"{fqn or cls.__name__}.init_cfg", padding="fill" if protocol else "keep", passed=False
        )
    except ConfigError as error:
        error.fqn = fqn
        raise


def _is_rule(item: object) -> bool:
    """Whether an item of a config is meant as a rule: its `type` is known, or misspelt and stands beside a selector."""
    if not isinstance(item, Mapping):
        return isinstance(item, Rule)
    kind = item.get("type")
    known = isinstance(kind, str) and find_initializer(kind) is not None
    return known or ("type" in item and any(key in item for key in SELECTORS))


def is_initialized(module: nn.Module) -> bool:
    """Whether the module says, in OpenMMLab's protocol, that `init_weights` has run."""
    attributes = module.__dict__
    return attributes.get("_is_init") is True or attributes.get("is_init") is True


@lru_cache(maxsize=8192)
def engine_of(cls: type) -> type | None:
    """The base class that applies `init_cfg` in `init_weights`, OpenMMLab's `BaseModule`, if the class has one."""
    return next((base for base in cls.__mro__ if base.__module__ in ENGINES and "init_weights" in base.__dict__), None)


def has_own_init_weights(module: nn.Module) -> bool:
    """Whether the module has an `init_weights` of its own: a plain method, or a function set on the object."""
    if "init_weights" in module.__dict__:
        replaced = module.__dict__["init_weights"]
        return callable(replaced) and _accepts(replaced)
    cls: type = type(module)
    return defines_init_weights(cls)


@lru_cache(maxsize=8192)
def defines_init_weights(cls: type) -> bool:
    """Whether the class has an `init_weights` with content of its own that needs no argument.

    torchtitan's `buffer_device` is supplied. A static or class method, or one with other arguments, is a helper that
    other code calls (O7). The `init_weights` of a class with `post_init` (transformers) is called by that alone, which
    prepares what it needs.
    """
    method = inspect.getattr_static(cls, "init_weights", None)
    engine = engine_of(cls)
    if not isinstance(method, FunctionType) or (engine is not None and method is engine.__dict__["init_weights"]):
        return False
    if callable(getattr(cls, "post_init", None)):
        return False
    return _accepts(method, None) or _accepts(method, None, buffer_device=None)


def _accepts(method: Callable[..., object], *args: object, **kwargs: object) -> bool:
    try:
        inspect.signature(method).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def own_arguments(module: nn.Module) -> dict[str, object]:
    """Arguments for the module's own `init_weights`: none, or the device of its buffers (torchtitan)."""
    cls: type = type(module)
    method = getattr(cls, "init_weights", None)
    if "init_weights" in module.__dict__ or not callable(method) or _accepts(method, None):
        return {}
    tensor = next((tensor for tensors in (module.buffers(), module.parameters()) for tensor in tensors), None)
    return {"buffer_device": None if tensor is None else tensor.device}
