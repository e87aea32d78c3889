"""`python -m tests.zoo`: every model of three libraries, built plainly and in blocks, and compared."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import tables
from .examination import examine
from .exceptions import read_exceptions, stale, unaccepted
from .isolation import Limits, sweep
from .progress import Progress
from .records import REPOSITORY, Found, Records, circumstances, from_dict, to_dict
from .selection import matching, smallest_of_families, worth_building
from .sizes import SIZED, count, read_sizes, write_sizes
from .subjects import LIBRARIES, Subject, library

RESULTS = REPOSITORY / "build" / "zoo.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine, print the tables, and say whether all is as it has to be."""
    options = parse(arguments)
    if options.show:
        result = json.loads(options.show.read_text())
        return show(dict(map(from_dict, result["records"])), (), result["circumstances"])
    everything = [subject for name in options.only for subject in library(name).subjects()]
    limits = Limits(seconds=options.seconds, memory=options.memory)
    sizes = measured(everything, options.jobs, limits)
    if options.record_sizes:
        write_sizes(everything, sizes)
        return 0
    chosen = matching(worth_building(everything, sizes), options.match)
    if options.smallest:
        chosen = list(smallest_of_families(chosen, sizes))
    records = Records(RESULTS, circumstances())
    examine_all(chosen, records, options.jobs, limits)
    found = {subject: records[subject] for subject in records if subject in set(chosen)}
    result = {"circumstances": circumstances(), "records": [to_dict(*item) for item in found.items()]}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result) + "\n")
    if len(found) == len(records):
        # There is nothing left that a later sweep could go on from.
        RESULTS.unlink()
    return show(found, everything, circumstances())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)

    def add(name: str, default: object, text: str, **options: Any) -> None:
        variable = f"ZOO_{name.upper()}"
        default = os.environ.get(variable, default)
        parser.add_argument(f"--{name}", default=default, help=f"{text} ({variable})", **options)

    add("only", ",".join(LIBRARIES), "libraries, with commas", type=libraries)
    add("match", "*", "glob over names")
    add("smallest", "", "one a family", action="store_const", const="1")
    add("jobs", cores, "processes", type=int)
    add("memory", 8192, "MiB per process", type=int)
    add("seconds", 900, "per model", type=float)
    parser.add_argument("-j", dest="jobs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=RESULTS.with_suffix(".json"), help="where results go")
    parser.add_argument("--show", type=Path, help="print the tables of such a file, and examine nothing")
    parser.add_argument("--record-sizes", action="store_true", help="bring sizes.json up to date, and examine nothing")
    return parser.parse_args(arguments)


def libraries(text: str) -> list[str]:
    for name in text.split(","):
        if name not in LIBRARIES:
            raise argparse.ArgumentTypeError(f"no library {name!r}: {', '.join(LIBRARIES)}")
    return text.split(",")


def measured(subjects: Sequence[Subject], jobs: int, limits: Limits) -> dict[str, float]:
    """The sizes of models; those that are not in the file are counted now, because they decide what is built."""
    sizes = read_sizes()
    unknown = [subject for subject in subjects if subject.library in SIZED and subject.key not in sizes]
    if unknown:
        print(f"Counting the parameters of {len(unknown)} new models", flush=True)
    for subject, findings in sweep(unknown, count, jobs=jobs, limits=limits):
        # A model that cannot be counted is tried all the same, and has its problem then.
        sizes[subject.key] = findings.values / 1e6
    return sizes


def examine_all(chosen: Sequence[Subject], records: Records, jobs: int, limits: Limits) -> None:
    """Examine what has no record yet, with a line for each problem and a sign of life now and then."""
    waiting = [subject for subject in chosen if subject not in records]
    if len(waiting) < len(chosen):
        print(f"{len(chosen) - len(waiting)} models were examined before the last sweep was interrupted", flush=True)
    print(f"{len(waiting)} models on {jobs} processes", flush=True)
    progress, exceptions = Progress(waiting), read_exceptions()
    for subject, findings in sweep(waiting, examine, jobs=jobs, limits=limits):
        records.add(subject, findings)
        for problem in unaccepted(subject, findings, exceptions):
            print(f"{subject.key}: {problem.check}: {problem.text[:300]}", flush=True)
        progress.done(subject)


def show(found: Found, everything: Sequence[Subject], versions: Mapping[str, str]) -> int:
    """Print the tables; 1 if there is a problem that no exception covers, or an exception that no longer occurs."""
    exceptions = read_exceptions()
    gone = stale(exceptions, found, everything)
    for table in tables.all_tables(found, exceptions, gone, versions):
        if table.rows:
            print(f"\n{table}")
    return int(bool(gone) or any(unaccepted(*item, exceptions) for item in found.items()))


if __name__ == "__main__":
    sys.exit(main())
