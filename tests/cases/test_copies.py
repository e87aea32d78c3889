"""Copies that constructors make of weights (contract O3), and values that they compute from them (O4).

Right: whole copies of one tensor end equal; only trainable copies side by side in one container (a series of layers)
have values of their own.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, autoinit

NORMAL = dict(type="Normal", layer="Linear", std=0.02)


class Pair(nn.Module):
    """An online network, and a target that is built by one of the usual ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(80, 80), nn.Linear(80, 8))
        self.target = (
            copy.deepcopy(self.online) if way == "deepcopy" else nn.Sequential(nn.Linear(80, 80), nn.Linear(80, 8))
        )
        if way == "load_state_dict":
            self.target.load_state_dict(self.online.state_dict())
        if way == "data.copy_":
            for a, b in zip(self.target.parameters(), self.online.parameters(), strict=True):
                a.data.copy_(b.data)
        if way == "copy_ without grad":
            with torch.no_grad():
                for a, b in zip(self.target.parameters(), self.online.parameters(), strict=True):
                    a.copy_(b)
        if way == "data of a clone":
            for a, b in zip(self.target.parameters(), self.online.parameters(), strict=True):
                a.data = b.data.clone()
        for p in self.target.parameters():
            p.requires_grad_(False)


WAYS = ["deepcopy", "load_state_dict", "data.copy_", "copy_ without grad", "data of a clone"]


