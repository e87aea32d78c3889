"""Files that OpenMMLab's libraries have saved, and the names that mmengine chooses from them."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import tempfile
import threading
from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoinit.checkpoints import open_checkpoint
from autoinit.checkpoints.torch_format import placeholders
from tests.checkpoint_files import PICKLED, Save, assert_same, error, rezip, save_old, save_zip, state, values
from tests.processes import Interpreter


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
def test_openmmlab(save: Save, path: pathlib.Path, openmmlab: dict[str, Any], mmengine: Any) -> None:
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


def test_openmmlab_saved_by_the_runner_or_with_numpy_1(
    path: pathlib.Path, openmmlab: dict[str, Any], mmengine: Any
) -> None:
    mmengine.runner.checkpoint.save_checkpoint(openmmlab, str(path))
    assert_same(values(open_checkpoint(path)), state())
    rezip(path, lambda name, data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same(values(open_checkpoint(path)), state())


def test_openmmlab_needs_no_mmengine(path: pathlib.Path, openmmlab: dict[str, Any], interpreter: Interpreter) -> None:
    save_zip(openmmlab, path)
    code = "import sys; from autoinit.checkpoints import open_checkpoint; open_checkpoint(sys.argv[1]);"
    interpreter.check(f"{code} assert not {{'mmengine', 'safetensors'}} & set(sys.modules)", str(path))


def test_openmmlab_from_many_threads(path: pathlib.Path, openmmlab: dict[str, Any]) -> None:
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
def test_the_same_keys_as_mmengine(
    mmengine: Any, names: list[str], prefix: str | None, wrapped: bool, save: Save
) -> None:
    content: Any = {name: torch.full((i + 1,), float(i)) for i, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "toy.pth")
        save({"state_dict": content} if wrapped else content, path)
        expected = chosen_by_mmengine(mmengine.runner.checkpoint, path, prefix)
        if expected is None:
            assert "has nothing under the prefix" in str(error(path, prefix=prefix))
        else:
            assert_same(values(open_checkpoint(path, prefix=prefix)), expected)


def chosen_by_mmengine(module: Any, path: pathlib.Path, prefix: str | None) -> dict[str, Tensor] | None:
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
