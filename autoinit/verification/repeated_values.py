"""Random values that stand twice: in slices of one tensor, or in two parameters (clones, streams from one seed)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .statistics import of_direction
from .verdict import Finding, impossible

HEAD = 256
"""Values by which parameters are compared, the first of each."""

ROWS = 2048
"""Parameters that are compared with all others at a time."""

BITS = {1: 2.0, 2: 6.0}
"""How improbable it is that two values of a scheme without a law are equal, in bits: by bytes; 20 for float32."""

PROBES = 32
"""Values of a slice that have to agree before all of them are compared."""

SMALL = 1 << 16
"""A tensor of no more values is copied faster than its probes are looked up one by one."""

ENOUGH_BITS = 64
"""Agreement in so many random bits is no chance, in any model."""


def repeats(tensor: Tensor, bits: float) -> Iterator[Finding]:
    """Equal or constant slices along each axis of a tensor that is drawn at random.

    Args:
        tensor: floating, of any strides.
        bits: of chance in one value: how improbable it is that two values are equal.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> half = torch.randn(4, 8)
        >>> [found.text for found in repeats(torch.cat([half, half]), bits=20)]
        ['4 of 8 slices along axis 0 repeat an earlier one: 4 is a copy of 0']
    """
    for axis, size in enumerate(tensor.shape):
        values = tensor.numel() // max(size, 1)
        if size < 2 or values * bits < ENOUGH_BITS:
            continue
        slices = tensor.movedim(axis, 0)
        probes = _probes(slices, values)
        flat = probes.min(1).values == probes.max(1).values
        still = [int(index) for index in flat.nonzero().flatten() if _is_constant(slices[int(index)])]
        if still:
            text = f"{len(still):,} of {size:,} slices along axis {axis} have one value only: {still[0]}"
            yield impossible("repeats", text, len(still))
            continue
        pairs = list(_equal_pairs(slices, probes))
        if pairs:
            text = f"{len(pairs):,} of {size:,} slices along axis {axis} repeat an earlier one: "
            yield impossible("repeats", f"{text}{pairs[0][1]} is a copy of {pairs[0][0]}", len(pairs))


def _probes(slices: Tensor, values: int) -> Tensor:
    """Some values of every slice, at the same places in each."""
    step = max(1, values // PROBES) | 1
    if slices.is_contiguous() or slices.numel() <= SMALL:
        return slices.reshape(len(slices), -1)[:, ::step][:, : 2 * PROBES].double()
    places = torch.arange(0, values, step, device=slices.device)[: 2 * PROBES]
    index = torch.unravel_index(places, slices.shape[1:])
    where: tuple[slice | Tensor, ...] = (slice(None), *index)
    return slices[where].double()


def _is_constant(part: Tensor) -> bool:
    return bool((part == part.reshape(-1)[0]).all())


def _equal_pairs(slices: Tensor, probes: Tensor) -> Iterator[tuple[int, int]]:
    """An earlier slice and a later one that is equal, for each later one."""
    bits = probes.cpu().contiguous().view(torch.int64)
    # Integers wrap, so that equal rows have equal sums whatever the order of summation.
    hashes, order = (bits * _factors()[: bits.shape[1]]).sum(1).sort(stable=True)
    same = (hashes[1:] == hashes[:-1]).nonzero().flatten().tolist()
    found = [sorted((int(order[at]), int(order[at + 1]))) for at in same]
    for earlier, later in sorted(found):
        if torch.equal(slices[earlier], slices[later]):
            yield earlier, later


@cache
def _factors() -> Tensor:
    """Odd numbers, one for each probe."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    return 2 * torch.randint(1 << 62, (2 * PROBES,), device="cpu", generator=generator) + 1


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
    """The largest correlation of each parameter with an earlier one, over `HEAD` values, corrected for their number."""
    names = list(heads)
    rows = torch.stack([head.values for head in heads.values()])
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_(min=1e-300)
    for start in range(0, len(names), ROWS):
        block = rows[start : start + ROWS] @ rows[: start + ROWS].T
        block.tril_(start - 1)
        largest, partners = block.abs().max(dim=1)
        for later, cosine, partner in zip(range(start, len(names)), largest.tolist(), partners.tolist(), strict=False):
            if later:
                pvalue = min(1.0, of_direction(cosine, HEAD) * later)
                text = f"correlates with {names[partner]}: {cosine:.3g} over the first {HEAD} values"
                found = Finding(test="correlation", pvalue=pvalue, statistic=cosine, effect=cosine, text=text)
                yield names[later], found


def head_of(tensor: Tensor) -> Tensor:
    """The first values of a tensor in row-major order, in float64 on the CPU, by which it is known among others."""
    return tensor.reshape(-1)[:HEAD].double().cpu()


def bits_of(tensor: Tensor) -> float:
    """How improbable it is that two values of a tensor's dtype are equal by chance, in bits, at the least."""
    return BITS.get(tensor.dtype.itemsize, 20.0)
