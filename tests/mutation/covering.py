"""Which tests run which lines, and how long each takes: from one run of the tests under coverage."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDERS = {
    "planning": "applying initializers parametrized interception/test_block.py checkpoints/test_fits.py"
    " checkpoints/test_loading.py compat/test_mmengine.py ../contracts ../errors",
    "fills": "initializers applying/test_tensors.py applying/test_functional.py",
    "fans": "fills/test_blocks.py initializers ../zoo/test_fans.py",
    "sampling": "fills/test_fills.py applying/test_sharded.py applying/test_applying.py",
    "interception": "construction parametrized test_patches.py applying/test_applying.py applying/test_lazy.py"
    " planning/test_own.py checkpoints/test_fits.py ../contracts ../test_field_notes.py",
    "verification": "testing/test_assertions.py",
    "propagation": "",
    "testing": "",
}
"""The folders that are mutated, each with the tests that concern it besides `tests/unit/<folder>`."""

OUTSIDE = {"testing": ("pytest_autoinit.py",)}
"""Files of a folder that lie outside of it."""

OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"),
    *("-m", "not slow and not compiles and not campaign"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis is imported before the fork
)
"""The quick tests, in one process, the same each time."""

IMPORT = ""
"""The context of code that is run outside of tests."""

EXAMPLES = "15"
"""Of each property: a mutant that fifteen do not find is, to this measure, not found."""


@dataclass(frozen=True, kw_only=True)
class Covering:
    """The result of a run under coverage."""

    lines: dict[str, dict[int, list[str]]]
    """By file, by line, the tests that run it; the one without a name is the import of the file."""
    seconds: dict[str, float]
    """By test."""

    def tests(self, path: str, line: int, budget: float) -> tuple[list[str], bool]:
        """The tests for a line, quickest first, as far as the budget goes; and whether these are all.

        What is run when a module is imported, a table that is filled, is up to all tests: those that run the line
        again come first, then those of its file.
        """
        known = self.lines.get(path, {})
        own = known.get(line, [])
        groups = [own]
        if IMPORT in own or not own:
            groups += [[test for tests in known.values() for test in tests], list(self.seconds)]
        taken: dict[str, None] = {}
        total = 0.0
        quickest = [sorted(set(group) - {IMPORT}, key=lambda test: (self.seconds[test], test)) for group in groups]
        for test in itertools.chain.from_iterable(quickest):
            if test not in taken:
                total += self.seconds[test]
                if total > budget and taken:
                    return list(taken), False
                taken[test] = None
        return list(taken), True

    @classmethod
    def read(cls, path: Path) -> Covering:
        content = json.loads(path.read_text())
        names = content["tests"]
        lines = {
            file: {int(line): [names[number] for number in numbers] for line, numbers in found.items()}
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
        self._coverage.switch_context(IMPORT)


def files(root: Path, folder: str) -> list[Path]:
    return [*sorted((root / "autoinit" / folder).rglob("*.py")), *(root / name for name in OUTSIDE.get(folder, ()))]


def measure(root: Path, folder: str, out: Path) -> int:
    """Run a folder's tests under coverage, and write what they cover. A test that fails is left out."""
    import coverage

    measured = coverage.Coverage(data_file=None, include=list(map(str, files(root, folder))))
    tests = [str(root / "tests" / "unit" / name) for name in (folder, *FOLDERS[folder].split())]
    recorder = Recorder(measured)
    measured.start()
    pytest.main([*OPTIONS, *tests], plugins=[recorder])
    measured.stop()
    data = measured.get_data()
    passed = recorder.seconds.keys() - recorder.failed
    numbers = {name: number for number, name in enumerate([IMPORT, *sorted(passed)])}
    lines = {
        str(Path(file).relative_to(root)): {
            line: [numbers[context] for context in contexts if context in numbers]
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    seconds = {name: recorder.seconds[name] for name in passed}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"tests": list(numbers), "lines": lines, "seconds": seconds}))
    took, failed = sum(recorder.seconds.values()), len(recorder.failed)
    print(f"{len(passed)} tests in {took:.0f} s, {failed} failed", file=sys.stderr)
    return int(bool(failed))
