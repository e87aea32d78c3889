"""A model built twice under one seed; and if the builds differ, what else decides its values."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from ..applying import check_module
from ..errors import StateError
from ..propagation.state import generators_kept
from .differences import check_memory, differences, tensors_of

Factory = Callable[[], nn.Module]


def changes() -> Mapping[str, Callable[[], object]]:
    """What must not matter under a seed: other threads, other generators; by the text for where it does."""
    # Not one draw further on: functions that draw until a number fits would fall into step again.
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
    """Build a model under a seed, after some changes that should not matter; the generators stay as they were.

    Raises:
        StateError: the factory gives the first model again, or one without values.
    """
    with undisturbed():
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
    check_memory({fqn: tensor for fqn, (_, tensor) in tensors_of(made).items()})
    return made


def causes(factory: Factory, seed: int, first: nn.Module) -> Iterator[str]:
    """What decides the values besides the seed, each found by a build of its own."""
    if found := differences(first, build(factory, seed, first)):
        yield (
            f"With all else the same, too, it is another {_named([*found])}: drawn from a generator that nobody seeds "
            "(`os.urandom`, `numpy.random.default_rng()`, `torch.Generator().seed()`), or made of what was built "
            "before, of the time, or of the order of a set."
        )
        return
    for text, change in changes().items():
        if found := differences(first, build(factory, seed, first, [change])):
            yield text.format(_named([*found]))


def _named(fqns: list[str]) -> str:
    return fqns[0] + (f" and {len(fqns) - 1} more" if len(fqns) > 1 else "")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put back the generators of torch, Python and NumPy, and the number of threads."""
    threads = torch.get_num_threads()
    # torch.manual_seed also seeds accelerators; one that nobody has used yet has no state to keep.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with generators_kept("cuda", devices):
            yield
    finally:
        torch.set_num_threads(threads)
