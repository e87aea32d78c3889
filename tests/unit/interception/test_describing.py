"""What a prompt, a notebook and completion show of a block."""

from __future__ import annotations

from torch import nn

from autoinit import autoinit
from autoinit.interception.block import Block

NORMAL = dict(type="Normal", layer="Linear", std=0.02)


def used(block: Block) -> Block:
    """A block that does not warn that it was never entered: it decorates a function."""
    block(lambda: None)
    return block


def test_the_repr_of_a_block_has_its_rules_and_options() -> None:
    assert repr(used(autoinit())) == "Block(no rules)"
    assert repr(used(autoinit(NORMAL, seed=3, defer=False, unmatched="error"))) == (
        "Block(init_cfg (layer='Linear'): Normal(std=0.02); seed=3, defer=False, unmatched='error')"
    )
    assert repr(used(autoinit([NORMAL] * 5))).endswith("init_cfg[2] (layer='Linear'): Normal(std=0.02), 2 more rules)")


def test_a_notebook_shows_the_rules_of_a_block_with_their_overrides() -> None:
    shown = used(autoinit(dict(NORMAL, override=dict(type="Constant", name="<i>", val=0))))._repr_html_()
    assert shown.count("<tr>") == 3
    assert "init_cfg.override" in shown and "&lt;i&gt;" in shown and "<i>" not in shown


def test_a_run_says_what_it_has_built() -> None:
    with autoinit(NORMAL, seed=0) as run:
        assert repr(run) == "Run(1 rule; open)" == run._repr_html_()
        models = [nn.Linear(2, 2) for _ in range(5)]
    assert repr(run) == f"Run(1 rule; {'Linear: 2 filled; seed 0 | ' * 3}2 more roots)"
    assert run._repr_html_().count("<table>") == len(models)
    with autoinit() as empty:
        pass
    assert repr(empty) == "Run(0 rules; no root)"


def test_completion_offers_what_users_may_use() -> None:
    with autoinit(NORMAL) as run:
        layer = nn.Linear(2, 2)
    assert [name for name in dir(run) if not name.startswith("_")] == ["report", "reports"]
    assert run.report["weight"].shape == tuple(layer.weight.shape)
