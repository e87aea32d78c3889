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
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.test_docs import printed_as_expected

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "docs" / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "demo.py")  # the tour takes a minute
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
WRITE = os.environ.get("AUTOINIT_DOCS") == "write"
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


def difference(title: str, body: str, of: str = "", pages: Sequence[Path] = PAGES, write: bool = WRITE) -> str:
    """How a fence, in which `...` stands for anything, differs from what it has to show; or it is written.

    Args:
        title: of the fence.
        body: what it has to show.
        of: title of the fence of the program that it belongs to.
        pages: of which one has that program.
        write: whether a fence that differs gets the body.
    """
    found = [page for page in pages if f'title="{of or title}"' in page.read_text()]
    if len(found) != 1:
        return f"{of or title} stands on {len(found)} pages, not on one"
    (page,), text = found, found[0].read_text()
    fence = rf'(?P<head>^```\w+ title="{re.escape(title)}"\n)(?P<body>.*?)(?P<end>^```$)'
    match = re.search(fence, text, re.M | re.S)
    if match is None:
        return f"{page} has no fence with the title {title}"
    if printed_as_expected(match["body"], body):
        return ""
    if write:
        page.write_text(text[: match.start("body")] + body + text[match.end("body") :])
        return ""
    return f"{page} differs from docs/examples: see the docstring of {Path(__file__).name}"


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
    for path in filter(Path.exists, (program, program.with_suffix(".yaml"))):
        assert difference(path.name, path.read_text(), of=program.name) == ""


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_what_its_page_shows(program: Path, tmp_path: Path) -> None:
    for library in sorted(libraries(program.read_text())):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{program.name} needs {library}")
    assert difference("Output", run(program, tmp_path), of=program.name) == ""


def test_the_check_of_a_page_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```python title="a.py"\n```\n```text title="Output"\none\n```\n')
    options = dict(of="a.py", pages=[page])
    assert difference("Output", "one\n", **options, write=False) == ""
    assert "differs" in difference("Output", "two\n", **options, write=False)
    assert "no fence" in difference("a.yaml", "", **options, write=False)
    assert "b.py stands on 0 pages, not on one" in difference("b.py", "", pages=[page])
    assert difference("Output", "two\n", **options, write=True) == ""
    assert page.read_text().endswith('```text title="Output"\ntwo\n```\n')


def test_the_libraries_of_a_program_are_found() -> None:
    assert libraries("import a.b, c\nfrom d.e import f\ndef g():\n    import h\n") == {"a", "c", "d", "h"}
