"""A model built twice: whether the seed decides all of it, and if not, what else does."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..applying import check_module, is_sharded
from ..errors import StateError
from ..layers import class_name
from ..planning import joined, walk

Factory = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that must not matter to a model that is built under a seed.

    Args:
        make: brings it about.
        found: what is said of the parameters for which it matters, after "decides" or before their names.
    """

    make: Callable[[], object]
    found: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A parameter or buffer that two builds do not have in common: its FQN, its layer, and in what they differ."""

    fqn: str
    layer: str
    text: str

    def __str__(self) -> str:
        return f"{self.fqn} ({self.layer}): {self.text}"


def changes() -> Mapping[str, Change]:
    """What the second build is done under, by name: other threads, and other generators one draw further on."""
    found = {
        "threads": Change(
            make=lambda: torch.set_num_threads(_other_threads()), found="The number of threads decides {}."
        ),
        "random": Change(
            make=random.random, found="Python's `random`, which torch.manual_seed does not seed, decides {}."
        ),
    }
    numpy = _numpy_random()
    if numpy is not None:
        found["numpy"] = Change(
            make=numpy.random, found="NumPy's generator, which torch.manual_seed does not seed, decides {}."
        )
    return found


def _other_threads() -> int:
    return 1 if torch.get_num_threads() > 1 else 2


def _numpy_random() -> Any:
    """The module, if anybody has imported it: else nothing can have drawn from it."""
    return getattr(sys.modules.get("numpy"), "random", None)


class Rebuilding:
    """Builds of one factory under one seed, each from the same state of all other generators.

    Args:
        factory: builds a model.
        seed: for `torch.manual_seed`.
    """

    def __init__(self, factory: Factory, seed: int) -> None:
        self._factory = factory
        self._seed = seed
        self._built: list[nn.Module] = []

    def build(self, conditions: Sequence[Change] = ()) -> nn.Module:
        """One more model, after some things have changed that should not matter.

        Raises:
            StateError: the factory gives what it gave before, or what has no values.
        """
        with undisturbed():
            for change in conditions:
                change.make()
            torch.manual_seed(self._seed)
            made = self._factory()
        check_module(made, "assert_same_init")
        if any(made is other for other in self._built):
            raise StateError(
                f"assert_same_init(): the factory gave the same {type(made).__name__} twice. It has to build one each "
                "time; what is built once is the same in any case."
            )
        meta = next(
            (fqn for fqn, (_, tensor) in tensors_of(made).items() if tensor.is_meta and not is_lazy(tensor)), None
        )
        if meta is not None:
            raise StateError(
                f"assert_same_init(): {meta} is on the meta device and has no values. Build on a device with memory.",
                fqn=meta,
            )
        self._built[:] = [made, *self._built[-1:]]
        return made

    def causes(self, first: nn.Module) -> Iterator[str]:
        """What decides the values besides the seed, each found by a build of its own."""
        if found := list(differences(first, self.build())):
            yield (
                f"{_named(found)} differ with nothing else changed: they are drawn from a generator that nobody seeds "
                "(`os.urandom`, `numpy.random.default_rng()`, `torch.Generator().seed()`), or depend on what was built "
                "before, on the time, or on the order of a set."
            )
            return
        for change in changes().values():
            if found := list(differences(first, self.build([change]))):
                yield change.found.format(_named(found))


def _named(found: Sequence[Difference]) -> str:
    return found[0].fqn + (f" and {len(found) - 1} more" if len(found) > 1 else "")


@contextmanager
def undisturbed() -> Iterator[None]:
    """A stretch after which the generators of torch, Python and NumPy, and the number of threads, are as before.

    Example:
        >>> before = random.getstate()
        >>> with undisturbed():
        ...     _ = random.random()
        >>> random.getstate() == before
        True
    """
    threads, state, numpy = torch.get_num_threads(), random.getstate(), _numpy_random()
    numpy_state = numpy.get_state() if numpy is not None else None
    # torch.manual_seed seeds accelerators, too; one that nobody has used yet has no state to keep.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(state)
        if numpy is not None:
            numpy.set_state(numpy_state)
        torch.set_num_threads(threads)


def differences(first: nn.Module, second: nn.Module) -> Iterator[Difference]:
    """The parameters and buffers that are not bitwise equal in two models, in the order of the first.

    Example:
        >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> _ = other.load_state_dict(one.state_dict())
        >>> _ = nn.init.zeros_(one.bias), nn.init.ones_(other.bias)
        >>> print(*differences(one, other))
        bias (Linear): 2 of 2 values differ, by 1 at most
    """
    one, other = tensors_of(first), tensors_of(second)
    for fqn in {**one, **other}:
        layer, tensor = one.get(fqn) or other[fqn]
        text = _difference(tensor, other[fqn][1]) if fqn in one and fqn in other else "only one build has it"
        if text:
            yield Difference(fqn=fqn, layer=layer, text=text)


def tensors_of(module: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Layer and tensor of all parameters and buffers, under all their names."""
    return {
        joined(node.fqn, name): (class_name(node.module), tensor.detach())
        for node in walk(module)
        for tensors in (node.module._parameters, node.module._buffers)
        for name, tensor in tensors.items()
        if tensor is not None
    }


def _difference(one: Tensor, other: Tensor) -> str:
    if is_lazy(one) or is_lazy(other):
        return "" if is_lazy(one) and is_lazy(other) else "it has a shape in one build only"
    for what in ("shape", "dtype", "device"):
        if getattr(one, what) != getattr(other, what):
            return f"its {what} is {getattr(one, what)} or {getattr(other, what)}"
    one, other = _plain(one), _plain(other)
    if not one.numel() or torch.equal(_bytes(one), _bytes(other)):
        return ""
    differing = (_bytes(one) != _bytes(other)).any(1)
    wide = torch.complex128 if one.is_complex() else torch.float64
    gap = float((one.reshape(-1)[differing].to(wide) - other.reshape(-1)[differing].to(wide)).abs().max())
    return f"{int(differing.sum()):,} of {one.numel():,} values differ, by {gap:.3g} at most"


def _plain(tensor: Tensor) -> Tensor:
    """What this rank has of a tensor, with all its values in memory."""
    tensor = tensor.to_local() if is_sharded(tensor) else tensor
    if tensor.is_quantized:
        return tensor.int_repr()
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense.resolve_conj().resolve_neg()


def _bytes(tensor: Tensor) -> Tensor:
    """A row of bytes for each value: NaN equals itself there, and -0 is not 0."""
    return tensor.contiguous().view(-1).view(torch.uint8).view(tensor.numel(), tensor.element_size())
