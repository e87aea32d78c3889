"""Faults that an examination finds: each check fails on the fault it is there for, and says whose fault it is."""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrizations
from torch.overrides import BaseTorchFunctionMode

from autoinit import Run, autoinit
from autoinit.construction import Watch, memory
from autoinit.initializers import Normal

from . import examination
from .examination import Examination
from .findings import Findings

Sabotage = Callable[[nn.Module], object]
Spoiled = Callable[..., Findings]
IN_BLOCKS = ("identity", "typical", "everything")


class Net(nn.Module):
    """A layer of each kind that the configs tell apart, a tie, and parameters that no rule by type is about."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, 16, 40))
        self.mask = nn.Parameter(torch.randn(7))
        self.embed = nn.Embedding(50, 40)
        self.layers = nn.ModuleList(nn.ModuleDict(dict(norm=nn.LayerNorm(40), fc=nn.Linear(40, 40))) for _ in range(2))
        self.conv = nn.Conv1d(40, 40, 3)
        self.head = nn.Linear(40, 50)
        self.head.weight = self.embed.weight
        self.register_buffer("angles", torch.rand(8))


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    # An examination collects garbage after each check, which takes half a second where transformers is imported.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An examination changes the smallest sizes that are deferred for the rest of its process."""
    monkeypatch.setattr(Watch, "LARGE", Watch.LARGE)
    monkeypatch.setattr(memory, "SMALL", memory.SMALL)
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def examined(build: Callable[[], nn.Module]) -> Findings:
    return Examination(lambda: build).run()


def found(findings: Findings) -> list[tuple[str, str, bool]]:
    return [(p.check, p.text.partition(" (")[0].partition(":")[0], p.theirs) for p in findings.problems]


def test_a_model_that_is_treated_as_it_has_to_be_has_no_problems() -> None:
    findings = examined(Net)
    assert findings.problems == []
    assert (findings.model, findings.parameters, findings.values) == ("Net", 14, 640 + 7 + 2000 + 3440 + 4840 + 50)
    assert findings.seconds.keys() == {"plain", "identity", "typical", "everything"}
    assert findings.coverage["typical"]["uncovered"] == [["Net", "mask", "no rule", 1, 7]]
    assert findings.coverage["everything"]["uncovered"] == []
    assert findings.tests > 30


def test_what_is_pending_as_a_block_ends_is_counted() -> None:
    def build(reads: bool) -> nn.Module:
        layers = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
        if reads:
            layers[0].weight.sum()
        return layers

    assert examined(lambda: build(reads=False)).pending == 64 * 64 + 3 * 64
    assert examined(lambda: build(reads=True)).pending == 3 * 64


def test_progress_is_told_check_by_check() -> None:
    told: list[tuple[str, bool]] = []
    Examination(lambda: Net, lambda check, findings: told.append((check, findings.built))).run()
    assert told == [("plain", False), ("identity", True), ("typical", True), ("everything", True)]


def fail(*_: object) -> Any:
    raise ImportError("needs natten")


@pytest.mark.parametrize("find", [lambda: fail, fail], ids=["the model", "its name"])
def test_what_cannot_be_built_plainly_is_theirs_and_is_tried_no_further(find: Callable[[], Any]) -> None:
    findings = Examination(find).run()
    assert found(findings) == [("plain", "error", True)]
    assert "needs natten" in findings.problems[0].text
    assert not findings.built


def test_what_can_be_built_but_twice_is_theirs() -> None:
    models = iter([Net(), Net()])
    assert found(examined(models.__next__)) == [(check, "error", True) for check in IN_BLOCKS]


