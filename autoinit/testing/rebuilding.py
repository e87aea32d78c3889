"""A model built twice: whether the seed decides all of it, and if not, what else does."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..applying import check_module
from ..errors import StateError
from .differences import Difference, check_memory, differences, tensors_of

Factory = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that must not matter to a model that is built under a seed.

    Args:
        make: brings it about.
        found: what is said if it does matter, with a place for the names of what differs.
    """

    make: Callable[[], object]
    found: str


def changes() -> Mapping[str, Change]:
    """What the second build is done under, by name: other threads, and other generators in another state."""
    # Not one draw further on: functions that draw until a number fits would fall into step again.
    found = {
        "threads": Change(
            make=lambda: torch.set_num_threads(_other_threads()), found="The number of threads decides {}."
        ),
        "random": Change(
            make=lambda: random.seed(str(random.random())),
            found="Python's `random`, which torch.manual_seed does not seed, decides {}.",
        ),
    }
    numpy = _numpy_random()
    if numpy is not None:
        found["numpy"] = Change(
            make=lambda: numpy.seed(numpy.randint(1 << 31)),
            found="NumPy's generator, which torch.manual_seed does not seed, decides {}.",
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
        check_memory({fqn: tensor for fqn, (_, tensor) in tensors_of(made).items()})
        self._built[:] = [made, *self._built[-1:]]
        return made

    def causes(self, first: nn.Module) -> Iterator[str]:
        """What decides the values besides the seed, each found by a build of its own."""
        if found := list(differences(first, self.build())):
            yield (
                f"With all else the same, too, it is another {_named(found)}: drawn from a generator that nobody seeds "
                "(`os.urandom`, `numpy.random.default_rng()`, `torch.Generator().seed()`), or made of what was built "
                "before, of the time, or of the order of a set."
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
