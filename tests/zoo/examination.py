"""The checks of every model: the same without rules, filled by its rules, and otherwise as it was."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from autoinit import AutoInitWarning, Report, Run, autoinit
from autoinit._torch import storage_id
from autoinit.construction import Watch, memory
from autoinit.interception.scope import innermost
from autoinit.planning import ReportEntry

from .configs import EVERYTHING, NOTHING, TYPICAL, covered_by_everything, covered_by_typical
from .filled import FILLED, OWN, Distributions, all_names, coverage, missed, report_of
from .findings import PLAIN, Difference, Findings, Problem, problems_of
from .fingerprints import (
    SEED,
    Fingerprint,
    changed_classes,
    classes_of,
    contents,
    fingerprint,
    leftovers,
    seed_everything,
    states_of_generators,
    switches,
)
from .isolation import Tell
from .subjects import Builder, library

# Shorter constructions are timed a second time, when everything that they need is in the caches.
WARM_UP = 0.1


class Construction(NamedTuple):
    """A model, what `with autoinit(...) as` gave, and what the construction left behind and took."""

    model: nn.Module
    run: Run | None
    states: dict[str, str]
    switches: dict[str, str]
    seconds: float

    def fingerprint(self, but_for: Collection[str] = ()) -> Fingerprint:
        return fingerprint(self.model, self.states, self.switches, but_for)


def examine(tell: Tell, library_name: str, name: str) -> Findings:
    return Examination(lambda: library(library_name).builder(name), tell).run()


def construct(build: Builder, block: AbstractContextManager[Run | None]) -> Construction:
    """Build a model in a block, from the same states of all generators each time."""
    seed_everything()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", AutoInitWarning)
        # A head that is tied to an embedding, and a rule for each: meant.
        warnings.filterwarnings("ignore", ".* are one parameter: ", AutoInitWarning)
        # Unwritten parameters have a table of their own.
        warnings.filterwarnings("ignore", ".*: nothing was written to this memory", AutoInitWarning)
        # Its parameters are reported as missed by the rules.
        warnings.filterwarnings("ignore", r".*init_weights\(\) runs after the rules", AutoInitWarning)
        start = time.perf_counter()
        with block as run:
            model = build()
        seconds = time.perf_counter() - start
    return Construction(model, run, states_of_generators(), switches(), seconds)


class Examination:
    """The checks of one model, in their order: plain, identity, typical, everything.

    Args:
        find: returns what builds the model.
        tell: is called with the name of each check before it begins, and the findings so far.
    """

    def __init__(self, find: Callable[[], Builder], tell: Tell = lambda check, findings: None) -> None:
        self.find = find
        self.tell = tell
        self.findings = Findings()
        self.distributions = Distributions()
        self.models: list[str] | None = None

    def run(self) -> Findings:
        """All that the checks find; without a plain model there is nothing to check."""
        for check in (self.plain, self.identity, self.typical, self.everything):
            self._run(check)
            if not self.findings.built:
                break
        self.findings.tests = self.distributions.tests
        return self.findings

    def _run(self, check: Callable[[], list[Problem]]) -> None:
        self.check = check.__name__
        self.tell(self.check, self.findings)
        try:
            self.findings.problems += check()
        except Exception as error:
            text = f"error: {type(error).__name__}: {error}"
            theirs = self.check == PLAIN or self.fails_plainly(error)
            self.findings.problems.append(Problem(check=self.check, text=text, theirs=theirs))
        # Most models are cycles of references, and the next one needs their memory.
        gc.collect()

    def fails_plainly(self, error: Exception) -> bool:
        """Check for the same error in another plain construction: some models can be built only once."""
        try:
            construct(self.build, nullcontext())
        except Exception as again:
            return (type(again), str(again)) == (type(error), str(error))
        return False

    def construct(self, block: AbstractContextManager[Run | None], build: Builder | None = None) -> Construction:
        """Build the model in a block, and note how long it took."""
        made = construct(build or self.build, block)
        self.findings.seconds[self.check] = made.seconds
        return made

    def build_and_count(self) -> nn.Module:
        """The model, when it is noted how many of its values are still to be filled as the block ends."""
        model = self.build()
        self.findings.pending = pending_in(model)
        return model

    def plain(self) -> list[Problem]:
        self.build = self.find()
        made = self.construct(nullcontext())
        self.reference = made.fingerprint()
        self.classes = classes_of(made.model)
        self.findings.describe(made.model)
        if made.seconds < WARM_UP:
            del made
            self.construct(nullcontext())
        return []

    def identity(self) -> list[Problem]:
        """Under a rule that matches nothing everything is as without a block, and nothing is left behind (I3)."""
        defer_all_sizes()
        # An `init_weights` that the constructor leaves uncalled would be run (P3), and is not what is asked here.
        made = self.construct(autoinit(NOTHING, unmatched="ignore", own_init="skip"), self.build_and_count)
        self.models = models_of(made.run)
        return self.blamed([*self.reference.differences(made.fingerprint()), *self.traces(made.model)])

    def typical(self) -> list[Problem]:
        """Covered parameters have the values of their rules, all others those of plain construction (D4)."""
        # With an explicit seed autoinit has no reason to draw from torch's generator.
        made = self.construct(autoinit(TYPICAL, seed=SEED, unmatched="ignore", defer=False))
        report = report_of(made.model, made.run)
        mistakes = problems_of("typical", self.mistakes(made.model, report, covered_by_typical(made.model)))
        written = written_by(report, self.reference.tensors)
        found = [*self.reference.differences(made.fingerprint(written), but_for=written), *self.traces(made.model)]
        if self.models not in (None, models_of(made.run)):
            found.append(Difference("reports", "of the block", f"{self.models} became {models_of(made.run)}"))
        del made, report
        return mistakes + self.blamed(found)

    def everything(self) -> list[Problem]:
        """A rule for all parameters leaves none out, and cuts no tie (P5)."""
        made = self.construct(autoinit(EVERYTHING, seed=SEED))
        report = report_of(made.model, made.run)
        mistakes = problems_of("everything", self.mistakes(made.model, report, covered_by_everything(made.model)))
        # Deferred, what is not filled comes from elsewhere in the generator's stream.
        filled = self.reference.tensors
        found = [
            difference
            for difference in self.reference.differences(made.fingerprint(filled), but_for=filled)
            if (difference.kind, difference.what) != ("states", "torch's generator")
        ]
        found += self.traces(made.model)
        del made, report
        return mistakes + self.blamed(found)

    def traces(self, model: nn.Module) -> list[Difference]:
        return [*changed_classes(self.classes), *leftovers(model)]

    def mistakes(self, model: nn.Module, report: Report, expected: set[str]) -> Iterator[Difference]:
        """Parameters that should have been filled, those that should not, and values that are not the rule's."""
        self.findings.coverage[self.check] = coverage(report)
        yield from missed(report, expected)
        for fqn, entry in report.items():
            if entry.outcome == FILLED:
                for deviation in self.distributions.deviations(values_of(entry, model), entry.fill):
                    yield Difference("distribution", fqn, deviation)

    def blamed(self, found: list[Difference]) -> list[Problem]:
        """As problems: theirs where two plain constructions differ in the same."""
        if not found:
            return []
        # A change that a block has left for good is not the fault of this construction.
        reference, classes = replace(self.reference, switches=switches()), contents(self.classes)
        again = construct(self.build, nullcontext())
        known = [*reference.differences(again.fingerprint()), *changed_classes(classes)]
        return problems_of(self.check, found, known)


