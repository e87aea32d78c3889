"""One large tensor, drawn by us and by torch; and shards of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from autoinit import initialize
from autoinit.applying.sharding import Split, held
from autoinit.sampling import NormalTransform, Region, Sampler, derive_key
from autoinit.sampling import sampler as sampler_module

from .rows import Row, beside
from .stopwatch import medians

STD = 0.02
BOUND = 2 * STD
# Goals of design.md: the time of a value over that of `fill_`, or of torch's own. Of a quiet machine.
FAMILIES: dict[str, tuple[dict[str, Any], Callable[[Tensor], object], float]] = {
    "normal": (dict(type="Normal", std=STD), lambda t: nn.init.normal_(t, std=STD), 1 / 3),
    "uniform": (dict(type="Uniform", a=-1, b=1), lambda t: nn.init.uniform_(t, -1, 1), 1 / 4),
    "trunc normal": (
        dict(type="TruncNormal", std=STD, a=-BOUND, b=BOUND),
        lambda t: nn.init.trunc_normal_(t, std=STD, a=-BOUND, b=BOUND),
        1 / 40,
    ),
}


class Holder(nn.Module):
    """One parameter."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(numel))


def rows(quick: bool = False) -> Iterator[Row]:
    exponent = 12 if quick else 26
    holder = Holder(1 << exponent)
    for family, (cfg, rival, goal) in FAMILIES.items():
        ours, on_one_thread = drawing(holder, cfg), alone(drawing(holder, cfg))
        contenders = {
            "ours": ours,
            "torch.nn.init": lambda rival=rival: rival(holder.weight),
            "autoinit on 1 thread": on_one_thread,
            "autoinit by torch's operators": by_operators(ours),
            "fill_": lambda: holder.weight.data.fill_(STD),
        }
        measured = medians(contenders, rounds=3 if quick else 5)
        yield from beside("sampling", f"{family}, 2^{exponent} values", measured, {"torch.nn.init": goal})
    yield from shards(quick)


def shards(quick: bool) -> Iterator[Row]:
    """Shards that are not contiguous in the whole tensor, over as many contiguous values."""
    width = 1 << (6 if quick else 12)
    key, sampler = derive_key(0, 0, "weight"), Sampler(torch.device("cpu"))
    normal = NormalTransform(0.0, STD)
    part, rows = range(width // 4, width // 2), [range(width)]
    cases = {
        "a quarter of the columns": Region.of_ranges((width, width), [rows, [part]]),
        "a third of an odd number of columns": Region.of_ranges(
            (width + 1, width + 3), [rows, [range(width // 3, 2 * width // 3)]]
        ),
        "FSDP2 over tensor parallelism, 8 runs of rows": Region.of_ranges(
            (width, width), [held(width, [Split(4, 8), Split(1)], [1, 0]), rows]
        ),
    }
    for case, region in cases.items():
        out = torch.empty(region.size)
        flat = torch.empty(out.numel())
        contenders = {
            "ours": lambda out=out, region=region: sampler.draw_region(out, key, normal, region),
            "contiguous": lambda flat=flat: sampler.draw_into(flat, key, normal),
        }
        measured = medians(contenders, rounds=3 if quick else 9)
        yield from beside("sampling", f"normal, shard of {width} x {width}: {case}", measured, {"contiguous": 3})


def drawing(holder: Holder, cfg: dict[str, Any]) -> Callable[[], object]:
    return lambda: initialize(holder, dict(cfg, params="weight"))


def by_operators(run: Callable[[], object]) -> Callable[[], object]:
    return mock.patch.object(sampler_module, "kernel_on", mock.Mock(return_value=None))(lambda: run())


def alone(run: Callable[[], object]) -> Callable[[], object]:
    def run_alone() -> object:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return run()
        finally:
            torch.set_num_threads(threads)

    return run_alone
