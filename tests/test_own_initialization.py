"""A module's own initialization: which methods count as one, when they run, and who wins (P3)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoinit import Report, autoinit, initialize, plan

SEVEN = dict(type="Constant", val=7, layer="Linear")


class Base(nn.Module):
    """Two layers; a subclass says how it initializes the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.register_buffer("table", torch.zeros(2))
        self.finish()

    def finish(self) -> None: ...

    def fill(self, value: float) -> None:
        with torch.no_grad():
            self.first.weight.fill_(value)


class Mmengine(Base):
    def init_weights(self) -> None:
        self.fill(1)


class MmcvOld(Base):
    def init_weights(self, pretrained: str | None = None) -> None:
        assert pretrained is None
        self.fill(1)


class Timm(Base):
    """`init_weights(mode)`, which the constructor has run."""

    def finish(self) -> None:
        self.init_weights("jax")

    def init_weights(self, mode: str = "") -> None:
        assert mode == "jax"
        self.fill(1)


class TimmSkipped(Base):
    """The same with `weight_init="skip"`: it is left to whoever builds the model."""

    def init_weights(self, mode: str = "") -> None:
        self.fill(1)


class Transformers(Base):
    """`_init_weights(module)`, which `post_init` applies to every module."""

    def finish(self) -> None:
        self.post_init()

    def post_init(self) -> None:
        self.init_weights()

    def init_weights(self) -> None:
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            module.weight.data.fill_(1)


class NanoGPT(Base):
    """`_init_weights(module)`, applied by the constructor itself."""

    def finish(self) -> None:
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)


class OnlyPerModule(Base):
    """`_init_weights(module)` that nobody applies: a method of a framework that is not there."""

    def _init_weights(self, module: nn.Module) -> None:
        raise AssertionError


class Titan(Base):
    def init_weights(self, buffer_device: torch.device) -> None:
        assert buffer_device == torch.device("cpu")
        self.table = torch.full((2,), 3.0, device=buffer_device)
        self.fill(1)


class TitanWithDefault(Base):
    def init_weights(self, buffer_device: torch.device | None = None) -> None:
        self.fill(1)


class TitanBlock(Base):
    """Inside torchtitan's models, where the module above passes what this needs."""

    def init_weights(self, init_std: float, layer: int) -> None:
        raise AssertionError


class Resets(Base):
    """`reset_parameters` is what constructors run: it never counts as a module's own."""

    def finish(self) -> None:
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.fill(1)


class NeverReset(Base):
    def reset_parameters(self) -> None:
        raise AssertionError


def initialized(cls: type[Base], how: str) -> tuple[Base, Report]:
    """A model that was built in a block, or that existed already."""
    if how == "existing":
        model = cls()
        return model, initialize(model, SEVEN)
    with autoinit(SEVEN) as run:
        model = cls()
    return model, run.report


OWN = [Mmengine, MmcvOld, TimmSkipped, Titan, TitanWithDefault]
LOSES = [Timm, Transformers, NanoGPT, OnlyPerModule, TitanBlock, Resets, NeverReset]


@pytest.mark.parametrize("how", ["block", "existing"])
@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
def test_what_counts_as_a_modules_own_runs_and_wins(cls: type[Base], how: str) -> None:
    model, report = initialized(cls, how)
    assert model.first.weight.eq(1).all() and model.second.weight.eq(7).all()
    outcomes = {fqn: entry.outcome for fqn, entry in report.items()}
    assert outcomes.pop("first.weight") == "own init_weights"
    assert set(outcomes.values()) == {"filled"}
    if cls is Titan:
        assert model.table.eq(3).all()


@pytest.mark.parametrize("how", ["block", "existing"])
@pytest.mark.parametrize("cls", LOSES, ids=lambda cls: cls.__name__)
def test_what_does_not_count_loses(cls: type[Base], how: str) -> None:
    model, report = initialized(cls, how)
    assert model.first.weight.eq(7).all()
    assert set(report.outcomes) == {"filled"}


@pytest.mark.parametrize("cls", [*OWN, *LOSES], ids=lambda cls: cls.__name__)
def test_the_plan_says_what_may_be_written(cls: type[Base]) -> None:
    decided = plan(cls(), dict(type="Constant", val=7, name="second"))
    expected = "" if cls in OWN else None
    assert {entry.own for entry in decided.values()} == {expected}
    assert decided.uncovered == (() if cls in OWN else ("first.weight", "first.bias"))


