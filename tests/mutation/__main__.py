"""`python -m tests.mutation`: a sample of the mutants of each folder, and which of them no test notices."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from .covering import EXAMPLES, FOLDERS, Covering, files, measure
from .operators import Mutant, mutants
from .running import KILLED, SURVIVED, run, warm_up

ROOT = Path(__file__).parents[2]
MAPS = ROOT / "build" / "covering"
GOAL = 0.9
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
"""Mutants that no test can notice, each with the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each survivor and the score of each folder; 1 if one is below the goal, or the list is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("folders", nargs="*", metavar="folder", help=f"of autoinit (default: {', '.join(FOLDERS)})")
    parser.add_argument("--sample", type=int, default=60, help="mutants of each folder; 0 for all (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="decides the sample (default: 0)")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests for each, at most (default: 60)")
    parser.add_argument("--again", action="store_true", help="those that survived the last time, and no others")
    parser.add_argument("--measure", action="store_true", help="find out first which tests run which lines")
    parser.add_argument("--only-measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    folders = options.folders or list(FOLDERS)
    os.environ["AUTOINIT_EXAMPLES"] = EXAMPLES
    if options.only_measure:
        return measure(ROOT, folders[0], MAPS / f"{folders[0]}.json")
    for folder in folders:
        if options.measure or not (MAPS / f"{folder}.json").exists():
            subprocess.run([sys.executable, "-m", "tests.mutation", folder, "--only-measure"], check=True, cwd=ROOT)
    warm_up()
    scores = [examined(folder, options) for folder in folders]
    gone = stale([mutant for folder in FOLDERS for mutant in sample(folder, 0, 0)[0]], reasons())
    for name in gone:
        print(f"listed as equivalent, and no longer there: {name}")
    return int(min(scores) < GOAL or bool(gone))


def sample(folder: str, size: int, seed: int) -> tuple[list[Mutant], int]:
    found = [made for path in files(ROOT, folder) for made in mutants(path, ROOT)]
    if 0 < size < len(found):
        chosen = random.Random(f"{folder}:{seed}").sample(range(len(found)), size)
        return [found[index] for index in sorted(chosen)], len(found)
    return found, len(found)


def examined(folder: str, options: argparse.Namespace) -> float:
    """Run a folder's sample, and print what came of it; gives the score."""
    covering = Covering.read(MAPS / f"{folder}.json")
    chosen, total = sample(folder, 0 if options.again else options.sample, options.seed)
    survivors = MAPS / f"{folder}.survivors"
    if options.again:
        last = set(survivors.read_text().splitlines())
        chosen = [mutant for mutant in chosen if str(mutant) in last]
    check_control(covering)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    survived = []
    for mutant in chosen:
        verdict = judged(mutant, covering, options.budget)
        counts[verdict] += 1
        if verdict not in (KILLED, "timed out", "equivalent"):
            survived.append(str(mutant))
            print(f"  {verdict}: {mutant}", flush=True)
    survivors.write_text("\n".join(survived))
    equivalent = counts.pop("equivalent", 0)
    killed = counts[KILLED] + counts["timed out"]
    score = killed / max(counts.total(), 1)
    print(
        f"{folder}: {killed} of {counts.total()} killed ({counts['timed out']} by time), {score:.1%}; {equivalent} "
        f"equivalent; sample of {len(chosen)} of {total}, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return score


def check_control(covering: Covering) -> None:
    """Require the quickest tests to pass on the package as it is: what fails without a mutant kills every one."""
    tests = sorted(covering.seconds, key=lambda test: covering.seconds[test])[:40]
    if run(None, tests, ROOT, limit=600) != SURVIVED:
        raise SystemExit("tests fail in a fork without any mutant: the map is old (--measure), or the fork is at fault")


def judged(mutant: Mutant, covering: Covering, budget: float) -> str:
    if not reasons().keys().isdisjoint((mutant.name, mutant.line_name)):
        return "equivalent"
    tests, are_all = covering.tests(mutant.path, mutant.line, budget)
    if not tests:
        return "not covered"
    verdict = run(mutant, tests, ROOT, limit=30 + 4 * sum(covering.seconds[test] for test in tests))
    return f"{SURVIVED} the quickest {len(tests)} tests" if verdict == SURVIVED and not are_all else verdict


@cache
def reasons() -> dict[str, str]:
    """By the name of the mutant, or of the line of code of which no mutant can be noticed.

    The list has a line for each, and below it, indented, the reason. Those of a line without one have that of the next.
    """
    found: dict[str, str] = {}
    for line in EQUIVALENT.read_text().splitlines():
        if line.startswith("    "):
            for name in [name for name, reason in found.items() if not reason]:
                found[name] = line.strip()
        elif line and not line.startswith("#"):
            found[line] = ""
    return found


def stale(made: Iterable[Mutant], listed: Mapping[str, str]) -> list[str]:
    """Names that are listed and that no mutant has."""
    there = {name for mutant in made for name in (mutant.name, mutant.line_name)}
    return [name for name in listed if name not in there]


if __name__ == "__main__":
    sys.exit(main())
