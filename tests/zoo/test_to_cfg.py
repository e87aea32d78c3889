"""What the campaign of `tests/zoo/to_cfg.py` measures, on a model of each library."""

from __future__ import annotations

import pytest

from autoinit import trace

from .subjects import library
from .to_cfg import compared, show

MODELS = {
    "torchvision": ("mobilenet_v3_small", 6),
    "timm": ("test_vit", 8),
    "transformers": ("gpt2", 4),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_few_rules_give_a_model_the_fills_of_its_own_code(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, most = MODELS[name]
    with trace() as traced:
        built = library(name).builder(model)()
    found = compared(traced, built)
    assert found["different"] == {}
    assert found["rules"] <= most
    key = f"{name}/{model}"
    assert show({key: {"coverage": {"to_cfg": found}}}) == 0
    assert "100.00%" in capsys.readouterr().out


def test_the_campaign_fails_if_the_goal_is_missed_or_a_model_fails(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"total": 10, "rules": 3, "different": {"weight": "linspace(0, 1, 5)"}}
    assert show({"timm/a": {"coverage": {"to_cfg": found}}}) == 1
    assert show({"timm/a": {"coverage": {"to_cfg": dict(found, different={})}}, "timm/b": {"coverage": {}}}) == 1
    assert "linspace(0, 1, 5)" in capsys.readouterr().out