def masked_with(values: Iterator[float]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = Net()
        model.mask.data.fill_(next(values))
        return model

    return build


def test_memory_that_a_constructor_leaves_as_it_was_is_noted() -> None:
    assert examined(masked_with(itertools.repeat(torch.nan))).unfilled == ["mask"]


def test_what_differs_between_two_plain_constructions_is_theirs() -> None:
    problems = found(examined(masked_with(itertools.count())))
    assert problems == [("identity", "tensors", True), ("typical", "tensors", True)]


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Spoiled:
    """Examines where every block, or those with one config, do something more to the models in them."""

    def examine(sabotage: Sabotage, only: object = None, of: type[nn.Module] = Net) -> Findings:
        models: list[nn.Module] = []

        @contextmanager
        def broken(cfg: object, **options: Any) -> Iterator[Run]:
            with autoinit(cfg, **options) as run:
                yield run
            if only is None or cfg is only:
                sabotage(models[-1])

        monkeypatch.setattr(examination, "autoinit", broken)
        return examined(lambda: models.append(of()) or models[-1])

    return examine


def lay_out_otherwise(model: nn.Module) -> None:
    # Of a parameter that rules fill, so that its values are expected to change.
    weight = model.conv.weight
    weight.data = weight.data.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.mark.parametrize(
    ("sabotage", "kind"),
    [
        (lambda model: torch.rand(1), "states"),
        (lambda model: random.random(), "states"),
        (lambda model: np.random.rand(), "states"),
        (lambda model: model.angles[0].zero_(), "tensors"),
        (lambda model: model.mask.data[3].fill_(-0.0), "tensors"),
        (lambda model: setattr(model.layers[1], "seen", True), "attributes"),
        (lambda model: model.layers[1].register_forward_pre_hook(lambda module, args: None), "attributes"),
        (lambda model: setattr(model.head, "weight", nn.Parameter(model.head.weight.detach().clone())), "ties"),
        (lambda model: model.mask.requires_grad_(False), "layouts"),
        (lay_out_otherwise, "layouts"),
        (lambda model: vars(model.layers[0]).update(training=Normal()), "leftovers"),
    ],
)
def test_a_trace_that_a_block_leaves_is_ours(spoiled: Spoiled, sabotage: Sabotage, kind: str) -> None:
    problems = found(spoiled(sabotage))
    checks = IN_BLOCKS[:2] if kind in ("states", "tensors") else IN_BLOCKS
    assert {(check, kind, False) for check in checks} <= set(problems)
    assert not any(theirs for _, _, theirs in problems)


def test_a_class_that_a_block_leaves_changed_is_ours(monkeypatch: pytest.MonkeyPatch, spoiled: Spoiled) -> None:
    def change(model: nn.Module) -> None:
        original = nn.Linear.reset_parameters
        monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: original(self))

    findings = spoiled(change)
    assert findings.problems[0].text.startswith("classes (1): Linear.reset_parameters: ")
    assert found(findings) == [(check, "classes", False) for check in IN_BLOCKS]


def of_another_shape(model: nn.Module) -> None:
    # The mean and the variance of a normal distribution, but uniform.
    std = model.conv.weight.std().item()
    with torch.random.fork_rng(devices=[]):
        nn.init.uniform_(model.conv.weight, -(3**0.5) * std, 3**0.5 * std)


def off_by_one_bit(model: nn.Module) -> None:
    bias = model.conv.bias.data
    bias[5] = torch.nextafter(bias[5], torch.tensor(1.0))


WRONG_VALUES: dict[str, Sabotage] = {
    "too wide": lambda model: model.conv.weight.data.mul_(1.1),
    "shifted": lambda model: model.conv.weight.data.add_(model.conv.weight.std() / 8),
    "of another shape": of_another_shape,
    "half filled": lambda model: model.conv.weight.data[20:].fill_(torch.nan),
    "off by one bit": off_by_one_bit,
}


@pytest.mark.parametrize("sabotage", WRONG_VALUES.values(), ids=WRONG_VALUES)
@pytest.mark.parametrize("check", ["typical", "everything"])
def test_values_that_are_not_what_the_report_says_are_found(spoiled: Spoiled, sabotage: Sabotage, check: str) -> None:
    only = dict(typical=examination.TYPICAL, everything=examination.EVERYTHING)[check]
    assert found(spoiled(sabotage, only)) == [(check, "distribution", False)]


def narrowed(first: dict[str, Any], *others: object) -> list[object]:
    return [first | dict(name="layers.**"), *others]


