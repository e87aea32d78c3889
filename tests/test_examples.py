"""Each program in docs/examples is run, and stands with what it prints on one page of the documentation.

On the page the program is the fence ```python title="NAME.py", a config beside it ```yaml title="NAME.yaml", and its
output ```text title="Output". After a change, `AUTOINIT_DOCS=write python -m pytest tests/test_examples.py` writes all
three into the page. A program whose libraries are not installed is skipped.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import printed_as_expected

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "docs" / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "demo.py")  # the tour takes a minute
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
RUN = """
import runpy, sys
from tests.zoo.conftest import torchvision_operators
torchvision_operators()
del sys.argv[0]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def libraries(program: str) -> set[str]:
    """Names of the packages that a program imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def page_with(title: str) -> Path:
    pages = [page for page in PAGES if f'title="{title}"' in page.read_text()]
    assert len(pages) == 1, f"{title} stands on {len(pages)} pages, not on one"
    return pages[0]


def fence(title: str) -> re.Pattern[str]:
    return re.compile(rf'(?P<head>^```\w+ title="{re.escape(title)}"\n)(?P<body>.*?)(?P<end>^```$)', re.M | re.S)


def check(page: Path, title: str, body: str, *, write: bool = os.environ.get("AUTOINIT_DOCS") == "write") -> None:
    """Compare a fence of a page, in which `...` stands for anything, with what it has to show, or write it."""
    text = page.read_text()
    match = fence(title).search(text)
    assert match is not None, f"{page} has no fence with the title {title}"
    if printed_as_expected(match["body"], body):
        return
    assert write, f"{page} differs from docs/examples: see the docstring of {Path(__file__).name}"
    page.write_text(text[: match.start("body")] + body + text[match.end("body") :])


def run(program: Path, folder: Path) -> str:
    env = {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "100", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(program)], cwd=folder, env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "AutoInitWarning" not in done.stderr, done.stderr
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_stands_on_its_page(program: Path) -> None:
    for path in (program, program.with_suffix(".yaml")):
        if path.exists():
            check(page_with(program.name), path.name, path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_what_its_page_shows(program: Path, tmp_path: Path) -> None:
    for library in sorted(libraries(program.read_text())):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{program.name} needs {library}")
    check(page_with(program.name), "Output", run(program, tmp_path))


def test_the_check_of_a_page_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```text title="Output"\none\n```\n')
    check(page, "Output", "one\n", write=False)
    with pytest.raises(AssertionError, match="differs"):
        check(page, "Output", "two\n", write=False)
    with pytest.raises(AssertionError, match="no fence"):
        check(page, "other.py", "")
    check(page, "Output", "two\n", write=True)
    assert page.read_text() == '```text title="Output"\ntwo\n```\n'


def test_the_libraries_of_a_program_are_found() -> None:
    assert libraries("import a.b, c\nfrom d.e import f\ndef g():\n    import h\n") == {"a", "c", "d", "h"}
