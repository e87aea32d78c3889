"""Whatever the documentation shows is run: the snippets of each page in order, and every docstring's example.

A page is one program. Its fences mean:
    ```python              run, after the fences above it
    ```python no-run       shown only
    ```text expect         what the python fence right above it printed; `...` stands for anything
    ```yaml, ```toml       a file, if its first line is `# file: NAME`
    ```json title="NAME", ```python title="NAME"   a file
    ```console             `$ pytest ...` and `$ autoinit ...`, which are run, and what each prints; `...` is anything
Files are written, into an empty folder, before the first snippet runs.
`AUTOINIT_DOCS=write python -m pytest tests/test_docs.py` writes what is printed into the pages: read the diff.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import autoinit
from autoinit.command_line import main
from tests.zoo.conftest import torchvision_operators

REPOSITORY = Path(__file__).parents[1]
FIRST = (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md")
PAGES = [page for page in (*FIRST, *sorted((REPOSITORY / "docs").rglob("*.md"))) if page.exists()]
PACKAGE = Path(autoinit.__file__).parent
MODULES = sorted(
    ".".join(("autoinit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__main__" and (path.stem != "triton_kernel" or importlib.util.find_spec("triton"))
)
FENCE = re.compile(r"^ *(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^ *(?P=ticks) *$", re.M | re.S)
FILE = re.compile(r"# file: (\S+)")
TITLE = re.compile(r'title="([^"]+)"')
PYTEST = "import pytest, tests.zoo.conftest as zoo; zoo.torchvision_operators(); raise SystemExit(pytest.main())"
WRITE = os.environ.get("AUTOINIT_DOCS") == "write"


@dataclass(frozen=True, kw_only=True)
class Fence:
    info: str
    body: str
    line: int

    @property
    def words(self) -> list[str]:
        return self.info.split()

    @property
    def runs(self) -> bool:
        return self.words[:1] == ["python"] and "no-run" not in self.words and self.file is None

    @property
    def file(self) -> str | None:
        match = None
        if self.words[:1] in (["yaml"], ["toml"]):
            match = FILE.match(self.body)
        elif self.words[:1] in (["json"], ["python"]):
            match = TITLE.search(self.info)
        return match[1] if match else None


def fences(text: str) -> Iterator[Fence]:
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        yield Fence(info=match["info"], body=textwrap.dedent(match["body"]), line=line)


def run_page(path: Path, folder: Path, namespace: dict[str, object]) -> str:
    """Run all that a page shows; where it prints something else, and what."""
    page = list(fences(path.read_text()))
    for fence in page:
        if fence.file is not None:
            target = folder / fence.file
            assert not target.exists(), f"two fences of one page write {fence.file}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(fence.body)
    printed: str | None = None
    found: list[tuple[Fence, str, str]] = []
    for fence in page:
        where = f"{path}:{fence.line}"
        if fence.words == ["text", "expect"]:
            assert printed is not None, f"{where}: no snippet right above this output"
            found.append((fence, printed, difference(fence.body, printed)))
        if fence.words == ["console"]:
            found.append((fence, *run_console(fence, where, folder)))
        printed = run_snippet(fence, path, namespace) if fence.runs else None
    differing = [(fence, body, complaint) for fence, body, complaint in found if complaint]
    if WRITE:
        for fence, body, _ in reversed(differing):
            write_output(path, fence, body)
        return ""
    return "\n".join(f"{path}:{fence.line}: {complaint}" for fence, _, complaint in differing)


def run_snippet(fence: Fence, path: Path, namespace: dict[str, object]) -> str:
    # The empty lines in front make tracebacks, and what `trace` reports, point into the page.
    code = compile("\n" * (fence.line - 1) + fence.body, str(path), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)
    return printed.getvalue()


def run_console(fence: Fence, where: str, folder: Path) -> tuple[str, str]:
    """Run commands as with an installed package, plugin included; return all that is printed, and complaints."""
    before, *commands = re.split(r"^\$ ", fence.body, flags=re.M)
    assert commands and not before, f"{where}: a command begins with `$ `"
    written = complaints = ""
    for lines in commands:
        line, _, want = lines.partition("\n")
        command, *args = shlex.split(line)
        assert command in RUN, f"{where}: only `$ pytest` and `$ autoinit` are run"
        got, errors = RUN[command](args, folder)
        complaint = difference(want, got, errors)
        written += f"$ {line}\n{got if complaint else want}"
        complaints += complaint
    return written, complaints


def difference(want: str, got: str, errors: str = "") -> str:
    return "" if printed_as_expected(want, got) else f"expected\n{want}\nbut it printed\n{got}{errors}"


def run_pytest(args: list[str], folder: Path) -> tuple[str, str]:
    env = {"PYTHONPATH": str(REPOSITORY), "PYTEST_ADDOPTS": "-p pytest_autoinit -p no:cacheprovider"}
    command = [sys.executable, "-c", PYTEST, *args]
    done = subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True)
    return done.stdout, done.stderr


def run_autoinit(args: list[str], folder: Path) -> tuple[str, str]:
    """In this process, which has imported torch; stdout and stderr are one terminal."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        with warnings.catch_warnings(), contextlib.suppress(SystemExit):
            warnings.simplefilter("default")
            main(args)
    return printed.getvalue(), ""