@pytest.mark.parametrize(
    ("check", "change", "text"),
    [
        ("typical", narrowed, "missed (2): conv.weight:"),
        ("everything", narrowed, "missed (6): pos_embed:"),
        ("typical", lambda *rules: [*rules, dict(type="Normal", params="mask")], "unasked (1): mask: "),
        # No module of that class: a warning under the policy of the config for everything.
        ("everything", lambda *rules: [*rules, dict(type="Normal", layer="Conv3d")], "error: AutoInitWarning: "),
    ],
)
def test_rules_that_reach_too_little_or_too_much(
    monkeypatch: pytest.MonkeyPatch, check: str, change: Callable[..., object], text: str
) -> None:
    monkeypatch.setattr(examination, check.upper(), change(*getattr(examination, check.upper())))
    [problem] = examined(Net).problems
    assert problem.check == check
    assert problem.text.startswith(text)


def test_an_error_in_a_block_is_ours_and_the_other_checks_are_made(spoiled: Spoiled) -> None:
    findings = spoiled(fail, only=examination.TYPICAL)
    assert found(findings) == [("typical", "error", False)]
    assert "everything" in findings.coverage


@pytest.mark.parametrize("what", ["a default", "a hook on all modules", "a mode"])
def test_a_switch_that_a_block_leaves_is_ours(spoiled: Spoiled, what: str) -> None:
    with ExitStack() as undo:

        def switch(model: nn.Module) -> None:
            if what == "a default":
                undo.callback(torch.set_default_dtype, torch.float32)
                torch.set_default_dtype(torch.float64)
            elif what == "a mode":
                undo.enter_context(BaseTorchFunctionMode())
            else:
                undo.callback(register_module_forward_pre_hook(lambda module, args: None).remove)

        findings = spoiled(switch)
    assert ("identity", "switches", False) in found(findings)


def test_a_class_that_each_construction_changes_is_theirs() -> None:
    class Counted(Net):
        built = 0

        def __init__(self) -> None:
            super().__init__()
            Counted.built += 1

    assert found(examined(Counted)) == [(check, "classes", True) for check in IN_BLOCKS]


def test_a_parameter_that_is_kept_for_a_reason_is_not_filled_all_the_same() -> None:
    def build() -> nn.Module:
        part = nn.Linear(40, 40)
        part(torch.ones(1, 40))
        return nn.Sequential(part)

    problems = examined(build).problems
    missed = [(p.check, p.theirs) for p in problems if p.text.startswith("missed")]
    assert missed == [("typical", False), ("everything", False)]
    assert "final since its first call" in problems[0].text


def test_a_report_too_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = examination.models_of
    calls = iter(range(100))
    monkeypatch.setattr(examination, "models_of", lambda run: reports(run) * (2 if next(calls) == 0 else 1))
    [problem] = examined(Net).problems
    assert problem.text == "reports (1): of the block: ['Net', 'Net'] became ['Net']"


class Computed(nn.Module):
    """Weights that forward computes, each in its own way, beside one that it stores."""

    def __init__(self) -> None:
        super().__init__()
        self.new = parametrizations.weight_norm(nn.Conv1d(40, 40, 3))
        self.divided = parametrizations.spectral_norm(nn.Linear(40, 40))
        self.old = nn.utils.weight_norm(nn.Linear(40, 40))
        self.old_divided = nn.utils.spectral_norm(nn.Linear(40, 40))
        self.head = nn.Linear(40, 50)


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning")
def test_a_weight_that_is_computed_is_examined_as_forward_uses_it() -> None:
    findings = examined(Computed)
    assert findings.problems == []
    assert findings.coverage["typical"]["uncovered"] == []
    assert findings.coverage["typical"]["filled"] == 10


def test_a_computed_weight_that_is_not_what_the_report_says_is_found(spoiled: Spoiled) -> None:
    findings = spoiled(
        lambda model: model.new.parametrizations.weight.original0.data.mul_(1.1), only=examination.TYPICAL, of=Computed
    )
    assert found(findings) == [("typical", "distribution", False)]
    assert "new.weight" in findings.problems[0].text
