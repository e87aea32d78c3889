"""Common mistakes whose values look like those of a parameter that fails."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace

from torch import Tensor

from ..errors import AutoInitError
from ..fans import torch_fans
from ..fills import Constant, Elementwise, Fill, Normal, TensorSpec, TruncNormal, Uniform
from ..initializers import Initializer
from ..initializers.initializer import needs_of
from ..initializers.variance import TRUNCATED_STD
from ..planning import Entry
from .fill_tests import ENOUGH, findings_of
from .summary import spread_sample

LIKELY = 0.01  # A fill fits if no test of the values against it has a smaller p-value.
ALTERNATIVES = {
    "mode": ("fan_in", "fan_out", "fan_avg"),
    "gain": (1.0,),
    "nonlinearity": ("linear", "relu"),
    "a": (0.0, math.sqrt(5)),
    "distribution": ("normal", "uniform", "truncated_normal"),
}
"""By argument of an initializer, the values that it is mistaken for."""


def looks_like(tensor: Tensor, fill: Fill, entry: Entry) -> str:
    """The first common mistake that values which do not fit a fill look like (`"mode were 'fan_out'"`), or ""."""
    if tensor.is_complex() or not isinstance(fill, (Elementwise, Constant)):
        return ""
    # A sample rules most mistakes out.
    sample = spread_sample(tensor).to(tensor.dtype)
    for name, other in mistakes(fill, entry):
        if other != fill and _fits(sample, other) and _fits(tensor, other):
            return name
    return ""


def _fits(values: Tensor, fill: Fill) -> bool:
    if not isinstance(fill, Constant) and (not isinstance(fill, Elementwise) or values.numel() < ENOUGH):
        return False
    return all(finding.pvalue > LIKELY for finding in findings_of(values, fill))


def mistakes(fill: Fill, entry: Entry) -> Iterator[tuple[str, Fill]]:
    """Fills that parameters get by mistake, the likeliest first, each after the end of a sentence ("It is as if ...").

    Example:
        >>> import torch
        >>> entry = Entry(fqn="weight", shape=(8, 4), dtype=torch.float32, layer="Linear")
        >>> for name, other in mistakes(Normal(0.0, 0.5), entry):
        ...     print(other, name, sep=": ")
        Uniform(low=-0.866025, high=0.866025): it were uniform with that std
        TruncNormal(loc=0, scale=0.568424, low=-1.13685, high=1.13685): it were truncated with that std
        Uniform(low=-0.5, high=0.5): torch's default for Linear and Conv had stayed
        Normal(mean=0, std=1): torch's default for Embedding had stayed
        Constant(value=0): it had been set to 0
        Constant(value=1): it had been set to 1
    """
    yield from _other_arguments(entry)
    if isinstance(fill, Elementwise):
        yield from _other_shapes(fill)
    fans = torch_fans(entry.shape or ())
    if fans is not None and fans.fan_in:
        bound = 1 / math.sqrt(fans.fan_in)
        yield "torch's default for Linear and Conv had stayed", Uniform(-bound, bound)
        yield "torch's default for Embedding had stayed", Normal(0.0, 1.0)
    for value in (0.0, 1.0):
        yield f"it had been set to {value:g}", Constant(value)


def _other_arguments(entry: Entry) -> Iterator[tuple[str, Fill]]:
    """The same initializer with one argument changed."""
    scheme = entry.rule.initializer if entry.rule is not None else None
    if not isinstance(scheme, Initializer) or not is_dataclass(scheme) or len(entry.fans) != 1:
        return
    if needs_of(scheme).fields:
        return
    spec = TensorSpec(shape=entry.shape or (), dtype=entry.dtype, fans=entry.fans[0])
    for name in (field.name for field in fields(scheme)):
        for value in ALTERNATIVES.get(name, ()):
            if getattr(scheme, name) == value:
                continue
            with suppress(AutoInitError):  # Not every initializer takes every value.
                other = replace(scheme, **{name: value}).fill(spec)
                if other is not None:
                    yield f"{name} were {f'{value:.4g}' if isinstance(value, float) else repr(value)}", other


def _other_shapes(fill: Elementwise) -> Iterator[tuple[str, Fill]]:
    """The same mean and std in another family, or the bounds left out."""
    mean, std = fill.mean, fill.std
    if isinstance(fill, TruncNormal):
        yield "it were not truncated", Normal(fill.loc, fill.scale)
    if not isinstance(fill, Normal):
        yield "it were normal with that std", Normal(mean, std)
    if not isinstance(fill, Uniform):
        half = math.sqrt(3.0) * std
        yield "it were uniform with that std", Uniform(mean - half, mean + half)
    if isinstance(fill, Normal):
        scale = std / TRUNCATED_STD
        yield "it were truncated with that std", TruncNormal(mean, scale, mean - 2 * scale, mean + 2 * scale)
