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

from . import NORMAL, Net, is_drawn

Construct = Callable[[Any], object]


def linear() -> nn.Linear:
    return nn.Linear(80, 80)


def networks(way: str) -> tuple[nn.Module, nn.Module]:
    """An online network, and a target that is built by one of the usual ways."""
    online, target = (nn.Sequential(linear(), nn.Linear(80, 8)) for _ in range(2))
    pairs = list(zip(target.parameters(), online.parameters(), strict=True))
    if way == "deepcopy":
        target = copy.deepcopy(online)
    elif way == "load_state_dict":
        target.load_state_dict(online.state_dict())
    elif way == "copy_ without grad":
        with torch.no_grad():
            for a, b in pairs:
                a.copy_(b)
    for a, b in pairs:
        if way == "data.copy_":
            a.data.copy_(b.data)
        if way == "data of a clone":
            a.data = b.data.clone()
    return online, target.requires_grad_(False)


@pytest.mark.parametrize("defer", [True, False])
@pytest.mark.parametrize("way", ["deepcopy", "load_state_dict", "data.copy_", "copy_ without grad", "data of a clone"])
def test_a_target_equals_its_online_network(way: str, defer: bool) -> None:
    """DLR-RM/stable-baselines3 dqn/policies.py, facebookresearch/moco builder.py, BYOL, DINO.

    Right: equal, with the rule's distribution.
    """

    def construct(m: Any) -> None:
        m.online, m.target = networks(way)

    with autoinit(NORMAL, seed=0, defer=defer) as run:
        m = Net(construct)
    assert all(torch.equal(a, b) for a, b in zip(m.online.parameters(), m.target.parameters(), strict=True))
    assert is_drawn(m.online[0].weight)
    assert "copy of online.0.weight" in run.report["target.0.weight"].outcome


def two_copies_of_a_network_that_is_gone(m: Any) -> None:
    """BYOL and EMA wrappers that copy what they are given twice. Right: equal, though their source is in no model."""
    base = linear()
    m.online, m.target = copy.deepcopy(base), copy.deepcopy(base)


def frozen_averages_side_by_side(m: Any) -> None:
    """Post-hoc EMA (NVlabs/edm2): several frozen averages of one network in a list. Right: all equal to it."""
    m.net = linear()
    m.emas = nn.ModuleList([copy.deepcopy(m.net).requires_grad_(False) for _ in range(3)])


def a_buffer_that_remembers_the_beginning(m: Any) -> None:
    """L2-SP, lottery tickets (facebookresearch/open_lth): a buffer is weight.clone(). Right: equal to the weight."""
    m.fc = linear()
    m.register_buffer("start", m.fc.weight.detach().clone())


def a_copy_that_another_rule_names(m: Any) -> None:
    """lightly-ai/lightly#2066: a momentum encoder starts as the encoder. Right: equal to the first."""
    m.encoder = linear()
    m.momentum = copy.deepcopy(m.encoder)


def a_copy_of_a_copy(m: Any) -> None:
    """Britefury/self-ensemble-visual-domain-adapt#6: a teacher from the student, an average from the teacher."""
    m.student, m.teacher = linear(), linear()
    m.teacher.load_state_dict(m.student.state_dict())
    m.average = copy.deepcopy(m.teacher)


EQUAL: dict[Construct, str] = {
    two_copies_of_a_network_that_is_gone: "online.weight target.weight",
    frozen_averages_side_by_side: "net.weight emas.0.weight emas.1.weight emas.2.weight",
    a_buffer_that_remembers_the_beginning: "fc.weight start",
    a_copy_that_another_rule_names: "encoder.weight momentum.weight",
    a_copy_of_a_copy: "student.weight teacher.weight average.weight",
}


@pytest.mark.parametrize("construct", EQUAL, ids=lambda construct: construct.__name__)
def test_copies_end_equal(construct: Construct) -> None:
    with autoinit([NORMAL, dict(type="Constant", name="momentum", val=3.0)], seed=0, unmatched="ignore"):
        m = Net(construct)
    tensors = dict(m.named_parameters()) | dict(m.named_buffers())
    first, *others = (tensors[name] for name in EQUAL[construct].split())
    assert is_drawn(first)
    assert all(torch.equal(first, other) for other in others)


def test_a_copy_in_another_dtype_follows() -> None:
    """fp16 shadow weights (NVIDIA/apex, DeepSpeed). Right: the source's values, rounded once."""

    def construct(m: Any) -> None:
        m.fc = linear()
        m.shadow = nn.Parameter(m.fc.weight.detach().half())

    with autoinit(NORMAL, seed=0):
        m = Net(construct)
    assert torch.equal(m.shadow, m.fc.weight.half())


