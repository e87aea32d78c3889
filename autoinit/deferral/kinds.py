"""What a function of torch does with tensors: read them, fill them, ask for their shape, make another view, draw."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

Function = Callable[..., Any]


class Kind(Enum):
    """What has to happen before a function is called while fills are pending."""

    ASKS = "asks"
    """It looks at no values and draws none: shapes, dtypes, empty tensors. Nothing."""
    VIEWS = "views"
    """It gives the same memory again: `.data`, `.detach()`, slices. Nothing; what is written there can be recorded."""
    FILLS = "fills"
    """It writes to its first argument by its other ones, which are numbers: it is recorded."""
    READS = "reads"
    """It looks at values, or may: what is pending on its arguments is run."""
    EXPOSES = "exposes"
    """It gives the memory to somebody who is not seen: what is pending there is run, and nothing is recorded there."""
    DRAWS = "draws"
    """It draws random numbers, or may: everything pending that draws is run."""


def _names(text: str) -> list[str]:
    return text.split()


ASKING_METHODS = _names("""
    dim ndimension size stride numel nelement storage_offset element_size is_contiguous is_floating_point is_complex
    is_pinned get_device requires_grad_ new_empty new_zeros new_ones new_full new_tensor register_hook __len__ __hash__
    is_shared is_inference
""")
ASKING_PROPERTIES = _names("""
    shape dtype device layout ndim requires_grad is_leaf grad grad_fn is_meta is_cuda is_sparse is_quantized is_nested
    _version names nbytes itemsize is_cpu is_mkldnn is_mps is_xpu is_xla is_vulkan is_ipu is_maia is_mtia is_sparse_csr
    output_nr _backward_hooks retains_grad _base __class__
""")
ASKING_FUNCTIONS = _names("""
    empty zeros ones full arange linspace logspace eye tensor as_tensor empty_like zeros_like ones_like full_like
    empty_strided is_tensor numel get_default_dtype tril_indices triu_indices is_floating_point is_complex
    empty_permuted scalar_tensor
""")
VIEWING_METHODS = _names("""
    detach view view_as t transpose permute unsqueeze squeeze narrow select expand movedim swapaxes unflatten diagonal
    chunk split unbind as_strided expand_as
""")
VIEWING_PROPERTIES = ["data", "T", "mT", "H", "mH"]
FILLING_METHODS = _names("""
    fill_ zero_ mul_ add_ sub_ div_ clamp_ clamp_min_ clamp_max_ clip_ neg_ abs_ pow_ sqrt_ exp_ log_ erfinv_ square_
    reciprocal_ sign_ sin_ cos_ tanh_ multiply_ subtract_ divide_
""")
DRAWING_METHODS = _names("normal_ uniform_ log_normal_ exponential_ cauchy_ geometric_ random_ bernoulli_")
EXPOSING_METHODS = _names("""
    numpy __array__ __dlpack__ data_ptr untyped_storage storage _typed_storage share_memory_ set_
""")
INIT_FUNCTIONS = ["uniform_", "normal_", "constant_", "kaiming_uniform_", "kaiming_normal_"]
"""Those of `torch.nn.init` that announce themselves; the others arrive as the methods that they call."""


def _draws(name: str) -> bool:
    """Whether torch knows an operator by this name, and says that it draws."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None and hasattr(packet, "overloads") else ()
    return any(torch.Tag.nondeterministic_seeded in getattr(packet, each).tags for each in overloads)


def _is_operator(name: str) -> bool:
    return hasattr(getattr(torch.ops.aten, name, None), "overloads")


def _methods(names: Iterable[str], kind: Kind) -> dict[Function, Kind]:
    return {getattr(Tensor, name): kind for name in names if hasattr(Tensor, name)}


def _getters(names: Iterable[str], kind: Kind) -> dict[Function, Kind]:
    found = {}
    for name in names:
        attribute = getattr(Tensor, name, None)
        getter = getattr(attribute, "__get__", None)
        if getter is not None:
            found[getter] = kind
    return found


KNOWN: dict[Function, Kind] = {
    **_methods(ASKING_METHODS, Kind.ASKS),
    **_getters(ASKING_PROPERTIES, Kind.ASKS),
    **{getattr(torch, name): Kind.ASKS for name in ASKING_FUNCTIONS if hasattr(torch, name)},
    torch._C._set_grad_enabled: Kind.ASKS,
    **_methods(VIEWING_METHODS, Kind.VIEWS),
    **_getters(VIEWING_PROPERTIES, Kind.VIEWS),
    **_methods((*FILLING_METHODS, *DRAWING_METHODS), Kind.FILLS),
    **_methods(EXPOSING_METHODS, Kind.EXPOSES),
    **{getattr(nn.init, name): Kind.FILLS for name in INIT_FUNCTIONS},
}


def kind_of(function: Function) -> Kind:
    """The kind of a function that a mode is told of.

    Example:
        >>> (
        ...     kind_of(torch.empty),
        ...     kind_of(Tensor.normal_),
        ...     kind_of(torch.randn),
        ...     kind_of(torch.stack),
        ... )
        (<Kind.ASKS: 'asks'>, <Kind.FILLS: 'fills'>, <Kind.DRAWS: 'draws'>, <Kind.READS: 'reads'>)
    """
    known = KNOWN.get(function)
    if known is None:
        known = KNOWN[function] = _classify(function)
    return known


def _classify(function: Function) -> Kind:
    name = getattr(function, "__name__", "")
    if isinstance(function, types.FunctionType):
        return _classify_python(function, name)
    plain = name.strip("_")
    if _draws(name) or _draws(plain):
        return Kind.DRAWS
    is_method = isinstance(function, (types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType))
    return Kind.READS if is_method or _is_operator(name) or _is_operator(plain) else Kind.DRAWS


def _classify_python(function: types.FunctionType, name: str) -> Kind:
    """Of what a function in Python is made is not seen any more when a mode calls it: it has to be known as a whole."""
    if is_init(function):
        return Kind.FILLS if name in INIT_FUNCTIONS else Kind.DRAWS
    if function.__module__ in ("torch.functional", "torch._tensor") or function is torch._assert:
        return Kind.READS
    if function.__module__ == "torch.nn.functional" and not any(word in name for word in DRAWING_WORDS):
        return Kind.READS
    return Kind.DRAWS


DRAWING_WORDS = ("dropout", "gumbel", "rrelu", "fractional", "attention")
"""What the names of those of `torch.nn.functional` have in them that draw."""


def is_init(function: types.FunctionType) -> bool:
    """Whether a function is one of `torch.nn.init`, or what another library has put in its place for a while."""
    return function.__module__ in ("torch.nn.init", "transformers.initialization")
