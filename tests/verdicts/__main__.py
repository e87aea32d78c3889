"""`python -m tests.verdicts`: how often `verify` is wrong, measured."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import torch

from autoinit import verify

from .detection import CASES, FAMILIES, power
from .faults import FAULTS
from .right_models import false_alarms

ALPHA = 1e-3
TOO_MANY = 20
"""False alarms among 10,000 models at 1e-3: more are found of a test that keeps its rate with probability 1.6e-3."""
POWER = 0.99


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every figure; 1 if one misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000, help="right models, for false alarms")
    parser.add_argument("--runs", type=int, default=1_000, help="runs of each case, for power")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with ProcessPoolExecutor(options.processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        wrong = report_false_alarms(pool, options)
        weak = report_power(pool, options)
    missed = report_faults()
    print(f"{wrong + weak + missed} goals missed")
    return int(wrong + weak + missed > 0)


def report_false_alarms(pool: Executor, options: argparse.Namespace) -> int:
    start, part = time.perf_counter(), 100
    parts = math.ceil(options.models / part)
    seeds = [options.seed * 1_000_003 + at for at in range(parts)]
    alarms = list(itertools.chain.from_iterable(pool.map(partial(false_alarms, part, ALPHA), seeds)))
    for alarm in alarms:
        print(f"  {alarm}")
    limit = max(1, round(TOO_MANY * parts * part / 10_000))
    each = (time.perf_counter() - start) / (parts * part) * 1e3
    print(f"false alarms: {len(alarms)} of {parts * part:,} right models at {ALPHA:g}; {each:.1f} ms each", flush=True)
    return int(len(alarms) > limit)


def report_power(pool: Executor, options: argparse.Namespace) -> int:
    missed = 0
    for size, error in CASES:
        runs = max(2, options.runs // (10 if size > 100_000 else 1))
        for cfg, dtype in itertools.product(FAMILIES, (torch.float32, torch.bfloat16)):
            ask = partial(power, size, error, cfg, dtype, runs // 2, ALPHA)
            found = sum(pool.map(ask, (0, runs // 2))) / 2
            name = f"{cfg['type']} in {str(dtype).removeprefix('torch.')}"
            print(f"power: std off by {error:.1%} in {size:,} values, {name}: {found:.3f} of {runs} runs", flush=True)
            missed += found < POWER
    return missed


def report_faults() -> int:
    missed = 0
    for name, make in FAULTS.items():
        case = make()
        verdict = verify(case.model, case.what, alpha=ALPHA)
        named = {failure.fqn for failure in verdict.failures} == case.fqns
        said = next((str(failure) for failure in verdict.failures if case.says in str(failure)), "")
        print(f"fault: {name}: {said if named and said else 'MISSED'}")
        missed += not (named and said)
    return missed


if __name__ == "__main__":
    sys.exit(main())
