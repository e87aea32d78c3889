"""`python -m benchmarks.profile`: where the time goes when a model is built in a block, and how far the limit is."""

from __future__ import annotations

import argparse
import cProfile
import pstats
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from autoinit.tables import Table

from .building import median, sample
from .contenders import AUTOINIT, LIMIT, WAYS
from .processes import alone
from .rows import describe_machine
from .stopwatch import medians, turns, uncollected
from .subjects import SUBJECTS

SUBJECT = "vit_l_16"
ROUNDS = 3

# The first that is part of a file's path is the phase of the functions there.
PHASES = {
    "autoinit/sampling/transforms": "transform of bits to values, written to the parameters",
    "autoinit/sampling/": "random bits",
    "autoinit/planning/": "planning",
    "autoinit/initializers/": "planning",
    "autoinit/config/": "planning",
    "autoinit/fans/": "planning",
    "autoinit/interception/": "watching constructors",
    "autoinit/construction/postponed": "fills of constructors that no rule replaces",
    "autoinit/construction/": "watching constructors",
    "autoinit/": "the rest of autoinit",
    "torch/nn/init": "fills of constructors that no rule replaces",
    "transformers/initialization": "fills of constructors that no rule replaces",
    "": "constructors",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("subject", nargs="?", default=SUBJECT, choices=SUBJECTS, help=f"a model ({SUBJECT})")
    parser.add_argument("--quick", action="store_true", help="a small model of its kind")
    options = parser.parse_args(arguments)
    print(phases_table(options.subject, alone(profile, options.subject, options.quick)))
    print()
    print(limit_table(options.subject, whole_builds(options.subject, options.quick), options.quick))


def profile(subject_name: str, quick: bool) -> dict[str, float]:
    """Seconds by phase of one build: those of a function in C belong to the file that called it."""
    subject, way = SUBJECTS[subject_name], WAYS[AUTOINIT]
    way(subject, True)()
    build, profiler = way(subject, quick), cProfile.Profile()
    with uncollected(), profiler:
        model = build()
    del model
    spent: Counter[str] = Counter(dict.fromkeys(PHASES.values(), 0.0))
    for path, time in own_times(pstats.Stats(profiler)):
        spent[phase_of(path)] += time
    return dict(spent)


def whole_builds(subject_name: str, quick: bool) -> dict[str, float]:
    """Seconds of builds that no profiler looks at, beside the limit."""
    threads = torch.get_num_threads()
    samples = {name: partial(alone, sample, subject_name, name, threads, quick) for name in (AUTOINIT, LIMIT)}
    times = {name: median(taken).time for name, taken in turns(samples, ROUNDS).items()}
    return times | {"fill_() of memory that is there": alone(refill, subject_name, quick)}


def refill(subject_name: str, quick: bool) -> float:
    params = [param.detach() for param in SUBJECTS[subject_name].model(quick).parameters()]
    return medians({"fill": lambda: [param.fill_(1) for param in params]}, ROUNDS)["fill"]


def own_times(stats: pstats.Stats) -> Iterator[tuple[str, float]]:
    """Files, and seconds that were spent in functions of theirs and in functions in C that these called."""
    for (path, _, _), (_, _, time, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if path != "~" or not callers:
            yield path, time
        else:
            yield from ((caller[0], of_caller[2]) for caller, of_caller in callers.items())


def phase_of(path: str) -> str:
    return next(phase for part, phase in PHASES.items() if part in path)


def phases_table(subject_name: str, phases: dict[str, float]) -> Table:
    total = sum(phases.values())
    longest_first = sorted(phases.items(), key=lambda item: -item[1])
    title = f"Building {subject_name} in a block, under a profiler, on {describe_machine()}"
    rows = [(phase, f"{time:.3f} s", f"{time / total:.0%}") for phase, time in longest_first]
    return Table(title=title, columns=("phase", "time", "share"), rows=rows)


def limit_table(subject_name: str, times: dict[str, float], quick: bool) -> Table:
    values = sum(param.numel() for param in SUBJECTS[subject_name].on_meta(quick).parameters())
    rows = [
        (name, f"{time:.4g} s", f"{values / time / 1e6:,.0f} M", f"{times[AUTOINIT] / time:.2f}")
        for name, time in times.items()
    ]
    title = f"{subject_name}: {values:,} values, and the limit"
    return Table(title=title, columns=("what", "time", "values/s", "autoinit takes"), rows=rows)


if __name__ == "__main__":
    main()