RUN = {"pytest": run_pytest, "autoinit": run_autoinit}


def printed_as_expected(want: str, got: str) -> bool:
    # Tables are padded with spaces that no editor keeps.
    want, got = ("".join(f"{line.rstrip()}\n" for line in text.strip("\n").split("\n")) for text in (want, got))
    return doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)


def write_output(path: Path, fence: Fence, printed: str) -> None:
    """Put what was printed in the place of a fence's body."""
    lines = path.read_text().split("\n")
    indent = " " * (len(lines[fence.line - 2]) - len(lines[fence.line - 2].lstrip()))
    first = fence.line - 1
    body = [f"{indent}{line}".rstrip() for line in printed.strip("\n").split("\n")]
    lines[first : first + fence.body.count("\n")] = body
    path.write_text("\n".join(lines))


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The globals of a module that exists, so that snippets' classes can be pickled."""
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return vars(module)


@pytest.fixture(autouse=True)
def a_readers_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torchvision_operators()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_snippets_of_a_page_run(path: Path, tmp_path: Path, namespace: dict[str, object]) -> None:
    assert run_page(path, tmp_path, namespace) == ""


def test_no_snippet_goes_by_another_name() -> None:
    found = [fence for path in PAGES for fence in fences(path.read_text())]
    assert not {word for fence in found for word in fence.words[:1]} & {"py", "py3", "python3", "pycon"}
    assert any(fence.runs for fence in found)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    with contextlib.redirect_stdout(io.StringIO()) as complaint:
        result = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert not result.failed, complaint.getvalue()


PAGE = """\
```yaml
# file: cfg/init.yaml
type: Kaiming
```

1.  A list:

    ```python
    from pathlib import Path
    print(Path("cfg/init.yaml").read_text())
    ```

    ```text expect
    # file: ...
    type: SCHEME
    ```

```python no-run
raise SystemExit
```
"""


CONSOLE = """\
```python title="test_it.py"
def test_it(init_alpha):
    assert init_alpha == 1e-3
```

```console
$ pytest -q
.                                                                                            [100%]
1 passed in ...s
$ autoinit check none.yaml
none.yaml: No such file or directory.
1 error
```
"""


@pytest.mark.parametrize("text", [CONSOLE, PAGE.replace("SCHEME", "Kaiming")], ids=["commands", "files"])
def test_a_page_shows_what_is_printed(tmp_path: Path, namespace: dict[str, object], text: str) -> None:
    (tmp_path / "page.md").write_text(text)
    assert run_page(tmp_path / "page.md", tmp_path, namespace) == ""
    assert (tmp_path / "cfg" / "init.yaml").exists() or (tmp_path / "test_it.py").exists()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (PAGE.replace("SCHEME", "Xavier"), None, r"page\.md:14: expected\n.*Xavier"),
        (CONSOLE.replace("1 passed", "1 failed"), None, "but it printed\n.*1 passed in"),
        ("```python\n\n1 / 0\n```\n", ZeroDivisionError, "division by zero"),
        ("```text expect\nhello\n```\n", AssertionError, "no snippet right above"),
        ('```json title="a"\n1\n```\n' * 2, AssertionError, "two fences of one page write a"),
        ("```console\n$ rm -r x\n```\n", AssertionError, r"page\.md:2: only `\$ pytest` and `\$ autoinit`"),
    ],
)
def test_the_check_of_pages_can_fail(
    tmp_path: Path, namespace: dict[str, object], text: str, error: type[Exception] | None, message: str
) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    if error is None:
        assert re.search(message, run_page(path, tmp_path, namespace), re.DOTALL)
    else:
        with pytest.raises(error, match=message):
            run_page(path, tmp_path, namespace)