def defer_all_sizes() -> None:
    """Most models are built small here, and yet all of their parameters are to be deferred."""
    Watch.LARGE = memory.SMALL = 1  # type: ignore[misc]


def pending_in(model: nn.Module) -> int:
    """How many values the running block has not filled yet."""
    run = innermost()
    watch = run.watch if run is not None else None
    if watch is None:
        return 0
    with watch.aside() as postponed:
        return sum(param.numel() for param in model.parameters() if storage_id(param) in postponed)


def models_of(run: Run | None) -> list[str]:
    """The models of the reports of a block: this one, and others that were built and belong to nothing."""
    return [report.model for report in run.reports] if run is not None else []


def written_by(report: Report, tensors: Iterable[str]) -> set[str]:
    """The tensors that may differ: those that were filled, and the buffers that a computed weight is made with."""
    entries = [entry for entry in report.values() if entry.outcome in (FILLED, OWN)]
    beside = tuple(f"{base}parametrizations.{name}." for base, name in map(split, entries) if name)
    beside += tuple(f"{base}{name}_" for base, name in map(split, entries) if name)
    return all_names(entries) | {name for name in tensors if name.startswith(beside)}


def split(entry: ReportEntry) -> tuple[str, str]:
    """Of a computed weight the name of its module, with a dot, and its own; of others nothing."""
    base, dot, name = entry.fqn.rpartition(".")
    return (base + dot, name) if entry.through else ("", "")


def values_of(entry: ReportEntry, model: nn.Module) -> Any:
    """The tensor that forward uses; of a spectral norm the dividend, because it has the distribution of the rule."""
    value: Any = model
    for part in (entry.stored[0] if "spectral" in entry.through else entry.fqn).split("."):
        value = getattr(value, part)
    return value
