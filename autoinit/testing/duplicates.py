"""Parameters that repeat random values, of another parameter or within themselves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..globs import selected
from ..planning import Policy
from ..verification.parameters import parameters_of
from ..verification.repeated_values import HEAD, Head, bits_of, copies, head_of, repeats

FEWEST = 8  # Fewer values show no order and no disorder.
SHARE = 1 / 8  # Smallest share of distinct values among 256 random ones, even in 8 bits.
DISORDER = 1.3  # Largest distance of von Neumann's ratio from 2 for independent neighbours.
CORNER = 1 << 12  # Number of values in which order is looked for.
MULTIPLE = 0.99  # Correlation over 256 values that shows a multiple; chance reaches it once in 10^200.


def duplicates(module: nn.Module, ignore: object) -> Iterator[tuple[str, str]]:
    """FQN and text for each parameter that repeats random values, in model order."""
    parameters, name = parameters_of(module, None, Policy())
    fqns = [fqn for parameter in parameters for fqn in (parameter.entry.fqn, *parameter.entry.aliases)]
    ignored = selected("ignore", ignore, fqns, name)
    heads: dict[str, Head] = {}
    texts: dict[str, list[str]] = {parameter.entry.fqn: [] for parameter in parameters}
    for parameter in parameters:
        fqn = parameter.entry.fqn
        if parameter.has_values and fqn not in ignored:
            stored = parameter.values()
            values, bits = _varied(stored), bits_of(stored)
            if is_disordered(values):
                heads[fqn] = Head(values=head_of(values), bits=bits, numel=stored.numel())
                texts[fqn] += [finding.text for finding in repeats(values, bits)]
    for fqn, finding in copies(heads, center=True):
        if finding.test == "copies":
            texts[fqn].append(finding.text)
        elif abs(finding.statistic) > MULTIPLE:
            texts[fqn].append(f"{finding.text}: the same draws on another scale")
    for entry in (parameter.entry for parameter in parameters):
        yield from ((entry.fqn, f"{entry.fqn} ({entry.layer}): {text}") for text in texts[entry.fqn])


def _varied(values: Tensor) -> Tensor:
    """The values without constant slices, which are alike on purpose: rows for padding, parts that start at zero."""
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
    """Whether values look random: few are equal, and neighbours along any axis are independent.

    Source:
        von Neumann (1941), "Distribution of the ratio of the mean square successive difference to the variance".
    """
    side = max(2, int(CORNER ** (1 / max(values.dim(), 1))))
    corner = values[(slice(side),) * values.dim()].double().cpu()
    few = corner.flatten()[:HEAD]
    if few.numel() < FEWEST or not corner.isfinite().all():
        return False
    if few.unique().numel() < max(few.numel() * SHARE, FEWEST / 2):  # type: ignore[no-untyped-call]
        return False
    variance = float(corner.var(correction=0))
    for axis in range(corner.dim()):
        steps = corner.diff(dim=axis)
        steps = steps[steps != 0]  # Slices that repeat their neighbour are what we look for.
        if steps.numel() >= FEWEST - 1 and abs(float(steps.square().mean()) / variance - 2) > DISORDER:
            return False
    return True
