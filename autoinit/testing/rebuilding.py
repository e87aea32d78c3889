"""Build a model twice under one seed, and find what else decides its values."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..applying import check_module
from ..errors import StateError
from ..propagation.state import generators_kept
from .differences import differences, tensors_of

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
    """Build a model under a seed, after some changes that should not matter; the RNG states stay.

    Raises:
        StateError: the factory returns the first model again, or one without values.
    """
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
