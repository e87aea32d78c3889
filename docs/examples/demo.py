"""The tour: a ViT-base whose every weight is decided by `vit.yaml`, reported, and measured."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from autoinit import Report, autoinit

CFG = Path(__file__).with_name("vit.yaml")
REPEATS = 3


def builder() -> Callable[[], nn.Module]:
    """Return a function that builds the model: 86 M parameters, no download, and its code does not know autoinit."""
    # transformers imports torchvision where it finds it. A ViT needs none of it, so it is not to be found.
    sys.modules.setdefault("torchvision", None)
    from transformers import ViTConfig, ViTForImageClassification

    return lambda: ViTForImageClassification(ViTConfig(num_labels=1000))


def seconds(function: Callable[[], object]) -> float:
    """The best of some runs: the one that the rest of the machine disturbed least."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def pooled(parts: list[tuple[int, float, float]]) -> tuple[float, float]:
    """Mean and std of all elements together, from the (count, mean, std) of each part."""
    total = sum(count for count, _, _ in parts)
    mean = sum(count * part_mean for count, part_mean, _ in parts) / total
    square = sum(count * (part_std**2 + part_mean**2) for count, part_mean, part_std in parts) / total
    return mean, math.sqrt(max(square - mean**2, 0.0))


def measured(param: torch.Tensor) -> tuple[int, float, float]:
    values = param.detach().double()
    return values.numel(), values.mean().item(), values.std(correction=0).item()


def compare(report: Report, params: Mapping[str, torch.Tensor]) -> None:
    """One line a rule, biases aside: the moments that its fills have in closed form, and those of the weights."""
    by_rule: dict[str, list[str]] = {}
    for fqn, entry in report.items():
        if not fqn.endswith("bias"):
            by_rule.setdefault(entry.origin, []).append(fqn)
    width = max(map(len, by_rule))
    print(f"{'':{width}}  {'requested: mean':>16} {'std':>9}  {'measured: mean':>16} {'std':>9}")
    for origin, fqns in sorted(by_rule.items()):
        fills = [(params[fqn].numel(), report[fqn].fill) for fqn in fqns]
        want = pooled([(count, fill.mean, fill.std) for count, fill in fills])
        got = pooled([measured(params[fqn]) for fqn in fqns])
        print(f"{origin:{width}}", *(f"{mean:+17.6f} {std:9.6f}" for mean, std in (want, got)))


def main() -> None:
    build = builder()

    with autoinit(CFG, seed=0) as run:
        model = build()

    for table in (run.report, run.report.summary()):
        print(table, end="\n\n")
    compare(run.report, dict(model.named_parameters()))
    total = sum(param.numel() for param in model.parameters())
    plain, initialized = seconds(build), seconds(autoinit(CFG, seed=0)(build))
    print(f"\n{total:,} parameters: plain construction {plain:.2f} s, under autoinit {initialized:.2f} s")


if __name__ == "__main__":
    main()
