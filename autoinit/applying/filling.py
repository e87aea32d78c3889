"""Fills written to parameters: those of independent elements together, others each alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import cast

import torch
from torch import Tensor

from .._torch import not_compiled, version_kept
from ..errors import ApplyError, AutoInitError
from ..fills import Constant, Elementwise, Fill, calls_function, seeded
from ..layers import is_lazy
from ..planning import FILLED, Entry, joined
from ..sampling import Key, Sampler, derive_key
from .seeds import Values
from .sharding import is_sharded, local_of, region_of
from .targets import Targets


@not_compiled
def fill(entries: Iterable[Entry], targets: Targets, values: Values, outcomes: dict[str, str]) -> None:
    """Write the fills of entries that have one and are not kept; note the outcome of each that is written.

    Raises:
        ApplyError: a fill failed, such as a user's function.
    """
    together: dict[tuple[torch.device, bool], list[Entry]] = {}
    for entry in entries:
        if entry.fill is None or entry.kept is not None:
            continue
        param = targets.params[entry.fqn]
        is_independent = isinstance(entry.fill, (Elementwise, Constant))
        if is_independent and entry.fqn not in targets.weights and not is_sharded(param):
            together.setdefault((param.device, param.is_inference()), []).append(entry)
        else:
            _write([entry], targets, values, is_alone=True)
            outcomes[entry.fqn] = FILLED
    for group in together.values():
        _write(group, targets, values)
        outcomes |= dict.fromkeys((entry.fqn for entry in group), FILLED)


def _write(entries: Sequence[Entry], targets: Targets, values: Values, *, is_alone: bool = False) -> None:
    """Write one fill of any kind, or several of independent elements, the random ones with one call."""
    tensors = [tensor for entry in entries for tensor in targets.tensors(entry.fqn)]
    at, drawn = entries[0], dict[Key, Entry]()
    sampler: Sampler | None = None
    try:
        with writable(tensors):
            sampler = values.sampler(tensors[0].device)
            for at in entries:
                if is_alone:
                    _write_alone(at, targets, values, sampler)
                elif isinstance(at.fill, Constant):
                    distinct(targets.params[at.fqn].data).fill_(at.fill.value)
                else:
                    drawn[values.key(at.fqn, 0)] = at
            if drawn:
                at = entries[0]
                outs = [targets.params[entry.fqn].data for entry in drawn.values()]
                fills = (cast(Elementwise, entry.fill) for entry in drawn.values())
                sampler.draw_each(outs, list(drawn), [each.transform() for each in fills])
    except AutoInitError:
        raise
    except Exception as error:  # A function of the user can raise anything.
        if sampler is not None and sampler.drawing is not None:
            at = drawn.get(sampler.drawing, at)
        reason = f"{type(error).__name__}: {error}"
        text = f"{at.origin}: {at.fill} failed on {at.fqn} of shape {at.shape}: {reason}"
        raise ApplyError(text, origin=at.origin, fqn=at.fqn) from error
    for tensor in tensors:
        if not tensor.is_inference():
            # Written through .data in many pieces; autograd has to see one write, as after torch.nn.init.
            torch.autograd.graph.increment_version(tensor)


def _write_alone(entry: Entry, targets: Targets, values: Values, sampler: Sampler) -> None:
    """Write a fill of any kind: whole, this rank's shard, or through a parametrization."""
    param, weight = targets.params[entry.fqn], targets.weights.get(entry.fqn)
    given, key_of = cast(Fill, entry.fill), partial(values.key, entry.fqn)
    if weight is not None:
        out = torch.empty_like(weight.picture(), device=param.device)
    elif is_sharded(param):
        out = local_of(param).detach()
    else:
        out = param if calls_function(given) else param.data
    # Libraries keep attributes on a parameter that fills read, such as `infshape` of mup.
    for name, value in vars(param).items() if out is not param else ():
        vars(out).setdefault(name, value)
    if weight is None and is_sharded(param):
        if out.numel():
            given.write_region(out, region_of(param), key_of, sampler)
        return
    with version_kept(out):
        given.write(out, key_of, sampler)
    if weight is not None:
        # Some inverses draw random numbers: from no generator of the user's, and the same everywhere.
        with seeded(param.device, derive_key(0, 0, joined(values.prefix, entry.fqn)).offset >> 1):
            weight.set(out)


def writable(tensors: Iterable[Tensor]) -> AbstractContextManager[object]:
    """A context in which tensors can be written in place: those made in inference mode cannot outside of it."""
    is_inference = any(not is_lazy(tensor) and tensor.is_inference() for tensor in tensors)
    return torch.inference_mode() if is_inference else torch.no_grad()


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
