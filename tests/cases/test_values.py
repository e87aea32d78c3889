"""Values that a rule gives or leaves: the padding row, tables, unwritten memory, prefixes, plans (contracts O5-O7)."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from autoinit import AutoInitWarning, autoinit, initialize, plan

NORMAL = dict(type="Normal", layer="Linear", std=0.02)


def test_the_padding_row_stays_zero() -> None:
    """pytorch/pytorch#6411, microsoft/Graphormer#41: padding_idx.

    Right: its row stays zero, the others have the rule's distribution.
    """
    for e in (nn.Embedding(400, 64, padding_idx=0), nn.EmbeddingBag(400, 64, padding_idx=3)):
        initialize(e, dict(type="Normal", layer=["Embedding", "EmbeddingBag"], std=0.02), seed=0)
        assert (e.weight[e.padding_idx] == 0).all() and abs(e.weight.std() - 0.02) < 0.002


def test_a_table_of_formulas_is_not_data() -> None:
    """Vaswani et al., sine positions computed with torch in the constructor, then a rule that names them.

    Right: filled: all of it was made in the block.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            t = torch.arange(80.0)[:, None] / torch.pow(10000.0, torch.arange(40.0) / 40)
            self.pos = nn.Parameter(torch.cat([t.sin(), t.cos()], 1))

    with autoinit(dict(type="Constant", params="pos", val=3.0), seed=0):
        m = Net()
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
    assert run.report["1.weight"].outcome == "never written" and any(
        issubclass(w.category, AutoInitWarning) for w in seen
    )


def test_two_parts_with_one_seed_can_differ() -> None:
    """pytorch/pytorch#139304, sfujim/TD3: parts that are initialized by separate calls.

    Right: prefix= makes them differ, reproducibly.
    """
    q = [nn.Linear(80, 80) for _ in range(3)]
    for m, prefix in zip(q, ("q1", "q2", "q1"), strict=True):
        initialize(m, NORMAL, seed=0, prefix=prefix)
    assert not torch.equal(q[0].weight, q[1].weight) and torch.equal(q[0].weight, q[2].weight)


def test_planning_runs_no_code_of_the_model() -> None:
    """Stateful loading code (counters, caches): plan() of a config with Pretrained.

    Right: the model is as it was, attributes included.
    """
    import pathlib
    import tempfile

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.meta = {"loaded": 0}

        def _load_from_state_dict(self, *a: object) -> None:
            self.meta["loaded"] += 1
            super()._load_from_state_dict(*a)

    with tempfile.TemporaryDirectory() as d:
        torch.save(Net().state_dict(), f := pathlib.Path(d) / "x.pth")
        m = Net()
        plan(m, dict(type="Pretrained", checkpoint=str(f)))
    assert m.meta == {"loaded": 0}
