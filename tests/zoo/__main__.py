"""`python -m tests.zoo`: every model of three libraries, built plainly and in blocks, and compared."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import tables
from .examination import examine
from .exceptions import read_exceptions, stale, unaccepted
from .isolation import Limits, sweep
from .progress import Progress, minutes
from .records import REPOSITORY, Record, Records, circumstances
from .selection import matching, smallest_of_families, worth_building
from .sizes import SIZED, Sizes, count, read_sizes, write_sizes
from .subjects import LIBRARIES, Subject, library

RESULTS = REPOSITORY / "build" / "zoo.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine, print the tables, and say whether all is as it has to be."""
    options = parse(arguments)
    if options.show:
        result = json.loads(options.show.read_text())
        return show([Record.from_dict(record) for record in result["records"]], (), result["circumstances"])
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
    examine_all(chosen, records, sizes, options.jobs, limits)
    found = [record for record in records if record.subject in set(chosen)]
    write(found, options.json)
    if len(found) == len(records):
        # There is nothing left that a later sweep could go on from.
        RESULTS.unlink()
    return show(found, everything, circumstances())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, whose defaults come from the environment: `ZOO_ONLY`, `ZOO_MATCH`, `ZOO_JOBS`, ..."""
    env = os.environ
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument(
        "--only",
        type=libraries,
        default=env.get("ZOO_ONLY", ",".join(LIBRARIES)),
        help="libraries, with commas (ZOO_ONLY)",
    )
    parser.add_argument("--match", default=env.get("ZOO_MATCH", "*"), help="glob over names (ZOO_MATCH)")
    parser.add_argument(
        "--smallest", action="store_true", default=bool(env.get("ZOO_SMALLEST")), help="one a family (ZOO_SMALLEST=1)"
    )
    parser.add_argument("--jobs", "-j", type=int, default=env.get("ZOO_JOBS", cores), help="processes (ZOO_JOBS)")
    parser.add_argument("--memory", type=int, default=env.get("ZOO_MEMORY", 8192), help="MiB per process (ZOO_MEMORY)")
    parser.add_argument("--seconds", type=float, default=env.get("ZOO_SECONDS", 900), help="per model (ZOO_SECONDS)")
    parser.add_argument("--json", type=Path, default=RESULTS.with_suffix(".json"), help="where results go")
    parser.add_argument("--show", type=Path, help="print the tables of such a file, and examine nothing")
    parser.add_argument("--record-sizes", action="store_true", help="bring sizes.json up to date, and examine nothing")
    return parser.parse_args(arguments)


def libraries(text: str) -> list[str]:
    """Names with commas between them."""
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
        # What cannot be counted is tried, and has its problem then.
        sizes[subject.key] = findings.values / 1e6
    return sizes


def examine_all(chosen: Sequence[Subject], records: Records, sizes: Sizes, jobs: int, limits: Limits) -> None:
    """Examine what has no record yet, with a line for each problem and a sign of life now and then."""
    waiting = [subject for subject in chosen if subject not in records]
    if len(waiting) < len(chosen):
        print(f"{len(chosen) - len(waiting)} models were examined before the last sweep was interrupted", flush=True)
    progress = Progress(waiting, sizes, jobs)
    print(f"{len(waiting)} models, about {minutes(progress.left)} on {jobs} processes", flush=True)
    exceptions = read_exceptions()
    for subject, findings in sweep(waiting, examine, jobs=jobs, limits=limits):
        record = Record(subject=subject, findings=findings)
        records.add(record)
        for problem in unaccepted(record, exceptions):
            print(f"{subject.key}: {problem.check}: {problem.text[:300]}", flush=True)
        progress.done(subject)


def write(records: Sequence[Record], path: Path) -> None:
    """The results, for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"circumstances": circumstances(), "records": [record.to_dict() for record in records]}
    path.write_text(json.dumps(result) + "\n")


def show(records: Sequence[Record], everything: Sequence[Subject], versions: Mapping[str, str]) -> int:
    """Print the tables; 1 if there is a problem that no exception covers, or an exception that no longer occurs."""
    exceptions = read_exceptions()
    gone = stale(exceptions, records, everything)
    for table in tables.all_tables(records, exceptions, gone, versions):
        if table.rows:
            print(f"\n{table}")
    return int(bool(gone) or any(unaccepted(record, exceptions) for record in records))


if __name__ == "__main__":
    sys.exit(main())
