"""From the stack at a write to the call that led to it: function, arguments, line, and the module whose code it was."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType, FunctionType
from typing import Any, cast

import torch
import wrapt
from torch import Tensor, nn

from .. import _torch
from ..construction import has_memory
from ..errors import PACKAGE

_TORCH = os.path.dirname(torch.__file__) + os.sep
_DECIDING = tuple(_TORCH + os.path.join(*path) for path in (("nn", "init.py"), ("nn", "modules", ""), ("ao", "nn", "")))
"""Code of torch that decides values; the rest stands between the line that called a function and the operator."""
PASSED = (
    *(PACKAGE + part for part in ("construction", "interception", "patches.py", "modes.py", "_torch.py", "tracing")),
    *(_TORCH + os.path.join("nn", "modules", name) for name in ("module.py", "lazy.py")),
    *(os.path.dirname(wrapt.__file__) + os.sep, "<frozen", "<eval_with_key>"),
)
"""Other code that decides no values."""
STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
LIBRARIES = ("torch.nn.init", "transformers.initialization", "timm.")
"""Where functions with the names of `torch.nn.init` do what those do."""
_DEFAULTS: weakref.WeakKeyDictionary[CodeType, Mapping[str, object]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    """A function that fills the tensor that it is given first, and the other arguments of this call.

    Args:
        name: Its name.
        is_known: Whether a known library has it, so that its name tells what it does.
        arguments: All arguments by name, those with defaults included.
        passed: Those that have not their default.
    """

    name: str
    is_known: bool
    arguments: Mapping[str, object]
    passed: Mapping[str, object]

    def __str__(self) -> str:
        return call_text(self.name, self.passed)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a write came from.

    Args:
        functions: The functions that the write was in, the innermost first; empty for an operator by itself.
        file: File of the line that called the outermost of them, or the operator.
        line: Number of that line.
        module: The nearest module whose method has that line.
        layer: Class name of that module, or "".
        key: Equal for the writes of one call.
    """

    functions: tuple[FunctionCall, ...] = ()
    file: str = ""
    line: int = 0
    module: weakref.ref[nn.Module] | None = None
    layer: str = ""
    key: tuple[object, ...] = ()


def origin_of(frame: FrameType | None, tensor: Tensor) -> Origin:
    """The origin of a write to a tensor, from a frame upwards."""
    functions: list[FunctionCall] = []
    key: tuple[object, ...] = ()
    for each in _callers(frame):
        if not _fills(each, tensor):
            module = _module_of(each)
            return Origin(
                functions=tuple(functions),
                file=each.f_code.co_filename,
                line=each.f_lineno,
                module=None if module is None else weakref.ref(module),
                layer="" if module is None else type(module).__name__,
                key=(*key, id(each), each.f_lasti) if key else (),
            )
        functions.append(_call_in(each))
        key = (id(each), each.f_code)
    return Origin()


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if not _is_passed(frame.f_code):
            yield frame
        frame = frame.f_back


@lru_cache(maxsize=4096)
def _is_passed(code: CodeType) -> bool:
    file = code.co_filename
    if file.startswith(PASSED) or file.endswith("typing_extensions.py"):
        return True
    if file.startswith(_TORCH):
        return not file.startswith(_DECIDING)
    return file.startswith(STANDARD_LIBRARY) and "site-packages" not in file


def _fills(frame: FrameType, tensor: Tensor) -> bool:
    """Whether a frame is of a function that fills its first argument, by its name in torch's manner, as `normal_`."""
    code = frame.f_code
    if not code.co_argcount or not code.co_name.endswith("_") or code.co_name.endswith("__"):
        return False
    first: Any = frame.f_locals.get(code.co_varnames[0])
    if not issubclass(type(first), Tensor) or not has_memory(first):
        return False
    return _torch.storage_id(first) == _torch.storage_id(tensor)


def _call_in(frame: FrameType) -> FunctionCall:
    code, defaults = frame.f_code, _defaults(frame)
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    given = {name: _plain(frame.f_locals[name]) for name in names if name in frame.f_locals}
    passed = {name: value for name, value in given.items() if name not in defaults or value != defaults[name]}
    is_known = str(frame.f_globals.get("__name__", "")).startswith(LIBRARIES)
    return FunctionCall(name=code.co_name, is_known=is_known, arguments=given, passed=passed)


def _defaults(frame: FrameType) -> Mapping[str, object]:
    """The defaults of the function that runs in a frame, if it can be found among the globals of its module."""
    code = frame.f_code
    if code not in _DEFAULTS:
        function = frame.f_globals.get(code.co_name)
        while type(function) is FunctionType and "__wrapped__" in vars(function):
            function = vars(function)["__wrapped__"]
        functions = (each for each in (function, *frame.f_globals.values()) if type(each) is FunctionType)
        found = next((each for each in functions if each.__code__ is code), None)
        parameters = [] if found is None else inspect.signature(found).parameters.values()
        _DEFAULTS[code] = {each.name: _plain(each.default) for each in parameters if each.default is not each.empty}
    return _DEFAULTS[code]


def _plain(value: object) -> object:
    """A number, a string, or the name of a type: a trace keeps no object of the program."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def call_text(name: str, arguments: Mapping[str, object]) -> str:
    """A call with arguments.

    Example:
        >>> call_text("kaiming_uniform_", {"a": 5**0.5, "mode": "fan_out"})
        "kaiming_uniform_(a=2.236, mode='fan_out')"
    """
    is_number = {key: isinstance(value, (int, float)) and type(value) is not bool for key, value in arguments.items()}
    shown = (f"{key}={number_text(value) if is_number[key] else repr(value)}" for key, value in arguments.items())
    return f"{name}({', '.join(shown)})"


def number_text(value: object) -> str:
    """A number with four digits."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _module_of(frame: FrameType | None) -> nn.Module | None:
    """The nearest module of which a method runs in a frame or above it; `apply` is no method of its own."""
    for each in _callers(frame):
        code = each.f_code
        if code.co_argcount and code.co_varnames[0] == "self":
            owner: Any = each.f_locals.get("self")
            if issubclass(type(owner), nn.Module):  # `isinstance` would run code of proxies.
                return cast(nn.Module, owner)
    return None