def test_neighbours_in_one_storage_are_told_apart() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            memory = torch.zeros(8)
            self.one, self.two = nn.Parameter(memory[:4]), nn.Parameter(memory[4:])

        def init_weights(self) -> None:
            self.one.data[1:3] = 1

    report = initialize(Flat(), dict(type="Constant", params=["one", "two"], val=7))
    assert {fqn: entry.outcome for fqn, entry in report.items()} == {"one": "own init_weights", "two": "filled"}


@pytest.mark.parametrize(
    "write",
    [
        lambda param: param.data.fill_(1),
        lambda param: param.detach().fill_(1),
        lambda param: param.data[0].fill_(1),
        lambda param: nn.init.ones_(param),
        lambda param: param.data.copy_(torch.ones(2, 2)),
        lambda param: torch.no_grad()(param.mul_)(1),
        lambda param: param.data.view(-1)[3:].zero_(),
        lambda param: torch.ones(2, 2, out=param.data),
        lambda param: torch._foreach_zero_([param.data]),
    ],
)
def test_whatever_way_it_writes_is_seen(write) -> None:  # type: ignore[no-untyped-def]
    class Writes(Base):
        def init_weights(self) -> None:
            write(self.first.weight)

    report = initialize(Writes(), SEVEN)
    assert report["first.weight"].outcome == "own init_weights"
    assert report["second.weight"].outcome == "filled"


def test_writing_what_was_there_is_writing() -> None:
    class Same(Base):
        def init_weights(self) -> None:
            self.first.weight.data.fill_(7)

    assert initialize(Same(), SEVEN)["first.weight"].outcome == "own init_weights"


def test_reading_is_not_writing() -> None:
    class Reads(Base):
        def init_weights(self) -> None:
            self.first.weight.data.clone().fill_(3)
            self.first.weight.sum().item()

    assert set(initialize(Reads(), SEVEN).outcomes) == {"filled"}


def test_a_parametrized_weight_is_credited_by_what_is_stored() -> None:
    class Normed(Base):
        def finish(self) -> None:
            nn.utils.parametrizations.weight_norm(self.first)

        def init_weights(self) -> None:
            self.first.parametrizations.weight.original0.data.fill_(2)

    report = initialize(Normed(), SEVEN)
    assert report["first.weight"].outcome == "own init_weights"


def test_a_module_that_is_there_twice_initializes_itself_once() -> None:
    class Counting(Base):
        calls = 0

        def init_weights(self) -> None:
            self.calls += 1

    shared = Counting()
    initialize(nn.Sequential(shared, nn.Linear(2, 2), shared), SEVEN)
    assert shared.calls == 1


def test_one_above_is_responsible_for_what_is_below() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Mmengine()

        def init_weights(self) -> None:
            self.inner.second.weight.data.fill_(3)

    with autoinit(SEVEN) as run:
        model = Outer()
    # As in the original: whoever overrides init_weights decides whether those of its children are called.
    assert model.inner.first.weight.eq(7).all() and model.inner.second.weight.eq(3).all()
    assert run.report["inner.second.weight"].outcome == "own init_weights"


class Unprepared(Transformers):
    """A part of a larger model of transformers, whose constructor leaves `post_init` to the model around it."""

    def finish(self) -> None: ...

    def init_weights(self) -> None:
        raise AssertionError("post_init() has to run first")


@pytest.mark.parametrize("how", ["block", "existing"])
def test_only_post_init_calls_init_weights_where_there_is_one(how: str) -> None:
    model, report = initialized(Unprepared, how)
    assert model.first.weight.eq(7).all()
    assert set(report.outcomes) == {"filled"}


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
def test_a_block_without_rules_leaves_own_initialization_to_whoever_builds_the_model(cls: type[Base]) -> None:
    torch.manual_seed(0)
    plain = cls()
    torch.manual_seed(0)
    with autoinit([]) as run:
        model = cls()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert set(run.report.outcomes) == {"kept"}


def test_without_rules_a_models_own_config_is_carried_out() -> None:
    class Configured(Base):
        init_cfg = SEVEN

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.own = Configured(), Mmengine()

    with autoinit([]):
        model = Around()
    assert model.part.first.weight.eq(7).all()
    assert not model.own.first.weight.eq(1).all()


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
def test_asked_for_without_rules_own_initialization_runs(cls: type[Base]) -> None:
    model = cls()
    assert initialize(model)["first.weight"].outcome == "own init_weights"
    assert model.first.weight.eq(1).all()


def test_a_block_without_rules_inside_one_with_rules_is_not_the_identity() -> None:
    with autoinit(SEVEN), autoinit([]):
        model = Mmengine()
    assert model.first.weight.eq(1).all() and model.second.weight.eq(7).all()
