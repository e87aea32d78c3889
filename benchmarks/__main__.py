"""`python -m benchmarks`: every benchmark beside its reference, in one table."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from . import building, construction, cuda, initialization, memory, planning, sampling, verification
from .processes import competing
from .rows import Row, describe_machine, tabulate

BENCHES: dict[str, Callable[[bool], Iterator[Row]]] = {
    "building": building.rows,
    "construction": construction.rows,
    "initialization": initialization.rows,
    "planning": planning.rows,
    "sampling": sampling.rows,
    "verification": verification.rows,
    "memory": memory.rows,
    "cuda": cuda.rows,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write it down where that was asked for."""
    options = parse(arguments)
    with competing() if options.busy else nullcontext():
        rows = list(measured(options.only or BENCHES, options.quick))
    machine = describe_machine() + (", beside a process that takes one core" if options.busy else "")
    print(tabulate(rows, machine))
    if options.json:
        result = {"machine": machine, "quick": options.quick, "rows": [row.to_dict() for row in rows]}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def measured(names: Iterable[str], quick: bool) -> Iterator[Row]:
    """The rows of some benchmarks, with a sign of life for each case."""
    with warnings.catch_warnings():
        # Of layers that are absent and scripts that are deprecated: nothing that a reader of the table can act upon.
        warnings.simplefilter("ignore")
        for name in names:
            case = None
            for row in BENCHES[name](quick):
                if row.case != case:
                    case = row.case
                    print(f"{name}: {case}", file=sys.stderr, flush=True)
                yield row


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", choices=BENCHES, help=", ".join(BENCHES))
    parser.add_argument("--busy", action="store_true", help="beside another process, which takes one core")
    parser.add_argument("--quick", action="store_true", help="sizes at which nothing can be told from the figures")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the rows there too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
