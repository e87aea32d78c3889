"""Build a model twice under one seed, compare the two bit for bit, and find what else decides its values."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..applying import check_module, is_sharded
from ..errors import StateError
from ..layers import class_name
from ..planning import joined, walk
from ..planning.entries import shape_text
from ..propagation.state import generators_kept

Factory = Callable[[], nn.Module]


def changes() -> Mapping[str, Callable[[], object]]:
    """Changes that must not matter under a seed: other threads, other generators; by the text for where they do."""
    # New seeds, not one draw more: functions that draw until a number fits would fall into step again.
    found: dict[str, Callable[[], object]] = {
        "The number of threads decides {}.": lambda: torch.set_num_threads(1 if torch.get_num_threads() > 1 else 2),
        "Python's `random`, which torch.manual_seed does not seed, decides {}.": (
            lambda: random.seed(str(random.random()))
        ),
    }
    if numpy := sys.modules.get("numpy"):
        text = "NumPy's generator, which torch.manual_seed does not seed, decides {}."
        found[text] = lambda: numpy.random.seed(numpy.random.randint(1 << 31))
    return found


def build(
    factory: Factory, seed: int, first: nn.Module | None = None, changed: Iterable[Callable[[], object]] = ()
) -> nn.Module:
    """Build a model under a seed, after some changes that should not matter; the RNG states stay."""
    with _undisturbed():
        for change in changed:
            change()
        torch.manual_seed(seed)
        made = factory()
    check_module(made, "assert_same_init")
    if made is first:
        raise StateError(
            f"assert_same_init(): the factory gave the same {type(made).__name__} twice. It has to build one each "
            "time; what is built once is the same in any case."
        )
    for fqn, (_, tensor) in tensors_of(made).items():
        if tensor.is_meta and not is_lazy(tensor):
            text = f"{fqn} is on the meta device and has no values to look at. Build the model on a device with memory."
            raise StateError(text, fqn=fqn)
    return made


def causes(factory: Factory, seed: int, first: nn.Module) -> Iterator[str]:
    """Everything besides the seed that decides the values, each found by a build of its own."""
    if found := [*differences(first, build(factory, seed, first))]:
        yield (
            f"With all else the same, too, it is another {_named(found)}: drawn from a generator that is not seeded "
            "(`os.urandom`, `numpy.random.default_rng()`, `torch.Generator().seed()`), or made of what was built "
            "before, of the time, or of the order of a set."
        )
        return
    for text, change in changes().items():
        if found := [*differences(first, build(factory, seed, first, [change]))]:
            yield text.format(_named(found))


def _named(fqns: list[str]) -> str:
    return fqns[0] + (f" and {len(fqns) - 1} more" if len(fqns) > 1 else "")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back the RNG states of torch, Python and NumPy, and the number of threads."""
    threads = torch.get_num_threads()
    # torch.manual_seed also seeds accelerators; one that was never used has no state to keep.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with generators_kept("cuda", devices):
            yield
    finally:
        torch.set_num_threads(threads)


def differences(first: nn.Module, second: nn.Module) -> dict[str, str]:
    """By FQN, a text on each parameter and buffer that is not bitwise equal in two models."""
    one, other = tensors_of(first), tensors_of(second)
    found = dict.fromkeys({**one, **other}, "only one build has it")
    found.update((fqn, _difference(tensor, other[fqn][1])) for fqn, (_, tensor) in one.items() if fqn in other)
    return {fqn: f"{fqn} ({(one.get(fqn) or other[fqn])[0]}): {text}" for fqn, text in found.items() if text}


def tensors_of(module: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Layer and tensor of all parameters and buffers, under all their names."""
    return {
        joined(node.fqn, name): (class_name(node.module), tensor if is_lazy(tensor) else tensor.detach())
        for node in walk(module)
        for tensors in (node.module._parameters, node.module._buffers)
        for name, tensor in tensors.items()
        if tensor is not None
    }


def _difference(one: Tensor, other: Tensor) -> str:
    if is_lazy(one) or is_lazy(other):
        return "" if is_lazy(one) and is_lazy(other) else "it has a shape in one build only"
    if one.shape != other.shape:
        return f"its shape is {shape_text(tuple(one.shape))} or {shape_text(tuple(other.shape))}"
    if (one.dtype, one.device) != (other.dtype, other.device):
        return f"it is {one.dtype} on {one.device} or {other.dtype} on {other.device}"
    one, other = _plain(one), _plain(other)
    if torch.equal(_bytes(one), _bytes(other)):
        return ""
    differing = (_bytes(one) != _bytes(other)).any(1)
    wide = torch.complex128 if one.is_complex() else torch.float64
    gap = float((one.reshape(-1)[differing].to(wide) - other.reshape(-1)[differing].to(wide)).abs().max())
    return f"{int(differing.sum()):,} of {one.numel():,} values differ, by {gap:.3g} at most"


def _plain(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, as a dense tensor of numbers."""
    tensor = tensor.to_local() if is_sharded(tensor) else tensor
    if tensor.is_quantized:
        return tensor.int_repr()
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense.resolve_conj().resolve_neg()


def _bytes(tensor: Tensor) -> Tensor:
    """A row of bytes for each value: as bytes, NaN equals itself and -0 is not 0."""
    return tensor.contiguous().view(-1).view(torch.uint8).view(tensor.numel(), tensor.element_size())
