"""A module's own initialization: which methods count as one, when they run, and who wins (P3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, ConfigError, CoverageError, Report, autoinit, initialize, plan
from autoinit.compat.mmengine import BaseModule

SEVEN = dict(type="Constant", val=7, layer="Linear")
warns_of_own = pytest.mark.filterwarnings(r"ignore:.*init_weights\(\) runs after the rules")


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


class TitanModule(Base):
    """torchtitan's protocol: any keywords, of which each module takes what it needs."""

    def init_weights(self, **kwargs: object) -> None:
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


class Static(Base):
    @staticmethod
    def init_weights(module: nn.Module | None = None) -> None:
        raise AssertionError


class OfClass(Base):
    @classmethod
    def init_weights(cls) -> None:
        raise AssertionError


class Option(Base):
    """An option of the constructor of that name hides the method."""

    def finish(self) -> None:
        self.init_weights = "original"  # type: ignore[assignment]

    def init_weights(self) -> None:
        raise AssertionError


class Callback(Base):
    """A function for `apply`, set on the object."""

    def finish(self) -> None:
        self.init_weights = lambda module: None


class Attribute(Base):
    init_weights = dict(std=0.02)


def initialized(cls: type[Base], how: str) -> tuple[Base, Report]:
    """A model that was built in a block, or that existed already and is asked to initialize itself."""
    if how == "existing":
        model = cls()
        return model, initialize(model, SEVEN, own_init="run" if cls in OWN else "auto")
    with autoinit(SEVEN) as run:
        model = cls()
    return model, run.report


OWN = [Mmengine, MmcvOld, TimmSkipped, Titan, TitanWithDefault, TitanModule]
HELPERS = [Transformers, NanoGPT, OnlyPerModule, TitanBlock, Static, OfClass, Option, Callback, Attribute]
LOSES = [Timm, *HELPERS, Resets, NeverReset]


@warns_of_own
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
def test_an_existing_model_that_is_not_of_openmmlab_is_left_to_the_rules(cls: type[Base]) -> None:
    model = cls()
    assert set(initialize(model, SEVEN).outcomes) == {"filled"}
    assert model.first.weight.eq(7).all()


@pytest.mark.parametrize("cls", [*OWN, *LOSES], ids=lambda cls: cls.__name__)
def test_skip_leaves_a_block_to_the_rules(cls: type[Base]) -> None:
    with autoinit(SEVEN, own_init="skip") as run:
        model = cls()
    assert model.first.weight.eq(7).all() and set(run.report.outcomes) == {"filled"}


@pytest.mark.parametrize("cls", HELPERS, ids=lambda cls: cls.__name__)
def test_a_helper_is_never_called_by_us(cls: type[Base]) -> None:
    assert set(initialize(cls(), SEVEN, own_init="run").outcomes) == {"filled"}
    with autoinit(SEVEN, own_init="run") as run:
        model = cls()
    assert model.first.weight.eq(7).all()
    assert set(run.report.outcomes) == {"filled"}


def test_run_calls_it_again_in_a_block() -> None:
    class Eager(Mmengine):
        def finish(self) -> None:
            self.init_weights()

    with autoinit(SEVEN, own_init="run"):
        model = Eager()
    assert model.first.weight.eq(1).all() and model.second.weight.eq(7).all()


def test_run_needs_no_rules() -> None:
    with autoinit([], own_init="run") as run:
        model = Mmengine()
    assert model.first.weight.eq(1).all() and run.report["first.weight"].outcome == "own init_weights"


class Detector(BaseModule):
    """A model of OpenMMLab, with a part that does not derive from `BaseModule`."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = Mmengine()
        self.head = nn.Linear(2, 2)


@warns_of_own
def test_in_an_existing_model_of_openmmlab_the_parts_initialize_themselves() -> None:
    model = nn.Sequential(Detector(), Mmengine())
    report = initialize(model, SEVEN)
    assert model[0].neck.first.weight.eq(1).all() and model[1].first.weight.eq(7).all()
    assert report["0.neck.first.weight"].outcome == "own init_weights"
    detector = Detector()
    assert initialize(detector, SEVEN, own_init="skip").outcomes == {"filled": 6}
    assert detector.head.weight.eq(7).all()


def test_a_call_that_was_not_taken_is_no_call() -> None:
    """The record says what ran; the constructor's code would say more."""

    class Either(Base):
        def __init__(self, pretrained: bool) -> None:
            self.pretrained = pretrained
            super().__init__()

        def finish(self) -> None:
            if not self.pretrained:
                self.init_weights()

        def init_weights(self) -> None:
            self.fill(1)

    with autoinit(SEVEN):
        assert Either(pretrained=False) is not None
    with pytest.warns(AutoInitWarning, match="runs after the rules"), autoinit(SEVEN):
        model = Either(pretrained=True)
    assert model.first.weight.eq(1).all()


