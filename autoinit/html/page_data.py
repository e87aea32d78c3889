"""What a page shows of each parameter, as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from ..planning.entries import shape_text
from ..tracing import Difference, Trace, TracedParameter
from ..verification import Verdict

BINS = 48
SAMPLE = 1 << 16
"""Values of one parameter that its histogram is made of."""


def parameters(*results: Any, model: nn.Module | None = None) -> list[dict[str, Any]]:
    """One dict per parameter, in the order of the first result that contains the parameter.

    Args:
        results: Plans, reports, traces and verdicts of one model; None is skipped.
        model: Model whose values are measured.
    """
    rows: dict[str, dict[str, Any]] = {}
    for result in results:
        if result is not None:
            for fqn, found in _found(result):
                rows.setdefault(fqn, {"fqn": fqn}).update({key: value for key, value in found.items() if value})
    asked: dict[str, dict[str, Any]] = {}
    for fqn, row in rows.items():
        values = _values(model, fqn) if model is not None else None
        fill = row.pop("distribution", None)
        if values is not None:
            row.update(_measured(values, fill))
        elif fill is not None:
            if repr(fill) not in asked:
                asked[repr(fill)] = _asked(fill)
            row.update(asked[repr(fill)])
    return list(rows.values())


def _found(result: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    """What one result says of each parameter."""
    if isinstance(result, Verdict):
        yield from _checked(result)
    elif isinstance(result, Difference):
        for fqn, changes in groupby(result, key=attrgetter("fqn")):
            yield fqn, {"changes": [[change.what, change.first, change.second] for change in changes]}
    elif isinstance(result, Trace):
        for fqn, traced in result.parameters.items():
            yield fqn, _traced(traced)
    else:
        for fqn, entry in result.items():
            yield fqn, _entry(entry)


def _checked(verdict: Verdict) -> Iterable[tuple[str, dict[str, Any]]]:
    """What a verdict says of each parameter."""
    messages: dict[str, list[str]] = {}
    for failure in verdict.failures:
        messages.setdefault(failure.fqn, []).append(failure.message.removeprefix(f"{failure.fqn}: "))
    for fqn, checked in verdict.parameters.items():
        state = "failed" if fqn in messages else f"not tested: {checked.untested}" if checked.untested else "ok"
        yield fqn, {"verdict": state, "failures": messages.get(fqn), "detects": checked.detects}


def _traced(traced: TracedParameter) -> dict[str, Any]:
    """What a trace says of a parameter."""
    shown = ("call", "file", "line", "source", "module", "layer", "overwritten")
    return {
        "shape": shape_text(traced.shape),
        "dtype": str(traced.dtype).removeprefix("torch."),
        "layer": traced.layer,
        "aliases": list(traced.aliases),
        "does": ", then ".join(map(str, traced.effective)) or "no call seen",
        "calls": [{key: call.to_dict()[key] for key in shown} for call in traced.calls],
    }


def _entry(entry: Any) -> dict[str, Any]:
    """What a plan or report says of a parameter."""
    return {
        "shape": shape_text(entry.shape),
        "dtype": str(entry.dtype).removeprefix("torch."),
        "layer": entry.layer,
        "outcome": getattr(entry, "outcome", None) or ("uncovered" if entry.is_uncovered else "planned"),
        "uncovered": entry.is_uncovered,
        "fill": entry.gets,
        "rule": entry.origin,
        "initializer": str(entry.rule.initializer) if entry.rule else "",
        "overrides": [f"{rule.origin}: {rule.initializer}" for rule in entry.overrides],
        "fans": [str(fans) for fans in entry.fans],
        "aliases": list(entry.aliases),
        "distribution": entry.fill,
    }


def _values(model: nn.Module, fqn: str) -> Tensor | None:
    """Values of a parameter, if there are any to draw."""
    found: Any = model
    for part in fqn.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Tensor) or found.is_meta or not found.is_floating_point() or not found.numel():
        return None
    flat = found.detach().reshape(-1)
    return flat[:: -(-flat.numel() // SAMPLE)].double().cpu()


def _measured(values: Tensor, fill: Any) -> dict[str, Any]:
    """Histogram, moments, and what was asked for in the same bins."""
    finite = values[values.isfinite()]
    if not finite.numel():
        return {"nonfinite": values.numel()}
    low, high = float(finite.min()), float(finite.max())
    row: dict[str, Any] = {"mean": float(finite.mean()), "std": float(finite.std(correction=0))}
    if finite.numel() < values.numel():
        row["nonfinite"] = values.numel() - finite.numel()
    if fill is not None and (moments := _moments(fill)):
        row["asked"] = moments
        low, high = min(low, moments[0] - 3 * moments[1]), max(high, moments[0] + 3 * moments[1])
    if high > low:
        counts = torch.histc(finite, BINS, low, high).long().tolist()
        row["histogram"] = {"low": low, "high": high, "counts": counts, **_density(fill, low, high, finite.numel())}
    return row


def _asked(fill: Any) -> dict[str, Any]:
    """Mean, std and histogram that a fill implies, for a parameter whose values are unknown."""
    moments = _moments(fill)
    if moments is None:
        return {}
    low, high = moments[0] - 4 * moments[1], moments[0] + 4 * moments[1]
    density = _density(fill, low, high, 1000)
    return {"asked": moments, **({"histogram": {"low": low, "high": high, "counts": [], **density}} if density else {})}


def _density(fill: Any, low: float, high: float, count: int) -> dict[str, list[float]]:
    """How many of some values a fill is expected to give each bin, if it is known."""
    if high <= low or not hasattr(fill, "cdf"):
        return {}
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.double)
    return {"density": [float(f"{p * count:.4g}") for p in fill.cdf(edges).diff().tolist()]}


def _moments(fill: Any) -> list[float] | None:
    """Mean and std that were asked for, where the fill knows them."""
    mean, std = getattr(fill, "mean", None), getattr(fill, "std", None)
    known = all(isinstance(each, (int, float)) and math.isfinite(each) for each in (mean, std))
    return [float(mean), float(std)] if known else None  # type: ignore[arg-type]
