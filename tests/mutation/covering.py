"""Which tests run which lines, and how long each takes: from one run of the tests under coverage."""

from __future__ import annotations

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

EXAMPLES = "15"
"""Of each property: a mutant that fifteen do not find is, to this measure, not found."""


@dataclass(frozen=True, kw_only=True)
class Covering:
    """What a run under coverage has found.

    Args:
        lines: by file, by line, the tests that run it.
        imported: by file, the lines that are run when it is imported.
        seconds: by test.
    """

    lines: dict[str, dict[int, list[str]]]
    imported: dict[str, set[int]]
    seconds: dict[str, float]

    def tests(self, path: str, line: int, budget: float) -> tuple[list[str], bool]:
        """The tests for a line, quickest first, as far as the budget goes; and whether these are all.

        What is run when a module is imported, a table that is filled, is up to all tests: those that run the line
        again come first, then those of its file.
        """
        known = self.lines.get(path, {})
        groups = [known.get(line, [])]
        if line in self.imported.get(path, ()) or not groups[0]:
            groups += [[test for tests in known.values() for test in tests], list(self.seconds)]
        taken: dict[str, None] = {}
        total = 0.0
        for test in (test for group in groups for test in sorted(group, key=lambda test: self.seconds[test])):
            if test not in taken:
                total += self.seconds[test]
                if total > budget and taken:
                    return list(taken), False
                taken[test] = None
        return list(taken), True

    @classmethod
    def read(cls, path: Path) -> Covering:
        """What `measure` wrote."""
        content = json.loads(path.read_text())
        lines = {
            file: {int(line): [content["tests"][number] for number in tests] for line, tests in found.items()}
            for file, found in content["lines"].items()
        }
        imported = {file: set(found) for file, found in content["imported"].items()}
        return cls(
            lines=lines, imported=imported, seconds={test: content["seconds"][test] for test in content["tests"]}
        )


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
    tests = [str(root / "tests" / "unit" / name) for name in (folder, *FOLDERS[folder].split())]
    recorder = Recorder(measured)
    measured.start()
    pytest.main([*OPTIONS, *tests], plugins=[recorder])
    measured.stop()
    data = measured.get_data()
    names = sorted(recorder.seconds.keys() - recorder.failed)
    numbers = {name: number for number, name in enumerate(names)}
    lines: dict[str, dict[int, list[int]]] = {}
    imported: dict[str, list[int]] = {}
    for file in data.measured_files():
        name = str(Path(file).relative_to(root))
        found = data.contexts_by_lineno(file)
        lines[name] = {
            line: sorted(numbers[context] for context in contexts if context in numbers)
            for line, contexts in found.items()
        }
        imported[name] = [line for line, contexts in found.items() if "" in contexts]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"tests": names, "lines": lines, "imported": imported, "seconds": recorder.seconds}))
    print(
        f"{len(names)} tests in {sum(recorder.seconds.values()):.0f} s, {len(recorder.failed)} failed", file=sys.stderr
    )
    return int(bool(recorder.failed))
