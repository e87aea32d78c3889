"""Random values that occur twice: in slices of one tensor, or in two parameters (clones, one seed for both)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..fills import Elementwise, Fill, Orthogonal
from .pvalues import of_direction
from .rounded import rounded
from .verdict import Finding, impossible

HEAD = 256  # Number of first values by which parameters are compared.
ROWS = 2048  # Number of parameters that are compared with all others at a time.
PROBES = 32  # Number of values of two slices that are compared before all others.
SMALL = 1 << 16  # A smaller tensor is copied faster than its probes are looked up one by one.
ENOUGH_BITS = 64  # Random bits from which on values never agree by chance, in any model.


def repeats(tensor: Tensor, bits: float) -> Iterator[Finding]:
    """Equal or constant slices along each axis of a random tensor, two of whose values are equal once in 2^bits."""
    for axis, size in enumerate(tensor.shape):
        values = tensor.numel() // max(size, 1)
        if size < 2 or values * bits < ENOUGH_BITS:
            continue
        slices = tensor.movedim(axis, 0)
        probes = _probes(slices, values)
        flat = probes.min(1).values == probes.max(1).values
        constant = [at for at in flat.nonzero().flatten().tolist() if (slices[at] == slices[at].reshape(-1)[0]).all()]
        if constant:
            text = f"{len(constant):,} of {size:,} slices along axis {axis} have one value only: {constant[0]}"
            yield impossible("repeats", text, len(constant))
        elif pairs := _equal_pairs(slices, probes):
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


def _equal_pairs(slices: Tensor, probes: Tensor) -> list[tuple[int, int]]:
    """For each slice that repeats an earlier one, the index of that and its own."""
    bits = probes.cpu().contiguous().view(torch.int64)
    # Integers wrap, so that equal rows have equal sums whatever the order of summation.
    hashes, order = (bits * _factors()[: bits.shape[1]]).sum(1).sort(stable=True)
    same = (hashes[1:] == hashes[:-1]).nonzero().flatten().tolist()
    found = sorted(sorted((int(order[at]), int(order[at + 1]))) for at in same)
    return [(earlier, later) for earlier, later in found if torch.equal(slices[earlier], slices[later])]


@cache
def _factors() -> Tensor:
    """An odd number for each probe."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    return 2 * torch.randint(1 << 62, (2 * PROBES,), device="cpu", generator=generator) + 1


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first values of a random parameter, standardized by the expected distribution."""

    values: Tensor  # At most `HEAD`, in float64 on the CPU.
    bits: float  # Random bits of one value; see `repeats`.
    numel: int  # Number of values of the whole parameter.


def head_of(tensor: Tensor) -> Tensor:
    """The first values of a tensor in row-major order, in float64 on the CPU."""
    return tensor.reshape(-1)[:HEAD].double().cpu()


def bits_of(tensor: Tensor, fill: Fill | None = None) -> float:
    """Random bits of one value of a fill; without a fill, a lower bound for values drawn in the tensor's dtype."""
    if isinstance(fill, Elementwise):
        return rounded(fill, tensor.dtype).bits
    if fill is None or isinstance(fill, Orthogonal):
        return {1: 2.0, 2: 6.0}.get(tensor.dtype.itemsize, 20.0)
    return 0.0  # Sparse fills write equal values on purpose.


def copies(heads: Mapping[str, Head], *, center: bool = False) -> Iterator[tuple[str, Finding]]:
    """Clones, and correlations between the other parameters (of their centered values if `center`), by later FQN."""
    later = dict(_clones(heads))
    yield from later.items()
    rest = {fqn: head.values for fqn, head in heads.items() if fqn not in later and len(head.values) == HEAD}
    if len(rest) > 1:
        rows = torch.stack(list(rest.values()))
        yield from _correlations(list(rest), rows - rows.mean(1, keepdim=True) if center else rows)


def _clones(heads: Mapping[str, Head]) -> Iterator[tuple[str, Finding]]:
    """Parameters that begin with the values of an earlier one."""
    first: dict[bytes, str] = {}
    for fqn, head in heads.items():
        # Few values, so that a clone of the beginning of a larger parameter is found too.
        needed = math.ceil((64 + 2 * math.log2(len(heads))) / max(head.bits, 1e-9))
        if needed > len(head.values):
            continue
        known = first.setdefault(head.values[:needed].numpy().tobytes(), fqn)
        if known != fqn:
            whole = "is a copy of" if heads[known].numel == head.numel else "begins with the values of"
            yield fqn, impossible("copies", f"{whole} {known}", 1.0)


def _correlations(names: Sequence[str], rows: Tensor) -> Iterator[tuple[str, Finding]]:
    """The largest correlation of each parameter with an earlier one, corrected for the number of those."""
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
