"""Random values that two parameters have, or two slices of one: a copy that nobody drew anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..planning import Policy
from ..verification.repeated_values import HEAD, Head, bits_of, clones, correlations, head_of, repeats
from ..verification.subjects import Subject, subjects
from .differences import check_memory
from .exemptions import Exemptions

FEWEST = 8
"""Of fewer values nobody can say whether they are random."""

SHARE = 1 / 8
"""Of 256 random values at least so many differ from each other, in 8 bits, too."""

DISORDER = 1.3
"""How far the ratio of von Neumann may be from 2 where neighbours know nothing of each other."""

CORNER = 1 << 12
"""Values in which order is looked for."""

MULTIPLE = 0.99
"""The correlation over 256 values from which on one is the other times a number; chance reaches it in 1 of 10^200."""


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A parameter that has random values of another, or in two slices: its FQN, its layer, and what repeats what."""

    fqn: str
    layer: str
    text: str

    def __str__(self) -> str:
        return f"{self.fqn} ({self.layer}): {self.text}"


def duplicates(module: nn.Module, ignored: Exemptions) -> Iterator[Duplicate]:
    """The parameters that repeat random values, in model order.

    Constants, tables that follow a formula, and parameters that are tied have no values that repeat by accident.

    Args:
        module: any model with memory.
        ignored: parameters that are left out.

    Raises:
        MatchError: one of those is not there.
        StateError: a parameter is on the meta device.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
        >>> model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        >>> print(next(duplicates(model, Exemptions.of((), "ignore"))))
        layers.1.self_attn.in_proj_weight (MultiheadAttention): is a copy of layers.0.self_attn.in_proj_weight
    """
    found, name = subjects(module, None, Policy())
    ignored.check([fqn for subject in found for fqn in (subject.entry.fqn, *subject.entry.aliases)], name)
    check_memory({subject.entry.fqn: subject.targets.params[subject.entry.fqn] for subject in found})
    seen = [subject for subject in found if subject.has_values and subject.entry.fqn not in ignored]
    heads: dict[str, Head] = {}
    texts = {subject.entry.fqn: list(_within(subject, heads)) for subject in seen}
    for fqn, text in _between(heads):
        texts[fqn].append(text)
    for subject in seen:
        entry = subject.entry
        yield from (Duplicate(fqn=entry.fqn, layer=entry.layer, text=text) for text in texts[entry.fqn])


def _within(subject: Subject, heads: dict[str, Head]) -> Iterator[str]:
    """Slices that repeat; and the first values, by which the parameter is compared with the others."""
    stored = subject.values()
    values, bits = _varied(stored), bits_of(stored)
    if is_disordered(values):
        heads[subject.entry.fqn] = Head(values=head_of(values), bits=bits, numel=stored.numel())
        yield from (finding.text for finding in repeats(values, bits))


def _between(heads: dict[str, Head]) -> Iterator[tuple[str, str]]:
    if not heads:
        return
    later = {fqn: finding.text for fqn, finding in clones(heads)}
    yield from later.items()
    rest = {
        fqn: Head(values=head.values - head.values.mean(), bits=head.bits, numel=head.numel)
        for fqn, head in heads.items()
        if fqn not in later and len(head.values) == HEAD
    }
    if len(rest) > 1:
        for fqn, finding in correlations(rest):
            if abs(finding.statistic) > MULTIPLE:
                yield fqn, f"{finding.text}: the same draws on another scale"


def _varied(values: Tensor) -> Tensor:
    """Without the slices of one value only: rows for padding, parts that start at zero. They are alike on purpose."""
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.dtype.itemsize == 1:
        values = values.float()  # torch does not compare floats of 8 bits.
    for axis, size in enumerate(values.shape):
        others = tuple(other for other in range(values.dim()) if other != axis)
        if 0 < size < values.numel():
            varied = values.amin(others) != values.amax(others)
            values = values if varied.all() else values.index_select(axis, varied.nonzero().flatten())
    return values


def is_disordered(values: Tensor) -> bool:
    """Whether values look drawn: few are equal, and neighbours along any axis know nothing of each other.

    Source:
        von Neumann (1941), "Distribution of the ratio of the mean square successive difference to the variance".

    Example:
        >>> _ = torch.manual_seed(0)
        >>> tables = torch.ones(256), torch.arange(256.0).log1p(), torch.tensor([0.0, 1.0] * 128)
        >>> is_disordered(torch.randn(256)), [is_disordered(table) for table in tables]
        (True, [False, False, False])
    """
    corner = _corner(values)
    few = corner.flatten()[:HEAD]
    if few.numel() < FEWEST or not corner.isfinite().all():
        return False
    if few.unique().numel() < max(few.numel() * SHARE, FEWEST / 2):  # type: ignore[no-untyped-call]
        return False
    variance = float(corner.var(correction=0))
    for axis in range(corner.dim()):
        steps = corner.diff(dim=axis)
        steps = steps[steps != 0]  # Slices that are repeated one after the other are what is looked for.
        if steps.numel() >= FEWEST - 1 and abs(float(steps.square().mean()) / variance - 2) > DISORDER:
            return False
    return True


def _corner(values: Tensor) -> Tensor:
    """A block of at most `CORNER` values, in float64 on the CPU."""
    side = max(2, int(CORNER ** (1 / max(values.dim(), 1))))
    return values[(slice(side),) * values.dim()].double().cpu()
