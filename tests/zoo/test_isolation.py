"""An examination in a process of its own: what becomes of it when that process comes to a bad end."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from . import isolation
from .findings import Findings
from .isolation import Limits, Tell, Worker, sweep
from .subjects import Subject

# The process that is forked for each examination imports three libraries first.
pytestmark = pytest.mark.slow

LIMITS = Limits(seconds=120, memory=4096)


def sound(tell: Tell, library: str, name: str) -> Findings:
    tell("plain", Findings())
    # Memory that no constructor fills is NaN.
    return Findings(model=f"{library} {name}", parameters=os.getpid(), unfilled=[str(torch.empty(1000).sum().item())])


def misbehaving(tell: Tell, check: str, how: str) -> Findings:
    """Begins a check, with findings of those before, and does not come to its end."""
    tell("plain", Findings())
    tell(check, Findings(model="Net", values=3))
    print("famous last words", flush=True)
    ends: dict[str, Callable[[], object]] = {
        "exits": lambda: os._exit(3),
        "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "takes too much memory": lambda: torch.ones(8 << 30, dtype=torch.uint8),
    }
    ends[how]()
    return Findings()


def test_findings_come_back_from_another_process() -> None:
    found = Worker(sound, "timm", "vit", limits=LIMITS).wait()
    assert found.model == "timm vit"
    assert found.parameters != os.getpid()
    assert (found.problems, found.unfilled) == ([], ["nan"])
    assert found.memory > 50
    assert found.took > 0


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("exits", "crash: exit code 3: famous last words"),
        ("is killed", "crash: exit code -9: famous last words"),
        ("takes too much memory", "crash: exit code 1: .*allocate memory"),
    ],
)
@pytest.mark.parametrize("check", ["plain", "typical"])
def test_a_process_that_comes_to_a_bad_end_is_a_problem_of_the_check_it_was_at(how: str, text: str, check: str) -> None:
    found = Worker(misbehaving, check, how, limits=LIMITS).wait()
    [problem] = found.problems
    assert re.match(text, problem.text, re.DOTALL)
    assert (problem.check, problem.theirs) == (check, check == "plain")
    # Earlier findings are kept.
    assert (found.model, found.values) == ("Net", 3)


def hanging(tell: Tell, folder: str) -> Findings:
    tell("typical", Findings(model="Net"))
    Path(folder, "hangs").touch()
    time.sleep(600)
    return Findings()


def test_a_process_that_hangs_is_ended_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(isolation, "time", SimpleNamespace(monotonic=lambda: now))
    worker = Worker(hanging, str(tmp_path), limits=Limits(seconds=3, memory=4096))
    while not Path(tmp_path, "hangs").exists():
        time.sleep(0.01)
    now = 4.0
    found = worker.wait()
    assert [(problem.check, problem.text) for problem in found.problems] == [("typical", "timeout: not done after 3 s")]
    assert found.model == "Net"


def lingering(tell: Tell) -> Findings:
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    return Findings(parameters=os.getpid())


def test_a_process_that_does_not_end_when_its_work_is_done_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "GRACE", 0.5)
    found = Worker(lingering, limits=LIMITS).wait()
    assert found.problems == []
    assert not Path(f"/proc/{found.parameters}").exists()


def when_told(tell: Tell, folder: str, name: str) -> Findings:
    while not Path(folder, name).exists():
        time.sleep(0.01)
    return Findings(model=name)


def test_a_sweep_runs_several_at_a_time_and_yields_what_is_done_first(tmp_path: Path) -> None:
    subjects = [Subject(library=str(tmp_path), name=name, family="") for name in "abc"]
    running = sweep(subjects, when_told, jobs=2, limits=LIMITS)
    for name in "bca":
        (tmp_path / name).touch()
        _, found = next(running)
        assert found.model == name
    assert list(running) == []


def test_a_sweep_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    subjects = [Subject(library=str(tmp_path), name=str(number), family="") for number in range(4)]
    running = sweep(subjects, mark_and_wait, jobs=2, limits=LIMITS)
    next(running)
    running.close()
    processes = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert processes
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def mark_and_wait(tell: Tell, folder: str, name: str) -> Findings:
    # In one step: the process may be killed at any time.
    Path(folder, name).write_text(str(os.getpid()))
    Path(folder, name).rename(Path(folder, f"{name}.pid"))
    if name != "0":
        time.sleep(600)
    return Findings(model=name)
