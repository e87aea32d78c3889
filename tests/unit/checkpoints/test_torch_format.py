"""Files of torch.save that want to run something, and those of OpenMMLab, whose names mmengine chooses."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import subprocess
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoinit.checkpoints import open_checkpoint, torch_format
from autoinit.checkpoints.torch_format import placeholders
from tests.checkpoint_files import PICKLED, Save, assert_same, error, rezip, save_old, save_zip, state, values
from tests.processes import Interpreter


class Runs:
    """Unpickled without care, it calls a function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class Trap:
    @property
    def sprung(self) -> float:
        return 1 / 0


def save_raw(protocol: int) -> Save:
    return lambda content, path: path.write_bytes(pickle.dumps(content, protocol=protocol))


def save_zip_4(content: object, path: Path) -> None:
    torch.save(content, path, pickle_protocol=4)


NAMED = [save_zip, save_old, save_raw(2)]
"""Formats of which torch says what it refuses; the others cannot be read at all, whatever they hold."""


@pytest.mark.parametrize("save", [*NAMED, save_zip_4, *map(save_raw, (0, 1, 3, 4, 5))])
@pytest.mark.parametrize("function", [os.system, exec, subprocess.check_call], ids=["system", "exec", "call"])
@pytest.mark.parametrize("where", ["top", "weight", "beside"])
def test_hostile_pickles_are_not_run(save: Save, function: Callable[..., object], where: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w').close()" if function is exec else f"touch {marker}"
    args: tuple[object, ...] = (["touch", str(marker)],) if function is subprocess.check_call else (code,)
    evil = Runs(function, *args)
    tensors = {"a": torch.ones(1)} if save in (save_zip, save_zip_4, save_old) else {}
    content = {"top": evil, "weight": {"state_dict": {"a": evil}}, "beside": {**tensors, "b": [evil]}}
    path = tmp_path / "toy.pth"
    save(content[where], path)
    caught = error(path)
    assert not marker.exists() and caught.__cause__ is not None
    if save in NAMED:
        assert "was refused: its pickle names" in str(caught) and "was not run" in str(caught)
        assert function.__name__ in str(caught)
    elif save is save_zip_4:
        assert "is pickled with protocol 4, which cannot be read safely, and was not run" in str(caught)


def test_the_hostile_pickle_would_have_run_and_the_environment_cannot_unlock_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(Runs(os.system, f"touch {tmp_path / 'ran'}"), tmp_path / "toy.pth")
    assert "was refused" in str(error(tmp_path / "toy.pth"))
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "toy.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


@PICKLED
def test_what_is_read_past_is_not_run(save: Save, path: Path) -> None:
    # `getattr` is on the list, because OpenMMLab's files name it; what it is asked for does not happen.
    save({"a": torch.ones(2), "log": [Runs(getattr, Trap(), "sprung")]}, path)
    with torch.serialization.safe_globals([getattr, Trap]), pytest.raises(ZeroDivisionError):
        torch.load(path, weights_only=True)
    with torch.serialization.safe_globals([Trap]):
        assert list(open_checkpoint(path).shapes) == ["a"]


@PICKLED
def test_a_pickled_model_is_refused(save: Save, path: Path) -> None:
    save(torch.nn.Linear(2, 2), path)
    text = str(error(path))
    assert "torch.nn.modules.linear.Linear" in text and "torch.save(model.state_dict(), path)" in text


@pytest.mark.parametrize("overlap", [False, True], ids=["deflated", "overlapping"])
def test_an_archive_that_unpacks_to_far_more(overlap: bool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_format, "_UNPACKED", 1 << 20)
    save_zip({"a": torch.zeros(1 << 20)}, path)
    assert open_checkpoint(path).shapes["a"] == (1 << 20,)
    if overlap:  # Many entries for one record.
        with zipfile.ZipFile(path, "a") as archive:
            (record,) = (record for record in archive.infolist() if record.filename.endswith("data/0"))
            archive.filelist += [record] * 200
            archive._didModify = True  # type: ignore[attr-defined]
    else:
        rezip(path, compression=zipfile.ZIP_DEFLATED)
    assert re.search(r"is a zip archive of [\d,]+ bytes that unpacks to [\d,]+, and was refused", str(error(path)))


@pytest.fixture
def openmmlab(mmengine: Any) -> dict[str, Any]:
    """What mmengine's runner saves: weights, meta, and a message hub of history buffers and numpy values."""
    import numpy as np

    hub = mmengine.logging.MessageHub("test_checkpoints")
    for loss in (0.5, 0.25):
        hub.update_scalar("train/loss", loss)
    hub.update_scalar("train/acc", np.float64(0.75))
    hub.update_info("iter", np.int64(3))
    hub.update_info("scores", np.arange(3.0))
    meta = {"epoch": 1, "cfg": "model = dict()", "args": argparse.Namespace(lr=0.1)}
    return {"meta": meta, "state_dict": OrderedDict(state()), "message_hub": hub.state_dict()}


@PICKLED
def test_openmmlab(save: Save, path: Path, openmmlab: dict[str, Any], mmengine: Any) -> None:
    save(openmmlab, path)
    with pytest.raises(pickle.UnpicklingError, match=r"HistoryBuffer|getattr|numpy|Namespace"):
        torch.load(path, weights_only=True)
    buffer = mmengine.logging.HistoryBuffer
    methods = dict(buffer._statistics_methods)
    for allowed in ([], [buffer, (argparse.Namespace, "argparse.Namespace")]):
        with torch.serialization.safe_globals(allowed):
            before = set(torch.serialization.get_safe_globals())
            assert_same(values(open_checkpoint(path)), state())
            assert set(torch.serialization.get_safe_globals()) == before
    assert buffer._statistics_methods == methods


def test_openmmlab_saved_by_the_runner_or_with_numpy_1(path: Path, openmmlab: dict[str, Any], mmengine: Any) -> None:
    mmengine.runner.checkpoint.save_checkpoint(openmmlab, str(path))
    assert_same(values(open_checkpoint(path)), state())
    rezip(path, lambda name, data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same(values(open_checkpoint(path)), state())


def test_openmmlab_needs_no_mmengine(path: Path, openmmlab: dict[str, Any], interpreter: Interpreter) -> None:
    save_zip(openmmlab, path)
    code = "import sys; from autoinit.checkpoints import open_checkpoint; open_checkpoint(sys.argv[1]);"
    interpreter.check(f"{code} assert not {{'mmengine', 'safetensors'}} & set(sys.modules)", str(path))


def test_openmmlab_from_many_threads(path: Path, openmmlab: dict[str, Any]) -> None:
    save_zip(openmmlab, path)
    expected = state()  # seeds torch's generator, which the threads share
    failures: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert_same(values(open_checkpoint(path)), expected)
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for act in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            act(thread)
    assert failures == []


def test_placeholders_take_turns() -> None:
    entered = threading.Event()

    def enter() -> None:
        with placeholders():
            entered.set()

    thread = threading.Thread(target=enter)
    with placeholders():
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(60)
    thread.join()


NAMES = st.lists(st.sampled_from(["module", "backbone", "head", "a", "b"]), min_size=1, max_size=4).map(".".join)


@given(
    names=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    prefix=st.none() | NAMES | NAMES.map(lambda name: name + ".") | st.sampled_from(["", ".", "back"]),
    wrapped=st.booleans(),
    save=st.sampled_from([save_zip, save_old]),
)
def test_the_keys_of_mmengine(mmengine: Any, names: list[str], prefix: str | None, wrapped: bool, save: Save) -> None:
    content: Any = {name: torch.full((i + 1,), float(i)) for i, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "toy.pth")
        save({"state_dict": content} if wrapped else content, path)
        expected = chosen_by_mmengine(mmengine.runner.checkpoint, path, prefix)
        if expected is None:
            assert "has nothing under the prefix" in str(error(path, prefix=prefix))
        else:
            assert_same(values(open_checkpoint(path, prefix=prefix)), expected)


def chosen_by_mmengine(module: Any, path: Path, prefix: str | None) -> dict[str, Tensor] | None:
    if prefix is not None:
        try:
            return dict(module._load_checkpoint_with_prefix(prefix, str(path)))
        except AssertionError:
            return None
    seen: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict", lambda model, state_dict, *_: seen.update(state_dict))
        module.load_checkpoint(torch.nn.Module(), str(path))
    return seen