@pytest.mark.parametrize("defer", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_target_equals_its_online_network(way: str, defer: bool) -> None:
    """DLR-RM/stable-baselines3 dqn/policies.py, facebookresearch/moco builder.py, BYOL, DINO.

    Right: equal, with the rule's distribution.
    """
    with autoinit(NORMAL, seed=0, defer=defer) as run:
        m = Pair(way)
    assert all(torch.equal(a, b) for a, b in zip(m.online.parameters(), m.target.parameters(), strict=True))
    assert abs(m.online[0].weight.std() - 0.02) < 0.002
    assert "copy of online.0.weight" in run.report["target.0.weight"].outcome


def test_a_copy_is_another_root() -> None:
    """torch.optim.swa_utils.AveragedModel: the average is a model of its own, beside the one it follows.

    Right: equal.
    """
    with autoinit(NORMAL, seed=0):
        net = nn.Sequential(nn.Linear(80, 80))
        average = torch.optim.swa_utils.AveragedModel(net)
    assert torch.equal(net[0].weight, average.module[0].weight) and abs(net[0].weight.std() - 0.02) < 0.002


def test_a_copy_in_another_dtype_follows() -> None:
    """fp16 shadow weights (NVIDIA/apex, DeepSpeed): a half copy of a float weight.

    Right: the source's values, rounded once.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(80, 80)
            self.shadow = nn.Parameter(self.fc.weight.detach().half())

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert torch.equal(m.shadow, m.fc.weight.half())


def test_clones_of_a_prototype_are_layers_of_their_own() -> None:
    """pytorch/pytorch#86274, #72253: nn.TransformerEncoder copies a layer side by side.

    Right: each has values of its own, also while the prototype lives.
    """
    with autoinit(NORMAL, seed=0):
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        m = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        n = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2, enable_nested_tensor=False
        )
    weights = [x.linear1.weight for x in (*m.layers, *n.layers)]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_two_copies_of_a_network_that_is_gone() -> None:
    """BYOL and EMA wrappers that copy what they are given twice.

    Right: online and target are equal, though their source is in no model.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            base = nn.Linear(80, 80)
            self.online, self.target = copy.deepcopy(base), copy.deepcopy(base)

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert torch.equal(m.online.weight, m.target.weight)


def test_frozen_averages_side_by_side_follow() -> None:
    """Post-hoc EMA (NVlabs/edm2): several frozen averages of one network in a list. Right: all equal to it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(80, 80)
            self.emas = nn.ModuleList([copy.deepcopy(self.net).requires_grad_(False) for _ in range(3)])

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert all(torch.equal(e.weight, m.net.weight) for e in m.emas)


def test_a_later_fill_ends_a_copy() -> None:
    """A target is copied, and then initialized anew.

    Right: it is no copy any more, the rule fills both, differently.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(80, 80)
            self.b = copy.deepcopy(self.a)
            self.b.reset_parameters()

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert not torch.equal(m.a.weight, m.b.weight) and abs(m.b.weight.std() - 0.02) < 0.002


def test_a_buffer_remembers_the_beginning() -> None:
    """L2-SP, lottery tickets (facebookresearch/open_lth): a buffer is weight.clone().

    Right: it equals the weight after the block.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(80, 80)
            self.register_buffer("start", self.fc.weight.detach().clone())

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert torch.equal(m.start, m.fc.weight)


def test_a_copy_of_loaded_values_is_kept() -> None:
    """facebookresearch/dino: the student is loaded, the teacher copied from it. Right: both are what was loaded."""
    file = {k: torch.full_like(v, 7.0) for k, v in nn.Linear(80, 80).state_dict().items()}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(80, 80)
            self.a.load_state_dict(file)
            self.b = copy.deepcopy(self.a)

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert (m.a.weight == 7).all() and (m.b.weight == 7).all()


@pytest.mark.filterwarnings("default")
def test_a_norm_of_a_weight_is_warned_of() -> None:
    """huggingface/peft DoRA: the magnitude is the norm of the weight at construction.

    Right: one warning that names both.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(80, 80)
            self.m = nn.Parameter(self.fc.weight.detach().norm(dim=1))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with autoinit(NORMAL, seed=0):
            m = Net()
    messages = [str(w.message) for w in seen if issubclass(w.category, AutoInitWarning)]
    assert any("fc.weight" in t and "m" in t.replace("fc.weight", "") for t in messages), messages
    assert m.m.shape == (80,)


def test_two_roots_are_synchronized() -> None:
    """vwxyzjn/cleanrl cleanrl/dqn.py: both networks are built by the script, then
    target.load_state_dict(online.state_dict()).

    Right: equal, by the rule.
    """
    with autoinit(NORMAL, seed=0):
        online, target = nn.Linear(80, 80), nn.Linear(80, 80)
        target.load_state_dict(online.state_dict())
    assert torch.equal(online.weight, target.weight) and abs(online.weight.std() - 0.02) < 0.002


def test_a_copy_follows_whichever_rule_matches_it() -> None:
    """lightly-ai/lightly#2066: a momentum encoder starts as the encoder.

    Right: equal to the first, also if another rule names the copy alone.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(80, 80)
            self.momentum = copy.deepcopy(self.encoder)

    with autoinit([NORMAL, dict(type="Constant", name="momentum", val=3.0)], seed=0):
        m = Net()
    assert torch.equal(m.encoder.weight, m.momentum.weight) and abs(m.encoder.weight.std() - 0.02) < 0.002


def test_a_copy_of_a_copy_follows_too() -> None:
    """Britefury/self-ensemble-visual-domain-adapt#6: a teacher from the student, an average from the teacher.

    Right: all three equal.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student, self.teacher = nn.Linear(80, 80), nn.Linear(80, 80)
            self.teacher.load_state_dict(self.student.state_dict())
            self.average = copy.deepcopy(self.teacher)

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert torch.equal(m.student.weight, m.teacher.weight) and torch.equal(m.student.weight, m.average.weight)


def test_a_copy_of_a_weight_that_no_rule_covers_stays_equal() -> None:
    """facebookresearch/moco moco/builder.py, with a rule for another layer.

    Right: both as the constructor filled the first.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(80, 80, 1)
            self.twin = copy.deepcopy(self.conv)
            self.fc = nn.Linear(80, 80)

    with autoinit(NORMAL, seed=0):
        m = Net()
    assert (
        torch.equal(m.conv.weight, m.twin.weight)
        and abs(m.conv.weight.std() - (3 * 80) ** -0.5) < 0.003
        and abs(m.fc.weight.std() - 0.02) < 0.002
    )


def warnings_of(constructor: Callable[[], nn.Module], cfg: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with autoinit(cfg, seed=0):
            m = constructor()
    return m, [str(w.message) for w in seen if issubclass(w.category, AutoInitWarning)]


def test_a_product_of_two_weights_is_warned_of() -> None:
    """pytorch/pytorch torch/nn/utils/fusion.py (weights computed from two layers): a buffer of a.weight @ b.weight.

    Right: a warning with the names.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(80, 80), nn.Linear(80, 80)
            self.register_buffer("fused", (self.a.weight @ self.b.weight).detach())

    _, messages = warnings_of(Net, NORMAL)
    assert any("fused" in text and ("a.weight" in text or "b.weight" in text) for text in messages)


def test_a_value_whose_weight_no_rule_fills_is_not_warned_of() -> None:
    """huggingface/peft DoRA, with a rule for another layer. Right: the magnitude agrees, and nobody is warned."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv1d(80, 80, 1), nn.Linear(80, 80)
            self.m = nn.Parameter(self.conv.weight.detach().flatten(1).norm(dim=1))

    m, messages = warnings_of(Net, NORMAL)
    assert torch.equal(m.m, m.conv.weight.flatten(1).norm(dim=1)) and not messages
