"""Scripts in processes of their own, each a fork of one interpreter that has imported torch, and nothing of autoinit.

A new interpreter that imports torch takes seconds, a fork milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]


class Interpreter:
    """The interpreter that is forked. It has started no thread, and its folder is that of the repository."""

    def __enter__(self) -> Interpreter:
        command = [sys.executable, "-c", "import torch; from tests.processes import serve; serve()"]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=REPOSITORY
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def run(
        self, code: str, *arguments: str, text: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end.

        Args:
            code: may be indented.
            *arguments: `sys.argv[1:]`.
            text: `sys.stdin`.
            env: the whole environment; this process's by default.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "stdin").write_text(text)
            task = {"code": textwrap.dedent(code), "arguments": arguments, "env": dict(env or os.environ)}
            print(json.dumps(task | {"folder": name}), file=self._server.stdin)
            status = int(self._server.stdout.readline())
            written = [(folder / stream).read_text() for stream in ("stdout", "stderr")]
        return subprocess.CompletedProcess(arguments, status, *written)

    def check(self, code: str, *arguments: str, **options: Any) -> str:
        """The output of a script; an `AssertionError` with its traceback if it fails."""
        done = self.run(code, *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout


def serve() -> None:
    """Fork for each line of stdin, and answer with the exit status of the fork."""
    for line in sys.stdin:
        if not (child := os.fork()):
            os._exit(_run(**json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(code: str, arguments: Sequence[str], env: Mapping[str, str], folder: str) -> int:
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(Path(folder, stream), os.O_RDWR | os.O_CREAT), number)
    sys.stdin = os.fdopen(0)
    sys.argv = ["-c", *arguments]
    os.environ.clear()
    os.environ.update(env)
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
