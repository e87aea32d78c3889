"""Values that a rule gives or leaves: the padding row, tables, unwritten memory, prefixes, plans (contracts O5-O7)."""

from __future__ import annotations

import gc
import pathlib
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, autoinit, initialize, plan, verify

from . import NORMAL, Net, is_drawn

EMBEDDINGS = dict(type="Normal", layer=["Embedding", "EmbeddingBag"], std=0.02)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize("in_block", [True, False])
@pytest.mark.parametrize("padding", [0, 3])
def test_the_padding_row_stays_zero(kind: type[nn.Module], in_block: bool, padding: int) -> None:
    """pytorch/pytorch#6495, #6411, microsoft/Graphormer#41: an initialization overwrites the row of padding_idx.

    Right (design.md O6): zero as torch makes it, the rest by the rule.
    """
    if in_block:
        with autoinit(EMBEDDINGS, seed=0) as run:
            table: Any = kind(400, 64, padding_idx=padding)
        report = run.report
    else:
        report = initialize(table := kind(400, 64, padding_idx=padding), EMBEDDINGS, seed=0)
    rest = torch.cat([table.weight[:padding], table.weight[padding + 1 :]])
    assert (table.weight[padding] == 0).all() and is_drawn(rest) and (rest != 0).all() and verify(table, report).ok


def test_a_rule_may_fill_the_padding_row() -> None:
    """pytorch/pytorch#6411, "sometimes people may actually want to": padding="fill" (design.md O6).

    Right: every row is the rule's.
    """
    with autoinit(EMBEDDINGS | dict(padding="fill"), seed=0):
        table = nn.Embedding(100, 64, padding_idx=0)
    assert (table.weight[0] != 0).any() and is_drawn(table.weight)


def test_a_table_of_formulas_is_not_data() -> None:
    """Vaswani et al., sine positions computed with torch in the constructor, then a rule that names them.

    Right: filled: all of it was made in the block.
    """

    def construct(m: Any) -> None:
        t = torch.arange(80.0)[:, None] / torch.pow(10000.0, torch.arange(40.0) / 40)
        m.pos = nn.Parameter(torch.cat([t.sin(), t.cos()], 1))

    with autoinit(dict(type="Constant", params="pos", val=3.0), seed=0):
        m = Net(construct)
    assert (m.pos == 3).all()


def test_memory_that_nobody_wrote_is_said() -> None:
    """pytorch/torchtitan#3106 and relatives: meta, to_empty in the block, a layer that no rule covers.

    Right: outcome `never written`, with a warning.
    """
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with autoinit(NORMAL, seed=0) as run:
            with torch.device("meta"):
                m = nn.Sequential(nn.Linear(80, 80), nn.LayerNorm(80))
            m.to_empty(device="cpu")
    assert run.report["1.weight"].outcome == "never written"
    assert any(issubclass(w.category, AutoInitWarning) for w in seen)


def test_two_parts_with_one_seed_can_differ() -> None:
    """pytorch/pytorch#139304, sfujim/TD3: parts that are initialized by separate calls.

    Right: prefix= makes them differ, reproducibly.
    """
    q = [nn.Linear(80, 80) for _ in range(3)]
    for m, prefix in zip(q, ("q1", "q2", "q1"), strict=True):
        initialize(m, NORMAL, seed=0, prefix=prefix)
    assert not torch.equal(q[0].weight, q[1].weight) and torch.equal(q[0].weight, q[2].weight)


def test_planning_runs_no_code_of_the_model(path: pathlib.Path) -> None:
    """Stateful loading code (counters, caches): plan() of a config with Pretrained.

    Right: the model is as it was, attributes included.
    """

    class Counting(nn.Linear):
        loaded = 0

        def _load_from_state_dict(self, *a: object) -> None:
            self.loaded += 1
            super()._load_from_state_dict(*a)

    torch.save(nn.Linear(8, 8).state_dict(), path)
    m = Counting(8, 8)
    plan(m, dict(type="Pretrained", checkpoint=str(path)))
    assert m.loaded == 0


def test_a_failed_construction_that_is_remembered_changes_no_value() -> None:
    """Lightning-AI/pytorch-lightning tuner/batch_size_scaling.py (catch the error, log it, try a smaller one).

    Right: one seed, the same values.
    """

    def too_large(m: Any) -> None:
        m.fc = nn.Linear(80, 80)
        raise MemoryError

    with autoinit(NORMAL, seed=0):
        first = nn.Linear(80, 80)
    with autoinit(NORMAL, seed=0):
        with pytest.raises(MemoryError) as remembered:
            Net(too_large)
        second = nn.Linear(80, 80)
    assert torch.equal(first.weight, second.weight) and remembered


def test_an_optimizer_in_the_block_does_not_make_its_end_search_the_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytorch/examples imagenet/main.py (model and optimizer in one function).

    Right: all objects are not looked through for each parameter.
    """
    searched, real = [], gc.get_referrers
    monkeypatch.setattr(gc, "get_referrers", lambda *things: searched.extend(things) or real(*things))
    with autoinit(NORMAL, seed=0):
        model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(60)])
        optimizer = torch.optim.Adam(model.parameters())
    assert len(searched) <= 4 and len(optimizer.param_groups[0]["params"]) == 120
