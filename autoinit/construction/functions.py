"""How functions of torch get at values: by operators, which a dispatch mode sees, or by the address of memory."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from functools import lru_cache
from types import FunctionType, MethodDescriptorType, MethodWrapperType, WrapperDescriptorType
from typing import Any

import torch

from .. import _torch
from .operators import names


class Access(Enum):
    """How a function of torch gets at values."""

    BY_OPERATORS = "by operators"
    """Each read and write is an operator that a dispatch mode sees."""
    COMPOSITE = "composite"
    """The same, but for a few that read memory themselves: torch takes them apart before a dispatch mode sees them."""
    UNKNOWN = "unknown"
    """It may hand out the address."""
    CALLS = "calls"
    """It calls code of others, in which no function is seen."""


METADATA = names("""
    dim ndimension size stride numel nelement storage_offset element_size is_contiguous is_floating_point
    is_complex is_pinned get_device requires_grad_ register_hook __len__ __hash__ is_shared is_inference
    _is_view is_set_to is_signed is_conj is_neg has_names type_as _parse_to _has_compatible_shallow_copy_type
    is_tensor is_storage _set_grad_enabled __format__ retain_grad register_post_accumulate_grad_hook
    requires_grad get_default_dtype is_same_size result_type can_cast __getitem__ __setitem__ __bool__ _use_count
""")
"""Functions that are no operators, and look at no values or do it by operators."""
NUMBERS_ONLY = frozenset({"torch.nn.init", "transformers.initialization"})
"""Modules with functions in Python that fill by operators."""
ARITHMETIC = frozenset({"torch.functional", "torch.nn.functional"})
"""Modules with functions in Python that compute, and keep nothing of what they are given."""
CALLERS = names("apply_ map_ map2_ backward grad")
"""Functions that are given functions, or run hooks."""
VIEWS = names("""
    view_as reshape reshape_as flatten unflatten chunk split tensor_split narrow movedim moveaxis swapaxes
    swapdims T mT H mH expand_as ravel atleast_1d atleast_2d atleast_3d contiguous type_as to data numpy_T
    broadcast_to matrix_H adjoint detach requires_grad_ zeros_like
""")
"""Composite functions that read nothing but by operators."""


@lru_cache(maxsize=4096)
def access_of(function: Any) -> Access:
    """How a function gets at the values of its arguments.

    Example:
        >>> access_of(torch.Tensor.mul_), access_of(torch.Tensor.tolist)
        (<Access.BY_OPERATORS: 'by operators'>, <Access.UNKNOWN: 'unknown'>)
    """
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
    if name == "new_tensor":  # Numbers in a list it reads unseen.
        return Access.COMPOSITE
    plain = name.strip("_") if isinstance(function, (WrapperDescriptorType, MethodDescriptorType)) else name
    known = [access for access in map(_operator_access, (name, plain)) if access is not None]
    return known[0] if known else Access.UNKNOWN


def _operator_access(name: str) -> Access | None:
    """How the operators of a name get at values; None if the dispatcher has none: TorchScript knows more."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None and hasattr(packet, "overloads") else ()
    found = []
    for each in overloads:
        with suppress(RuntimeError):
            found.append(getattr(packet, each).has_kernel_for_dispatch_key("CompositeImplicitAutograd"))
    if not found:
        return None
    return Access.COMPOSITE if any(found) else Access.BY_OPERATORS
