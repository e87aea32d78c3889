"""Parameters shared with modules outside the block, found through who refers to them (I1)."""

from __future__ import annotations

import torch
from torch import nn

from autoinit.interception.foreign import foreign_params


def test_only_the_tables_of_other_modules_count() -> None:
    old, new = nn.Linear(2, 2), nn.Linear(2, 2)
    new.weight = old.weight
    kept_in_a_list = [new.bias]
    kept_in_a_dict = {"bias": new.bias}
    optimizer = torch.optim.SGD(new.parameters(), lr=0.1)
    state = new.state_dict(keep_vars=True)
    assert foreign_params([new]) == {id(old.weight)}
    assert kept_in_a_list and kept_in_a_dict and optimizer and state


def test_ties_among_the_modules_themselves_are_not_foreign() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    assert foreign_params([a, b]) == set()
    assert foreign_params([a, b, a]) == set()


def test_a_parameter_that_was_registered_elsewhere_and_taken_back() -> None:
    old, new = nn.Linear(2, 2), nn.Linear(2, 2)
    new.weight = old.weight
    del old.weight
    assert foreign_params([new]) == set()


def test_modules_without_parameters() -> None:
    assert foreign_params([nn.ReLU(), nn.Linear(1, 1, bias=False)]) == set()
    assert foreign_params([]) == set()
