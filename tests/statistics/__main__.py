"""`python -m tests.statistics`: the long sweep, and dieharder where it is installed."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

from .bits import BATTERY
from .values import FAMILIES, anderson_darling, between, draw, kolmogorov_smirnov, lags, moments, shares, tails
from .words import ORDERS, one_bit_apart, take

ALPHA = 1e-5
"""Below this a p-value counts as a failure; of about 300, one does so by chance with probability 3e-3."""

# Of those that dieharder itself calls good, the ones that take minutes at most.
DIEHARDER = (0, 1, 2, 3, 8, 9, 10, 12, 13, 15, 17, 100, 101, 206, 209)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every p-value; 1 if one is too small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=10**8, help="how many values of each distribution")
    parser.add_argument("--words", type=int, default=1 << 24, help="how many words in each order")
    parser.add_argument("--raw", choices=ORDERS, help="write words to stdout for ever, for another battery")
    options = parser.parse_args(arguments)
    if options.raw:
        return write_raw(options.raw)
    failed = 0
    for name, pvalue in chain(of_values(options.values), of_words(options.words)):
        print(f"{name:48} {pvalue:.3g}{'  FAILED' if pvalue < ALPHA else ''}", flush=True)
        failed += pvalue < ALPHA
    failed += sum(map(dieharder, ("within", "across"))) if shutil.which("dieharder") else 0
    print(f"{failed} failed")
    return int(failed > 0)


def of_values(count: int) -> Iterator[tuple[str, float]]:
    for family, found in FAMILIES.items():
        sample = draw(family, count)
        results = {**moments(sample, found.ideal), **lags(sample[: 1 << 24], found.ideal)}
        if family == "normal":
            results |= tails(sample)
        ordered = shares(sample, family)
        results |= {"KS": kolmogorov_smirnov(ordered), "Anderson-Darling": anderson_darling(ordered)}
        yield from ((f"{family}: {name}", pvalue) for name, pvalue in results.items())
    yield from ((f"between 256 parameters: {name}", p) for name, p in between(one_bit_apart(256), 1 << 17).items())


def of_words(count: int) -> Iterator[tuple[str, float]]:
    for order in ORDERS:
        words = take(order, count)
        yield from ((f"words {order}: {name}", test(words)) for name, test in BATTERY.items())


def write_raw(order: str) -> int:
    try:
        for part in ORDERS[order]():
            sys.stdout.buffer.write(part.tobytes())
    except BrokenPipeError:
        sys.stderr.close()
    return 0


def dieharder(order: str) -> int:
    failed = 0
    for number in DIEHARDER:
        source = [sys.executable, "-m", "tests.statistics", "--raw", order]
        with subprocess.Popen(source, stdout=subprocess.PIPE) as words:
            test = ["dieharder", "-g", "200", "-d", str(number)]
            run = subprocess.run(test, stdin=words.stdout, capture_output=True, text=True, check=True)
            words.terminate()
        lines = map(str.rstrip, run.stdout.splitlines())
        verdicts = [line for line in lines if line.endswith(("PASSED", "WEAK", "FAILED"))]
        print(f"dieharder {order}:", *verdicts, sep="\n  ", flush=True)
        # No verdict at all is a failure, too.
        failed += not verdicts or any(line.endswith("FAILED") for line in verdicts)
    return failed


if __name__ == "__main__":
    sys.exit(main())
