"""Files that want to run something."""

from __future__ import annotations

import os
import pathlib
import pickle
import re
import subprocess
import zipfile
from collections.abc import Callable

import pytest
import torch

from autoinit.checkpoints import open_checkpoint, torch_format
from tests.checkpoint_files import PICKLED, Save, error, rezip, save_old, save_zip


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


def save_zip_4(content: object, path: pathlib.Path) -> None:
    torch.save(content, path, pickle_protocol=4)


NAMED = [save_zip, save_old, save_raw(2)]
"""Formats of which torch says what it refuses; the others cannot be read at all, whatever they hold."""


@pytest.mark.parametrize("save", [*NAMED, save_zip_4, *map(save_raw, (0, 1, 3, 4, 5))])
@pytest.mark.parametrize("function", [os.system, exec, subprocess.check_call], ids=["system", "exec", "call"])
@pytest.mark.parametrize("where", ["top", "weight", "beside"])
def test_hostile_pickles_are_refused_and_not_run(
    save: Save, function: Callable[..., object], where: str, tmp_path: pathlib.Path
) -> None:
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
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(Runs(os.system, f"touch {tmp_path / 'ran'}"), tmp_path / "toy.pth")
    assert "was refused" in str(error(tmp_path / "toy.pth"))
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "toy.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


@PICKLED
def test_what_is_read_past_is_not_run(save: Save, path: pathlib.Path) -> None:
    # `getattr` is on the list, because OpenMMLab's files name it; what it is asked for does not happen.
    save({"a": torch.ones(2), "log": [Runs(getattr, Trap(), "sprung")]}, path)
    with torch.serialization.safe_globals([getattr, Trap]), pytest.raises(ZeroDivisionError):
        torch.load(path, weights_only=True)
    with torch.serialization.safe_globals([Trap]):
        assert list(open_checkpoint(path).shapes) == ["a"]


@PICKLED
def test_a_pickled_model_is_refused(save: Save, path: pathlib.Path) -> None:
    save(torch.nn.Linear(2, 2), path)
    text = str(error(path))
    assert "torch.nn.modules.linear.Linear" in text and "torch.save(model.state_dict(), path)" in text


@pytest.mark.parametrize("overlap", [False, True], ids=["deflated", "overlapping"])
def test_an_archive_that_unpacks_to_far_more_than_it_is(
    overlap: bool, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
