"""What a module says itself of its initialization: its `init_cfg`, and its `init_weights`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType, FunctionType

from torch import nn

from ..config import parse_config
from ..errors import ConfigError
from ..rules import Rule

ENGINES = frozenset({"autoinit.compat.mmengine.modules", "mmengine.model.base_module", "mmcv.runner.base_module"})
"""Modules whose `BaseModule.init_weights` does nothing of its own but carry out `init_cfg`, as planning does."""

STARTERS = frozenset({"init_weights", "post_init"})
"""What constructors call to initialize their model: timm and mmcv the first, transformers the second."""


def own_rules(module: nn.Module, fqn: str) -> tuple[Rule, ...]:
    """The rules of a module's own `init_cfg`, an attribute of the object or its class.

    Raises:
        ConfigError: it cannot be parsed; `fqn` is that of the module.
    """
    # Not getattr on the object: wrappers such as torch.compile's pass that on to the module inside.
    cfg = module.__dict__["init_cfg"] if "init_cfg" in module.__dict__ else getattr(type(module), "init_cfg", None)
    items = [cfg] if isinstance(cfg, Mapping) else cfg
    if not isinstance(items, Sequence) or isinstance(items, str) or not cfg or is_initialized(module):
        return ()
    where = f"{fqn or type(module).__name__}.init_cfg"
    try:
        return parse_config(cfg, where, padding="fill" if has_protocol(module) else "keep")
    except ConfigError as error:
        error.fqn = fqn
        raise


def is_initialized(module: nn.Module) -> bool:
    """Whether it says, in OpenMMLab's protocol, that `init_weights` has run."""
    return any(module.__dict__.get(name) is True for name in ("_is_init", "is_init"))


def has_protocol(module: nn.Module) -> bool:
    """Whether the module's `init_weights` is OpenMMLab's, which keeps account of having run."""
    cls: type = type(module)
    return engine_of(cls) is not None


@lru_cache(maxsize=8192)
def engine_of(cls: type) -> type | None:
    """The base class that carries out `init_cfg` in `init_weights`, if the class has one."""
    return next((base for base in cls.__mro__ if base.__module__ in ENGINES and "init_weights" in base.__dict__), None)


def has_own_init_weights(module: nn.Module) -> bool:
    """Whether `init_weights` is the module's own business: by its class, or replaced on the object to opt out."""
    cls: type = type(module)
    return defines_init_weights(cls) or callable(module.__dict__.get("init_weights"))


@lru_cache(maxsize=8192)
def defines_init_weights(cls: type) -> bool:
    """Whether the class has an `init_weights` with content of its own, and it is known how to call it.

    Without arguments, or with torchtitan's `buffer_device`. One that wants more is called by a module above it, and one
    of a class with `post_init` (transformers) by that alone, which prepares what it needs.
    """
    method = getattr(cls, "init_weights", None)
    if not callable(method) or method is getattr(engine_of(cls), "init_weights", None):
        return False
    if callable(getattr(cls, "post_init", None)):
        return False
    return _binds(method) or _binds(method, buffer_device=None)


def _binds(method: Callable[..., object], **arguments: object) -> bool:
    try:
        inspect.signature(method).bind(None, **arguments)
    except (TypeError, ValueError):
        return False
    return True


def own_arguments(module: nn.Module) -> dict[str, object]:
    """What the module's own `init_weights` has to be called with: nothing, or the device where its buffers belong.

    Example:
        >>> class Titan(nn.Module):
        ...     def init_weights(self, buffer_device): ...
        >>> own_arguments(Titan()), own_arguments(nn.Linear(1, 1))
        ({'buffer_device': None}, {})
    """
    cls: type = type(module)
    method = getattr(cls, "init_weights", None)
    if "init_weights" in module.__dict__ or not callable(method) or _binds(method):
        return {}
    tensor = next((tensor for tensors in (module.buffers(), module.parameters()) for tensor in tensors), None)
    return {"buffer_device": None if tensor is None else tensor.device}


@lru_cache(maxsize=8192)
def constructor_initializes(cls: type) -> bool:
    """Whether a constructor of the class reaches a call of `init_weights`, through whatever methods of its own.

    Read from the code: for a model that exists already there is nothing else to go by.

    Example:
        >>> from torch import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.init_weights()
        ...
        ...     def init_weights(self): ...
        >>> constructor_initializes(Net), constructor_initializes(nn.Linear)
        (True, False)
    """
    seen: set[CodeType] = set()
    todo = [base.__dict__["__init__"].__code__ for base in cls.__mro__ if _is_function(base.__dict__.get("__init__"))]
    while todo:
        code = todo.pop()
        if code in seen:
            continue
        seen.add(code)
        if STARTERS & set(code.co_names):
            return True
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        methods = (inspect.getattr_static(cls, name, None) for name in code.co_names)
        todo += [method.__code__ for method in methods if isinstance(method, FunctionType)]
    return False


def _is_function(value: object) -> bool:
    return isinstance(value, FunctionType)
