"""Padding rows of embeddings in a block, constructions that fail, optimizers in the block."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit, verify

NORMAL = dict(type="Normal", layer=["Linear", "Embedding"], std=0.02)


def filled(weight: Tensor, std: float = 0.02) -> bool:
    return abs(weight.std().item() / std - 1) < 0.1


def test_the_padding_row_stays_zero() -> None:
    """pytorch/pytorch#6495: a custom initialization overwrites the row of padding_idx.

    Right (design.md O6): zero as torch makes it, the rest by the rule.
    """
    with autoinit(NORMAL, seed=0) as run:
        table = nn.Embedding(100, 64, padding_idx=3)
    rest = torch.cat([table.weight[:3], table.weight[4:]])
    assert (table.weight[3] == 0).all() and filled(rest) and (rest != 0).all() and verify(table, run.report).ok


def test_a_rule_may_fill_the_padding_row() -> None:
    """pytorch/pytorch#6411, "sometimes people may actually want to": padding="fill" (design.md O6).

    Right: every row is the rule's.
    """
    with autoinit(NORMAL | dict(padding="fill"), seed=0):
        table = nn.Embedding(100, 64, padding_idx=0)
    assert (table.weight[0] != 0).any() and filled(table.weight)


def test_a_failed_construction_that_is_remembered_changes_no_value() -> None:
    """Lightning-AI/pytorch-lightning tuner/batch_size_scaling.py (catch the error, log it, try a smaller one).

    Right: one seed, the same values.
    """

    class TooLarge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(80, 80)
            raise MemoryError

    with autoinit(NORMAL, seed=0):
        first = nn.Linear(80, 80)
    with autoinit(NORMAL, seed=0):
        with pytest.raises(MemoryError) as remembered:
            TooLarge()
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
