"""Fills written to parameters: large ones each for itself, small ones of one distribution together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..errors import ApplyError, AutoInitError
from ..fills import Constant, Elementwise, Fill
from ..planning import Entry
from ..sampling import Sampler
from .values import Values

SMALL = 1 << 12
"""Below so many values the time of a draw is that of its calls, which many parameters can share."""


def fill_in(entries: Iterable[Entry], params: Mapping[str, Tensor], values: Values) -> Iterator[Entry]:
    """Write the fills of some entries; gives each entry when it is written.

    Raises:
        ApplyError: a user's function failed; the entries given so far are written, no other is.
    """
    together: dict[tuple[Fill, torch.device], list[Entry]] = {}
    for entry in entries:
        param = params[entry.fqn]
        if isinstance(entry.fill, (Elementwise, Constant)) and param.numel() <= SMALL:
            together.setdefault((entry.fill, param.device), []).append(entry)
            continue
        with _writing([entry], [param]):
            _write(entry, param, values)
        yield entry
    for (fill, device), group in together.items():
        outs = [params[entry.fqn] for entry in group]
        with _writing(group, outs):
            _write_together(fill, group, [out.data for out in outs], values.sampler(device), values)
        yield from group


def _write(entry: Entry, param: Tensor, values: Values) -> None:
    if entry.fill is not None:
        entry.fill.write(param.data, lambda stream: values.key(entry.fqn, stream), values.sampler(param.device))


def _write_together(
    fill: Fill, entries: Sequence[Entry], outs: Sequence[Tensor], sampler: Sampler, values: Values
) -> None:
    if isinstance(fill, Elementwise):
        sampler.draw_small(outs, [values.key(entry.fqn, 0) for entry in entries], fill.transform())
    elif isinstance(fill, Constant):
        for out in outs:
            out.fill_(fill.value)


@contextmanager
def _writing(entries: Sequence[Entry], params: Sequence[Tensor]) -> Iterator[None]:
    first = entries[0]
    try:
        with torch.no_grad():
            yield
    except AutoInitError:
        raise
    except Exception as error:
        also = f" and {len(entries) - 1} others" if len(entries) > 1 else ""
        raise ApplyError(
            f"{first.origin}: {first.fill} failed on {first.fqn} of shape {first.shape}{also}: "
            f"{type(error).__name__}: {error}",
            origin=first.origin,
            fqn=first.fqn,
        ) from error
    for param in params:
        if not param.is_inference():
            # Written through .data in many pieces; autograd has to see one write, as after torch.nn.init.
            torch.autograd.graph.increment_version(param)
