"""The result of a propagation: a mapping, a table, JSON, an exception and a picture."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from autoinit import AutoInitError, Bounds, Propagation, PropagationError, StateError, initialize
from tests.batches import measured


def broken(**options: object) -> Propagation:
    """A model with one zero weight, so that the layer after it has no signal."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    initialize(model, dict(type="Kaiming", layer="Linear", mode="fan_in"), seed=0)
    with torch.no_grad():
        model[2].weight.zero_()
    return measured(model, **options)  # type: ignore[arg-type]


def right() -> Propagation:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    initialize(model, dict(type="Xavier", layer="Linear"), seed=0)
    return measured(model)


def test_it_is_a_mapping_in_the_order_of_calls() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x))

    found = measured(Backwards())
    assert list(found) == ["first", "last"] and len(found) == 2
    assert "middle" not in found and found["first"].layer == "Linear"
    assert list(found.gradients) == ["last.weight", "last.bias", "first.weight", "first.bias"]


def test_flags_raise_with_the_result_attached_and_a_right_signal_raises_nothing() -> None:
    found = right()
    assert found.ok
    found.raise_for_flags()
    assert found.caption == "ok; 2 modules of Sequential; inputs 8 x 4 (given)"
    assert repr(found) == f"Propagation(Sequential: {found.caption})"
    found = broken()
    with pytest.raises(PropagationError) as caught:
        found.raise_for_flags()
    error = caught.value
    assert isinstance(error, AutoInitError) and isinstance(error, AssertionError)
    assert error.fqn == found.flags[0].fqn == "2"
    assert error.propagation is found
    assert str(error).split("\n")[:2] == [f"{found.caption}:", f"  {found.flags[0]}"]
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert twin.propagation == found and twin.fqn == "2" and str(twin) == str(error)


def test_a_long_text_is_cut() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(40)))
    initialize(model, dict(type="Constant", layer="Linear", val=0))
    with pytest.raises(PropagationError) as caught:
        measured(model).raise_for_flags()
    assert len(str(caught.value).split("\n")) == 22
    assert " more" in str(caught.value).split("\n")[-1]


def test_the_table_has_a_row_a_module_and_no_column_that_is_empty() -> None:
    title, header, _, *rows, caption = str(broken()).split("\n")
    assert title == "Propagation through Sequential"
    assert header.split() == ["module", "layer", "mean", "std", "gain", "dead", "gradient", "norm", "flags"]
    assert [row.split()[:2] for row in rows] == [["0", "Linear"], ["1", "ReLU"], ["2", "Linear"], ["3", "Linear"]]
    assert rows[2].endswith("vanishing, dead")
    assert caption.startswith("7 flags (vanishing, dead, ")
    assert "norm" not in str(broken(backward=False)).split("\n")[1]


def test_json_holds_everything_and_no_number_that_is_none_in_json() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    found = measured(model, bounds=Bounds(ignore="head"))
    read = json.loads(found.to_json(allow_nan=False, indent=1))
    assert read == found.to_dict()
    assert read["ok"] is False
    assert read["modules"][""]["std"] is None and read["modules"][""]["nonfinite"] == 1
    assert read["gradients"].keys() == {"weight", "bias"}
    assert read["flags"][0]["kind"] == "nonfinite"
    assert read["flags"][0]["message"].startswith("the root (Linear): 1 of its output is NaN or infinite")
    assert read["bounds"]["gain"] == [0.0, None] and read["bounds"]["ignore"] == ["head"]


def test_the_picture_shows_every_module_both_directions_and_the_flags(tmp_path: Path) -> None:
    path, found = tmp_path / "signal.svg", broken()
    found.plot(str(path.with_suffix(".png")))
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    found.plot(path)
    text = path.read_text()
    for expected in ("std of the output", "root mean square of the gradient", "norm of the parameters", found.caption):
        assert expected in text
    assert all(f">{fqn}<" in text for fqn in found)
    assert ">flagged, and 0 or nothing<" in text
    right().plot(path)
    assert ">flagged" not in path.read_text()


def test_the_same_figures_make_the_same_file_and_no_backend_is_chosen(tmp_path: Path) -> None:
    import matplotlib

    def settings() -> tuple[object, ...]:
        return matplotlib.get_backend(auto_select=False), matplotlib.rcParams["svg.hashsalt"]

    before = settings()
    for name in ("one.svg", "other.svg"):
        broken().plot(tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert settings() == before


def test_many_modules_and_no_gradient_can_be_drawn(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(150)))
    measured(model, backward=False).plot(tmp_path / "many.svg")
    assert ">148<" in (tmp_path / "many.svg").read_text()
    assert ">149<" not in (tmp_path / "many.svg").read_text()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = right()
    with pytest.raises(StateError) as caught:
        found.plot(tmp_path / "signal.svg")
    assert str(caught.value) == 'A picture needs matplotlib: pip install "torch-autoinit[plot]".'
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_long_table_is_folded_and_begins_with_what_is_flagged() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(15)), nn.Linear(4, 4))
    initialize(model, dict(type="Orthogonal", layer="Linear"), seed=0)
    with torch.no_grad():
        model[15].weight.zero_()  # type: ignore[union-attr, operator]
    found = measured(model, backward=False)
    table = found.table()
    assert [row[:2] for row in table.rows] == [("15", "Linear"), ("{0..14}.0", "Linear"), ("{0..14}.1", "Tanh")]
    stds = [found[f"{index}.0"].std or 0.0 for index in range(15)]
    assert table.rows[0][-2].startswith("vanishing") and not table.rows[1][-2]
    assert table.rows[1][table.columns.index("std")] == f"{min(stds):.3g} .. {max(stds):.3g}"
    assert [row[0] for row in found.table(full=True).rows] == list(found)
    assert max(map(len, table.text(80).split("\n"))) <= 80
