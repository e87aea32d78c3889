"""Parameters that follow from one another: clones, and streams that started from one seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .findings import Finding, impossible
from .statistics import of_direction

HEAD = 256
"""Values by which parameters are compared, the first of each."""

ROWS = 2048
"""Parameters that are compared with all others at a time."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first values of a random parameter.

    Args:
        values: at most `HEAD` of them, standardized by the distribution that was asked for, in float64 on the CPU.
        bits: of chance in one value.
        numel: of the whole parameter.
    """

    values: Tensor
    bits: float
    numel: int


def copies(heads: Mapping[str, Head]) -> Iterator[tuple[str, Finding]]:
    """Clones, and correlations between the parameters that are no clones, each under the later one's name."""
    later = dict(clones(heads))
    yield from later.items()
    rest = {fqn: head for fqn, head in heads.items() if fqn not in later and len(head.values) == HEAD}
    if len(rest) > 1:
        yield from correlations(rest)


def clones(heads: Mapping[str, Head]) -> Iterator[tuple[str, Finding]]:
    """The parameters that begin with the values of an earlier one."""
    first: dict[bytes, str] = {}
    # A parameter may be a clone of part of another: they are known by as many values as say enough.
    for fqn, head in heads.items():
        needed = math.ceil((64 + 2 * math.log2(len(heads))) / max(head.bits, 1e-9))
        if needed > len(head.values):
            continue
        known = first.setdefault(head.values[:needed].numpy().tobytes(), fqn)
        if known != fqn:
            whole = "is a copy of" if heads[known].numel == head.numel else "begins with the values of"
            yield fqn, impossible("copies", f"{whole} {known}", 1.0)


def correlations(heads: Mapping[str, Head]) -> Iterator[tuple[str, Finding]]:
    """The largest correlation of each parameter with an earlier one, corrected for the number of those.

    Args:
        heads: each of `HEAD` values.
    """
    names = list(heads)
    rows = torch.stack([head.values for head in heads.values()])
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_(min=1e-300)
    for start in range(0, len(names), ROWS):
        block = rows[start : start + ROWS] @ rows[: start + ROWS].T
        block.tril_(start - 1)
        largest, partners = block.abs().max(dim=1)
        for row, (cosine, partner) in enumerate(zip(largest.tolist(), partners.tolist(), strict=True)):
            if start + row:
                text = f"correlates with {names[partner]}: {cosine:.3g} over the first {HEAD} values"
                yield (
                    names[start + row],
                    Finding(
                        test="correlation",
                        pvalue=min(1.0, of_direction(cosine, HEAD) * (start + row)),
                        statistic=cosine,
                        effect=cosine,
                        text=text,
                    ),
                )