def test_the_plan_says_that_it_runs() -> None:
    decided = plan(Mmengine(), dict(type="Constant", val=7, name="second"), own_init="run")
    assert decided["first.weight"].gets == "then Mmengine.init_weights()"
    assert decided["second.weight"].gets == "Constant(value=7), then Mmengine.init_weights()"
    assert "then Mmengine.init_weights()" in str(decided)
    part = plan(nn.Sequential(Mmengine()), SEVEN, own_init="run")["0.first.weight"]
    assert part.own is not None and (part.own.fqn, str(part.own)) == ("0", "Mmengine.init_weights()")
    report = decided.apply(Mmengine(), seed=0)
    assert [report[name].gets for name in ("first.weight", "second.weight")] == ["by its module", "Constant(value=7)"]


def test_what_is_loaded_is_loaded_after_it(tmp_path: Path) -> None:
    torch.save(Mmengine().state_dict(), tmp_path / "x.pth")
    decided = plan(Mmengine(), dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth")), own_init="run")
    assert "init_weights" not in decided["first.weight"].gets


@pytest.mark.parametrize("cls", [*OWN, *LOSES], ids=lambda cls: cls.__name__)
def test_it_does_not_count_as_coverage(cls: type[Base]) -> None:
    second = dict(type="Constant", val=7, name="second")
    assert plan(cls(), second, own_init="run").uncovered == ("first.weight", "first.bias")
    with pytest.raises(CoverageError, match="no rule covers 2 parameters: first.weight, first.bias"):
        initialize(cls(), second, own_init="run", require_coverage=True)
    with pytest.raises(CoverageError), autoinit(second, require_coverage=True):
        model = cls()  # noqa: F841


def test_one_warning_per_class_says_that_it_may_overwrite_a_rule() -> None:
    with pytest.warns(AutoInitWarning) as caught, autoinit(SEVEN):
        model = nn.Sequential(Mmengine(), Mmengine(), MmcvOld())
    assert model[2].first.weight.eq(1).all()
    texts = [str(each.message) for each in caught]
    assert [text.partition(" ")[0] for text in texts] == ["Mmengine.init_weights()", "MmcvOld.init_weights()"]
    assert "may overwrite what init_cfg gives to 0.first.weight, 0.first.bias, 0.second.weight and 5 more." in texts[0]
    assert 'own_init="skip"' in texts[0]


def test_no_warning_where_a_rule_selects_other_modules() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.own = nn.LayerNorm(2), Mmengine()

    with autoinit(dict(type="Constant", val=7, layer="LayerNorm")):
        model = Around()
    assert model.own.first.weight.eq(1).all()


@pytest.mark.parametrize("value", ["always", None, True])
def test_an_unknown_choice(value: Any) -> None:
    for call in (autoinit, lambda *args, **kwargs: plan(nn.Linear(1, 1), *args, **kwargs)):
        with pytest.raises(ConfigError, match="own_init=.* is unknown. Known: auto, run, skip"):
            call(SEVEN, own_init=value)


FOREIGN = [
    *({}, {"kernel": "xavier_uniform"}, [{"kernel": 1}], [1, 2], "original", 3.0, object, torch.zeros(2)),
    *({"type": "xavier_uniform", "gain": 1.0}, {"type": 3}, [{"type": None}]),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=repr)
def test_an_init_cfg_of_another_library_is_left_alone(foreign: object) -> None:
    class Cell(Base):
        def finish(self) -> None:
            self.init_cfg = foreign

    with autoinit(SEVEN):
        model = Cell()
    assert model.first.weight.eq(7).all() and model.init_cfg is foreign
    assert set(initialize(Cell(), SEVEN).outcomes) == {"filled"}


@pytest.mark.parametrize("wrap", [dict, lambda cfg: [dict(cfg)], lambda cfg: (cfg,)])
def test_a_typo_in_a_type_of_an_own_config_is_an_error(wrap: Callable[[dict[str, Any]], object]) -> None:
    class Typo(Base):
        init_cfg = wrap(dict(type="Kaimming", layer="Linear"))

    with pytest.raises(ConfigError, match="Did you mean 'Kaiming'"):
        initialize(Typo(), SEVEN)


def test_a_rule_without_type_beside_another_rule_is_an_error() -> None:
    class Forgotten(Base):
        init_cfg = [SEVEN, dict(layer="Conv2d", std=1)]

    with pytest.raises(ConfigError, match=r"Forgotten.init_cfg\[1\]: no 'type'"):
        initialize(Forgotten(), SEVEN)


def test_a_config_of_a_base_module_is_always_ours() -> None:
    with pytest.raises(ConfigError, match=r"Detector.init_cfg: no 'type' in"):
        model = Detector()
        model.init_cfg = {"kernel": "xavier_uniform"}
        initialize(model, SEVEN)


class Unwritten(nn.Module):
    """Its parameters are left to `init_weights`, which forgets the second."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(torch.empty(2)), nn.Parameter(torch.empty(2))

    def init_weights(self) -> None:
        self.one.data.fill_(1)


def test_memory_that_nothing_has_written_is_there_for_the_modules_own() -> None:
    with pytest.warns(AutoInitWarning, match=r"^1\.two: nothing was written to this memory") as caught:
        with autoinit(SEVEN) as run:
            model = nn.Sequential(nn.Linear(1, 1), Unwritten())
    assert len(caught) == 1 and model[1].one.eq(1).all()
    outcomes = [entry.outcome for entry in run.report.values()]
    assert outcomes == ["filled", "filled", "own init_weights", "never written"]


def test_memory_that_nothing_has_written_is_not_covered() -> None:
    with pytest.raises(CoverageError, match=r"no rule covers 2 parameters: 1\.one, 1\.two"):
        with autoinit(SEVEN, own_init="skip", require_coverage=True) as run:
            model = nn.Sequential(nn.Linear(1, 1), Unwritten())
    assert not run.reports and len(model) == 2


def test_neighbours_in_one_storage_are_told_apart() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            memory = torch.zeros(8)
            self.one, self.two = nn.Parameter(memory[:4]), nn.Parameter(memory[4:])

        def init_weights(self) -> None:
            self.one.data[1:3] = 1

    report = initialize(Flat(), dict(type="Constant", params=["one", "two"], val=7), own_init="run")
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

    report = initialize(Writes(), SEVEN, own_init="run")
    assert report["first.weight"].outcome == "own init_weights"
    assert report["second.weight"].outcome == "filled"


def test_writing_what_was_there_is_writing() -> None:
    class Same(Base):
        def init_weights(self) -> None:
            self.first.weight.data.fill_(7)

    assert initialize(Same(), SEVEN, own_init="run")["first.weight"].outcome == "own init_weights"


def test_reading_is_not_writing() -> None:
    class Reads(Base):
        def init_weights(self) -> None:
            self.first.weight.data.clone().fill_(3)
            self.first.weight.sum().item()

    assert set(initialize(Reads(), SEVEN, own_init="run").outcomes) == {"filled"}


def test_a_parametrized_weight_is_credited_by_what_is_stored() -> None:
    class Normed(Base):
        def finish(self) -> None:
            nn.utils.parametrizations.weight_norm(self.first)

        def init_weights(self) -> None:
            self.first.parametrizations.weight.original0.data.fill_(2)

    report = initialize(Normed(), SEVEN, own_init="run")
    assert report["first.weight"].outcome == "own init_weights"


def test_a_module_that_is_there_twice_initializes_itself_once() -> None:
    class Counting(Base):
        calls = 0

        def init_weights(self) -> None:
            self.calls += 1

    shared = Counting()
    initialize(nn.Sequential(shared, nn.Linear(2, 2), shared), SEVEN, own_init="run")
    assert shared.calls == 1


def test_one_above_is_responsible_for_what_is_below() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Mmengine()

        def init_weights(self) -> None:
            self.inner.second.weight.data.fill_(3)

    with autoinit(SEVEN, own_init="run") as run:
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
    assert initialize(model, own_init="run")["first.weight"].outcome == "own init_weights"
    assert model.first.weight.eq(1).all()


@warns_of_own
def test_a_block_without_rules_inside_one_with_rules_is_not_the_identity() -> None:
    with autoinit(SEVEN), autoinit([]):
        model = Mmengine()
    assert model.first.weight.eq(1).all() and model.second.weight.eq(7).all()
