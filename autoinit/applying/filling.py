"""Fills written to parameters: those of independent elements together, others each for itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from .._torch import not_compiled
from ..errors import ApplyError, AutoInitError
from ..fills import Constant, Elementwise, seeded
from ..layers import is_lazy
from ..planning import Entry
from ..sampling import Sampler, derive_key
from .seeds import Values
from .sharding import copy_attributes, is_sharded, local_of, region_of
from .targets import Targets


@not_compiled
def fill_in(entries: Iterable[Entry], targets: Targets, values: Values) -> Iterator[Entry]:
    """Write the fills of some entries; gives each entry when it is written.

    Raises:
        ApplyError: a user's function failed; the entries given so far are written, no other is.
    """
    together: dict[tuple[torch.device, bool], list[Entry]] = {}
    for entry in entries:
        param = targets.params[entry.fqn]
        is_quick = isinstance(entry.fill, (Elementwise, Constant))
        if is_quick and entry.fqn not in targets.weights and not is_sharded(param):
            together.setdefault((param.device, param.is_inference()), []).append(entry)
            continue
        with _writing([entry], targets):
            _write(entry, targets, values)
        yield entry
    for (device, _), group in together.items():
        with _writing(group, targets):
            _write_together(group, targets, values.sampler(device), values)
        yield from group


def _write(entry: Entry, targets: Targets, values: Values) -> None:
    if entry.fill is None:
        return
    param, weight = targets.params[entry.fqn], targets.weights.get(entry.fqn)
    sampler = values.sampler(param.device)
    if weight is None and is_sharded(param):
        local = local_of(param).detach()
        if local.numel():
            copy_attributes(param, local)
            entry.fill.write_region(local, region_of(param), lambda stream: values.key(entry.fqn, stream), sampler)
        return
    out = param.data if weight is None else torch.empty_like(weight.picture(), device=param.device)
    copy_attributes(param, out)
    if isinstance(entry.fill, Constant):
        distinct(out).fill_(entry.fill.value)
    else:
        entry.fill.write(out, lambda stream: values.key(entry.fqn, stream), sampler)
    if weight is not None:
        # Some inverses draw random numbers: from no generator of the user's, and the same everywhere.
        with seeded(param.device, derive_key(0, 0, values.name(entry.fqn)).offset >> 1):
            weight.set(out)


def _write_together(entries: Sequence[Entry], targets: Targets, sampler: Sampler, values: Values) -> None:
    """Fill parameters whose elements do not depend on each other, with one call for all that are random."""
    outs, keys, transforms, drawn = [], [], [], []
    at = entries[0]
    try:
        for at in entries:
            out = targets.params[at.fqn].data
            if isinstance(at.fill, Constant):
                distinct(out).fill_(at.fill.value)
            elif isinstance(at.fill, Elementwise):
                outs.append(out)
                keys.append(values.key(at.fqn, 0))
                transforms.append(at.fill.transform())
                drawn.append(at)
        at = entries[0]
        sampler.draw_each(outs, keys, transforms)
    except Exception as error:
        raise _failed(drawn[keys.index(sampler.drawing)] if sampler.drawing in keys else at, error) from error


def _failed(entry: Entry, error: Exception) -> ApplyError:
    text = f"{entry.origin}: {entry.fill} failed on {entry.fqn} of shape {entry.shape}: {type(error).__name__}: {error}"
    return ApplyError(text, origin=entry.origin, fqn=entry.fqn)


def writable(tensors: Iterable[Tensor]) -> AbstractContextManager[object]:
    """A context in which tensors can be written in place: those made in inference mode cannot outside of it.

    Example:
        >>> with torch.inference_mode():
        ...     tensor = torch.zeros(2)
        >>> with writable([tensor]):
        ...     tensor.fill_(1)
        tensor([1., 1.])
    """
    made_there = any(not is_lazy(tensor) and tensor.is_inference() for tensor in tensors)
    return torch.inference_mode() if made_there else torch.no_grad()


def distinct(tensor: Tensor) -> Tensor:
    """A view with each element of memory once, where an expanded tensor has it many times.

    Example:
        >>> distinct(torch.zeros(2, 1).expand(2, 3)).shape
        torch.Size([2, 1])
    """
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


@contextmanager
def _writing(entries: Sequence[Entry], targets: Targets) -> Iterator[None]:
    try:
        with writable(tensor for entry in entries for tensor in targets.tensors(entry.fqn)):
            yield
    except AutoInitError:
        raise
    except Exception as error:
        raise _failed(entries[0], error) from error
    for entry in entries:
        for tensor in targets.tensors(entry.fqn):
            if not tensor.is_inference():
                # Written through .data in many pieces; autograd has to see one write, as after torch.nn.init.
                torch.autograd.graph.increment_version(tensor)
