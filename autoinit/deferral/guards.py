"""Pieces of memory, told by their storage, and who else writes there."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor


def storage_of(tensor: Tensor) -> int:
    """What tensors that share memory have in common."""
    return int(tensor.untyped_storage()._cdata)


def _uses(storage: int) -> int:
    return int(torch._C._storage_Use_Count(storage))


_ALONE = torch.empty(1, device="cpu")
_USES_BESIDE = _uses(storage_of(_ALONE)) - 1
"""What torch counts for a tensor's storage, once it was asked for, beside the tensor."""


class Guard:
    """The parameters that share a piece of memory: by their versions writes of others are seen.

    It keeps their memory only while something is pending there: what a constructor throws away is gone.

    Args:
        param: the first of them.
    """

    def __init__(self, param: Tensor) -> None:
        self._storage = storage_of(param)
        self._params = [weakref.ref(param)]
        self._views: list[Tensor] = []
        self.own = 0
        """How many of the writes that the versions count were fills that had been pending."""

    def __iter__(self) -> Iterator[Tensor]:
        """Those that are left, and still have this memory."""
        for each in self._params:
            param = each()
            if param is not None and storage_of(param) == self._storage:
                yield param

    def __contains__(self, param: Tensor) -> bool:
        return any(each is param for each in self)

    def __bool__(self) -> bool:
        """Whether there is any; if not, other memory may have come to the place of theirs."""
        for each in self._params:
            param = each()
            if param is not None and storage_of(param) == self._storage:
                return True
        return False

    def add(self, param: Tensor) -> None:
        """One more; with nothing pending."""
        self._params.append(weakref.ref(param))

    def begin(self) -> None:
        """Something is pending now."""
        self._views = [param.detach() for param in self]
        self.own = 0

    def end(self) -> None:
        """Nothing is pending any more."""
        self._views.clear()

    def is_alone(self, storage: int, records: int) -> bool:
        """Whether nobody has the memory any more but this, and as many fills that are pending."""
        return _uses(storage) - _USES_BESIDE <= len(self._views) + records

    @property
    def version(self) -> int:
        """Rises with each write through one of them."""
        return sum(view._version for view in self._views)

    @property
    def writes(self) -> int:
        """How many writes there were, but for those of fills that had been pending."""
        return self.version - self.own
