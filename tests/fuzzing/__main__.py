"""`python -m tests.fuzzing`: each target in a process of its own, for a time; 1 if anything was found."""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from .checkpoints import Checkpoints
from .configs import Configs
from .names import Names
from .session import Finding, Session, Target, fuzz, outcome, surroundings
from .texts import Texts

TARGETS: dict[str, Callable[[], Target]] = {
    "configs": Configs,
    "texts": Texts,
    "names": Names,
    "checkpoints": Checkpoints,
}

FOUND = 3
"""How a process says that it has come to its end and found something; 1 is what ends it before."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="with a case's number it decides the case (default: 0)")
    parser.add_argument("--case", type=int, help="run this one, show it, and nothing else")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--reached", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    names = options.targets or list(TARGETS)
    if options.case is not None:
        return max(_again(TARGETS[name](), options.seed, options.case) for name in names)
    if options.reached is not None:
        return _here(TARGETS[names[0]](), options)
    found = [_apart(name, options.seed, options.seconds) for name in names]
    if "texts" in names:
        found.append(_guided(options.seed, options.seconds))
    return int(any(found))


def _again(target: Target, seed: int, number: int) -> int:
    case = target.case(f"{target.name}:{seed}:{number}")
    print(f"{target.name} {number}: {case!r}")
    with surroundings():
        result = outcome(target, case)
    print(result.text if isinstance(result, Finding) else result)
    return int(isinstance(result, Finding))


def _here(target: Target, options: argparse.Namespace) -> int:
    """Fuzz in this process, which may not survive it."""

    def about_to(number: int) -> None:
        reached.seek(0)
        reached.write(f"{number:<20}")
        reached.flush()

    with open(options.reached, "w") as reached:
        session = fuzz(target, seed=options.seed, seconds=options.seconds, first=options.first, about_to=about_to)
    print(table(target.name, session, options.seed), flush=True)
    return FOUND if session.findings else 0


def table(name: str, session: Session, seed: int) -> str:
    speed = session.cases / max(session.seconds, 1e-9)
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in session.counts.most_common())
    lines = [f"{name}: {session.cases:,} cases in {session.seconds:.0f} s, {speed:.0f} a second: {counts}"]
    for kind, (number, text) in session.findings.items():
        again = f"python -m tests.fuzzing {name} --seed {seed} --case {number}"
        lines += [f"\nFOUND {kind}\n{text[-12_000:]}\nagain: {again}"]
    return "\n".join(lines)


def _apart(name: str, seed: int, seconds: float) -> bool:
    """Fuzz in other processes: one after another, where one dies of a case."""
    found, first, end = False, 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        reached = pathlib.Path(folder, "reached")
        while (left := end - time.monotonic()) > 0:
            command = [sys.executable, "-m", "tests.fuzzing", name, f"--seed={seed}", f"--seconds={left}"]
            done = subprocess.run([*command, f"--first={first}", f"--reached={reached}"])
            found |= done.returncode != 0
            if done.returncode in (0, FOUND) or not reached.exists():
                return found
            number = int(reached.read_text())
            print(f"\nFOUND case {number} of {name} ended the process: {done.returncode}", flush=True)
            print(f"again: python -m tests.fuzzing {name} --seed {seed} --case {number}", flush=True)
            first = number + 1
    return found


def _guided(seed: int, seconds: float) -> bool:
    """The texts once more, by what of the code they reach: where atheris is installed."""
    if importlib.util.find_spec("atheris") is None:
        print("texts, guided by coverage: left out, atheris is not installed")
        return False
    command = [sys.executable, "-m", "tests.fuzzing.guided", f"--seed={seed}", f"--seconds={int(seconds)}"]
    return subprocess.run(command).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