def test_a_copy_is_another_root() -> None:
    """torch.optim.swa_utils.AveragedModel: the average is a model of its own, beside the one it follows.

    Right: equal.
    """
    with autoinit(NORMAL, seed=0):
        net = nn.Sequential(linear())
        average = torch.optim.swa_utils.AveragedModel(net)
    assert torch.equal(net[0].weight, average.module[0].weight) and is_drawn(net[0].weight)


def test_two_roots_are_synchronized() -> None:
    """vwxyzjn/cleanrl cleanrl/dqn.py: both networks are built by the script, then
    target.load_state_dict(online.state_dict()).

    Right: equal, by the rule.
    """
    with autoinit(NORMAL, seed=0):
        online, target = linear(), linear()
        target.load_state_dict(online.state_dict())
    assert torch.equal(online.weight, target.weight) and is_drawn(online.weight)


def test_clones_of_a_prototype_are_layers_of_their_own() -> None:
    """pytorch/pytorch#86274, #72253: nn.TransformerEncoder copies a layer side by side.

    Right: each has values of its own, also while the prototype lives.
    """
    with autoinit(NORMAL, seed=0):
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        m = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        gone = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        n = nn.TransformerEncoder(gone, 2, enable_nested_tensor=False)
        del gone
    weights = [x.linear1.weight for x in (*m.layers, *n.layers)]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_a_later_fill_ends_a_copy() -> None:
    """A target is copied, and then initialized anew. Right: a copy no longer; the rule fills both, differently."""

    def construct(m: Any) -> None:
        m.a = linear()
        m.b = copy.deepcopy(m.a)
        m.b.reset_parameters()

    with autoinit(NORMAL, seed=0):
        m = Net(construct)
    assert not torch.equal(m.a.weight, m.b.weight) and is_drawn(m.b.weight)


def test_a_copy_of_loaded_values_is_kept() -> None:
    """facebookresearch/dino: the student is loaded, the teacher copied from it. Right: both are what was loaded."""
    file = {name: torch.full_like(value, 7.0) for name, value in linear().state_dict().items()}

    def construct(m: Any) -> None:
        m.a = linear()
        m.a.load_state_dict(file)
        m.b = copy.deepcopy(m.a)

    with autoinit(NORMAL, seed=0):
        m = Net(construct)
    assert (m.a.weight == 7).all() and (m.b.weight == 7).all()


def test_a_copy_of_a_weight_that_no_rule_covers_stays_equal() -> None:
    """facebookresearch/moco moco/builder.py, with a rule for another layer.

    Right: both as the constructor filled the first.
    """

    def construct(m: Any) -> None:
        m.conv, m.fc = nn.Conv1d(80, 80, 1), linear()
        m.twin = copy.deepcopy(m.conv)

    with autoinit(NORMAL, seed=0):
        m = Net(construct)
    assert torch.equal(m.conv.weight, m.twin.weight)
    assert is_drawn(m.conv.weight, (3 * 80) ** -0.5) and is_drawn(m.fc.weight)


def with_warnings(construct: Construct) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with autoinit(NORMAL, seed=0):
            m = Net(construct)
    return m, [str(w.message) for w in seen if issubclass(w.category, AutoInitWarning)]


def test_a_norm_of_a_weight_is_warned_of() -> None:
    """huggingface/peft DoRA: the magnitude is the norm of the weight at construction.

    Right: one warning that names both.
    """

    def construct(m: Any) -> None:
        m.fc = linear()
        m.m = nn.Parameter(m.fc.weight.detach().norm(dim=1))

    m, messages = with_warnings(construct)
    assert any("fc.weight" in text and "m" in text.replace("fc.weight", "") for text in messages), messages
    assert m.m.shape == (80,)


def test_a_product_of_two_weights_is_warned_of() -> None:
    """pytorch/pytorch torch/nn/utils/fusion.py (weights computed from two layers): a buffer of a.weight @ b.weight.

    Right: a warning with the names.
    """

    def construct(m: Any) -> None:
        m.a, m.b = linear(), linear()
        m.register_buffer("fused", (m.a.weight @ m.b.weight).detach())

    _, messages = with_warnings(construct)
    assert any("fused" in text and ("a.weight" in text or "b.weight" in text) for text in messages)


def test_a_value_whose_weight_no_rule_fills_is_not_warned_of() -> None:
    """huggingface/peft DoRA, with a rule for another layer. Right: the magnitude agrees, and nobody is warned."""

    def construct(m: Any) -> None:
        m.conv, m.fc = nn.Conv1d(80, 80, 1), linear()
        m.m = nn.Parameter(m.conv.weight.detach().flatten(1).norm(dim=1))

    m, messages = with_warnings(construct)
    assert torch.equal(m.m, m.conv.weight.flatten(1).norm(dim=1)) and not messages
