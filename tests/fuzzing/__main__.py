"""`python -m tests.fuzzing`: each target in a process of its own, for a time; 1 if anything was found."""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from .checkpoints import Checkpoints
from .configs import Configs
from .names import Names
from .session import FOUND, Finding, Target, fuzz_and_print, outcome, surroundings
from .texts import Texts

TARGETS: dict[str, Callable[[], Target]] = {
    "configs": Configs,
    "texts": Texts,
    "names": Names,
    "checkpoints": Checkpoints,
}

SPAWN = multiprocessing.get_context("spawn")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="with a case's number it decides the case (default: 0)")
    parser.add_argument("--case", type=int, help="run this one, show it, and nothing else")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    names = options.targets or list(TARGETS)
    if options.case is not None:
        return max(_again(TARGETS[name](), options.seed, options.case) for name in names)
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


def _apart(name: str, seed: int, seconds: float) -> bool:
    """Fuzz in other processes: one after another, where one dies of a case."""
    found, first, end = False, 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        reached = SPAWN.Value("q", -1)
        process = SPAWN.Process(target=fuzz_and_print, args=(TARGETS[name], seed, left, first, reached))
        process.start()
        process.join()
        found |= process.exitcode != 0
        if process.exitcode in (0, FOUND) or reached.value < 0:
            break
        print(f"\nFOUND case {reached.value} of {name} ended the process: {process.exitcode}", flush=True)
        print(f"again: python -m tests.fuzzing {name} --seed {seed} --case {reached.value}", flush=True)
        first = reached.value + 1
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
