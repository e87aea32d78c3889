"""Which tests run which lines, and how long each takes: from one run of the tests under coverage."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = {
    "planning": (
        *("planning", "coverage", "own_initialization", "tensors", "lazy", "fused", "messages", "parametrized"),
        *("applying", "checkpoints_fits", "block", "initializers"),
    ),
    "fills": ("fills", "blocks", "initializers", "tensors", "functional", "closed_form"),
    "fans": ("fans", "fused", "blocks", "initializers"),
    "sampling": ("sampling", "fills", "sharded", "applying"),
    "interception": (
        *("hook", "block", "census", "foreign", "loaded", "deferral", "deferral_faults", "deferral_rules"),
        *("applying", "own_initialization", "parametrized"),
    ),
    "verification": ("verification", "verification_statistics", "assertions"),
    "propagation": ("propagation", *(f"propagation_{part}" for part in ("inputs", "measures", "results", "traces"))),
    "testing": ("assertions", "snapshots", "pytest_plugin", "strategies"),
}
"""The files of tests that are about each folder."""

OUTSIDE = {"testing": ("pytest_autoinit.py",)}
"""Files of a folder that lie outside of it."""

OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not compiles", "--hypothesis-seed=0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis is imported before the fork
)
"""The quick tests, in one process, the same each time."""

EXAMPLES = "15"
"""Of each property: a mutant that fifteen do not find is, to this measure, not found."""


@dataclass(frozen=True, kw_only=True)
class Covering:
    """What a run under coverage has found.

    Args:
        lines: by file, by line, the tests that run it; under line 0 those that run any.
        seconds: by test.
    """

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def tests(self, path: str, line: int, budget: float) -> tuple[list[str], bool]:
        """The tests for a line, quickest first, as far as the budget goes; and whether these are all.

        What is run when a module is imported is run by whichever test comes first: it is up to all that use the file.
        """
        known = self.lines.get(path, {})
        tests = sorted(known.get(line) or known.get(0, ()), key=lambda test: self.seconds[test])
        taken, total = [], 0.0
        for test in tests:
            total += self.seconds[test]
            if total > budget and taken:
                return taken, False
            taken.append(test)
        return taken, True

    @classmethod
    def read(cls, path: Path) -> Covering:
        """What `measure` wrote."""
        content = json.loads(path.read_text())
        lines = {
            file: {int(line): [content["tests"][number] for number in tests] for line, tests in found.items()}
            for file, found in content["lines"].items()
        }
        return cls(lines=lines, seconds=content["seconds"])


class Recorder:
    """A plugin for pytest that tells coverage which test is running."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str, location: object) -> None:
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str, location: object) -> None:
        self._coverage.switch_context("")


def files(root: Path, folder: str) -> list[Path]:
    """The code of a folder."""
    return [*sorted((root / "autoinit" / folder).rglob("*.py")), *(root / name for name in OUTSIDE.get(folder, ()))]


def measure(root: Path, folder: str, out: Path) -> int:
    """Run a folder's tests under coverage, and write what they cover. A test that fails is left out."""
    import coverage

    measured = coverage.Coverage(data_file=None, include=list(map(str, files(root, folder))))
    tests = [f"{root}/tests/test_{name}.py" for name in TESTS[folder]]
    recorder = Recorder(measured)
    measured.start()
    pytest.main([*OPTIONS, *tests], plugins=[recorder])
    measured.stop()
    data = measured.get_data()
    names = sorted(recorder.seconds.keys() - recorder.failed)
    numbers = {name: number for number, name in enumerate(names)}
    lines: dict[str, dict[int, list[int]]] = {}
    for file in data.measured_files():
        found = {}
        for line, contexts in data.contexts_by_lineno(file).items():
            found[line] = sorted(numbers[context] for context in contexts if context in numbers)
        found[0] = sorted({number for numbers_ in found.values() for number in numbers_})
        lines[str(Path(file).relative_to(root))] = found
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"tests": names, "lines": lines, "seconds": recorder.seconds}))
    print(
        f"{len(names)} tests in {sum(recorder.seconds.values()):.0f} s, {len(recorder.failed)} failed", file=sys.stderr
    )
    return int(bool(recorder.failed))
