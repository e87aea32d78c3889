"""What is shown while a command runs: only where somebody looks."""

from __future__ import annotations

import io
import sys

import pytest

from autoinit.command_line.progress import steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_steps_are_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with steps(2) as step:
        step("building [bold]a[/bold]")
    assert ("building [bold]a[/bold]" in stream.getvalue()) == shown
    assert ("1/2" in stream.getvalue()) == shown
    assert bool(stream.getvalue()) == shown


def test_a_terminal_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", stream)
    with steps(2) as step:
        step("building")
    assert stream.getvalue() == ""
