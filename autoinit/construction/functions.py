"""Functions of torch that read values through operators, or hand out addresses; and the mode that sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from types import FunctionType, MethodDescriptorType, MethodWrapperType, WrapperDescriptorType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .. import _torch
from .operators import names


class Access(Enum):
    """The way in which a function of torch reads or writes values."""

    BY_OPERATORS = "each read and write is an operator that a dispatch mode sees"
    COMPOSITE = "the same, but torch takes it apart before a mode sees it, and a few parts read memory themselves"
    UNKNOWN = "it may hand out the address"
    CALLS = "it calls functions of the user or hooks, within which no mode sees functions"


METADATA = names("""
    dim ndimension size stride numel nelement storage_offset element_size is_contiguous is_floating_point
    is_complex is_pinned get_device requires_grad_ register_hook __len__ __hash__ is_shared is_inference
    _is_view is_set_to is_signed is_conj is_neg has_names type_as _parse_to _has_compatible_shallow_copy_type
    is_tensor is_storage _set_grad_enabled __format__ retain_grad register_post_accumulate_grad_hook
    requires_grad get_default_dtype is_same_size result_type can_cast __getitem__ __setitem__ __bool__ _use_count
""")
"""Functions that are no operators, and read no values or read them by operators."""
NUMBERS_ONLY = ("torch.nn.init", "transformers.initialization")
"""Modules with functions in Python that fill by operators."""
ARITHMETIC = ("torch.functional", "torch.nn.functional")
"""Modules with functions in Python that compute, and keep nothing of what they are given."""
CALLERS = names("apply_ map_ map2_ backward grad")
VIEWS = names("""
    view_as reshape reshape_as flatten unflatten chunk split tensor_split narrow movedim moveaxis swapaxes
    swapdims T mT H mH expand_as ravel atleast_1d atleast_2d atleast_3d contiguous type_as to data numpy_T
    broadcast_to matrix_H adjoint detach requires_grad_ zeros_like
""")
"""Composite functions that read only by operators."""


@lru_cache(maxsize=4096)
def access_of(function: Any) -> Access:
    """The way in which a function reads or writes the values of its arguments."""
    name = getattr(function, "__name__", "")
    if isinstance(function, _torch.OpOverload):
        return Access.BY_OPERATORS
    if name in CALLERS:
        return Access.CALLS
    if isinstance(function, MethodWrapperType):  # Properties in C hand out no addresses.
        is_python = isinstance(getattr(function, "__self__", None), property)
        return Access.UNKNOWN if is_python else Access.BY_OPERATORS
    if isinstance(function, FunctionType):
        if function.__module__ in NUMBERS_ONLY or name in METADATA:
            return Access.BY_OPERATORS
        return Access.COMPOSITE if function.__module__ in ARITHMETIC else Access.UNKNOWN
    if name in METADATA or name in VIEWS:
        return Access.BY_OPERATORS
    if name == "new_tensor":  # It reads numbers in a list unseen.
        return Access.COMPOSITE
    is_method = isinstance(function, (WrapperDescriptorType, MethodDescriptorType))
    packet = _overloads(name) or (_overloads(name.strip("_")) if is_method else [])
    return Access.UNKNOWN if not packet else Access.COMPOSITE if any(packet) else Access.BY_OPERATORS


def _overloads(name: str) -> list[bool]:
    """True for each composite overload of an operator, False for the others; empty for an unknown name."""
    packet: Any = getattr(torch.ops.aten, name, None)
    found = []
    for each in packet.overloads() if hasattr(packet, "overloads") else ():
        with suppress(RuntimeError):  # TorchScript has more overloads than the dispatcher.
            found.append(getattr(packet, each).has_kernel_for_dispatch_key("CompositeImplicitAutograd"))
    return found


class FunctionMode(TorchFunctionMode):
    """Sees functions of torch, among them those that read or hand out memory without an operator."""

    def __init__(self, handle: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self._handle = handle

    def put(self, on: bool) -> None:
        """Put it at the bottom of the stack, or take it off.

        Only the default device (`torch.set_default_device`) keeps its place: torch looks for it at the very bottom.
        """
        modes, default = _torch.take_function_modes(), _torch.default_device_mode()
        if self in modes:
            modes.remove(self)
        at = 1 if modes and modes[0] is default else 0
        _torch.put_function_modes([*modes[:at], *([self] if on else []), *modes[at:]])

    @_torch.not_compiled
    def __torch_function__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        if torch.compiler.is_dynamo_compiling():  # The compiler traces this, too; what it makes of it is watched.
            return func(*args, **(kwargs or {}))
        return self._handle(func, args, kwargs or {})
