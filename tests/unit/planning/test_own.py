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

    def fill(self, value: float = 1) -> None:
        with torch.no_grad():
            self.first.weight.fill_(value)

    def _init_weights(self, module: nn.Module) -> None:
        """The function of transformers for one module."""
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)


def made(name: str, **members: Any) -> type[Base]:
    """A subclass; its constructor ends with `finish`."""
    return type(name, (Base,), members)


def never(self: Base) -> None:
    raise AssertionError("not to be called")


def titan(self: Base, buffer_device: torch.device) -> None:
    assert buffer_device == torch.device("cpu")
    self.table = torch.full((2,), 3.0, device=buffer_device)
    self.fill()


Mmengine = made("Mmengine", init_weights=lambda self: self.fill())
MmcvOld = made("MmcvOld", init_weights=lambda self, pretrained=None: self.fill(1 if pretrained is None else 2))
Titan = made("Titan", init_weights=titan)
OWN = [
    *(Mmengine, MmcvOld, Titan),
    made("TimmSkipped", init_weights=lambda self, mode="": self.fill()),
    made("TitanWithDefault", init_weights=lambda self, buffer_device=None: self.fill()),
    made("TitanModule", init_weights=lambda self, **kwargs: self.fill()),
]

POST_INIT: dict[str, Any] = dict(post_init=lambda self: self.init_weights())
HELPERS = [
    made(
        "Transformers",
        init_weights=lambda self: self.apply(self._init_weights),
        finish=lambda self: self.post_init(),
        **POST_INIT,
    ),
    made("TransformersPart", init_weights=never, **POST_INIT),  # The model around it calls post_init().
    made("NanoGPT", finish=lambda self: self.apply(self._init_weights)),
    made("TitanBlock", init_weights=lambda self, init_std, layer: never(self)),
    made("Static", init_weights=staticmethod(lambda module=None: never(module))),
    made("OfClass", init_weights=classmethod(never)),
    made("Option", init_weights=never, finish=lambda self: setattr(self, "init_weights", "original")),
    made("Callback", finish=lambda self: setattr(self, "init_weights", lambda module: None)),
    made("Attribute", init_weights=dict(std=0.02)),
    made("OnlyPerModule", _init_weights=lambda self, module: never(self)),
]
LOSES = [
    *HELPERS,
    made("Timm", init_weights=lambda self, mode="": self.fill(), finish=lambda self: self.init_weights("jax")),
    made("Resets", reset_parameters=lambda self: self.fill(), finish=lambda self: self.reset_parameters()),
    made("NeverReset", reset_parameters=never),
]

own = pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
loses = pytest.mark.parametrize("cls", LOSES, ids=lambda cls: cls.__name__)
every = pytest.mark.parametrize("cls", [*OWN, *LOSES], ids=lambda cls: cls.__name__)


def in_a_block(cls: Callable[[], Base], cfg: object = SEVEN, **options: Any) -> tuple[Base, Report]:
    with autoinit(cfg, **options) as run:
        model = cls()
    return model, run.report


def existing(cls: Callable[[], Base], cfg: object = SEVEN, **options: Any) -> tuple[Base, Report]:
    model = cls()
    return model, initialize(model, cfg, **options)  # type: ignore[arg-type]


def is_left_to_the_rules(model: Base, report: Report) -> bool:
    return bool(model.first.weight.eq(7).all()) and set(report.outcomes) == {"filled"}


@warns_of_own
@own
def test_a_modules_own_method_runs_and_wins(cls: type[Base]) -> None:
    for model, report in (in_a_block(cls), existing(cls, own_init="run"), in_a_block(cls, own_init="run")):
        assert model.first.weight.eq(1).all() and model.second.weight.eq(7).all()
        outcomes = {fqn: entry.outcome for fqn, entry in report.items()}
        assert outcomes.pop("first.weight") == "own init_weights"
        assert set(outcomes.values()) == {"filled"}
        assert cls is not Titan or model.table.eq(3).all()


@loses
def test_what_does_not_count_or_has_run_loses(cls: type[Base]) -> None:
    assert is_left_to_the_rules(*in_a_block(cls))
    if cls in HELPERS:
        assert is_left_to_the_rules(*in_a_block(cls, own_init="run"))
        assert is_left_to_the_rules(*existing(cls, own_init="run"))


@every
def test_skip_and_an_existing_model_that_is_not_of_openmmlab_leave_it_to_the_rules(cls: type[Base]) -> None:
    assert is_left_to_the_rules(*in_a_block(cls, own_init="skip"))
    assert is_left_to_the_rules(*existing(cls))


def test_run_calls_it_again_in_a_block() -> None:
    eager = made("Eager", init_weights=lambda self: self.fill(), finish=lambda self: self.init_weights())
    for own_init, value in (("auto", 7), ("run", 1)):
        model, _ = in_a_block(eager, own_init=own_init)
        assert model.first.weight.eq(value).all() and model.second.weight.eq(7).all()


@own
def test_run_needs_no_rules_and_without_it_a_block_without_rules_leaves_the_model_as_it_is(cls: type[Base]) -> None:
    for model, report in (in_a_block(cls, [], own_init="run"), existing(cls, None, own_init="run")):
        assert model.first.weight.eq(1).all() and report["first.weight"].outcome == "own init_weights"
    torch.manual_seed(0)
    plain = cls()
    torch.manual_seed(0)
    model, report = in_a_block(cls, [])
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert set(report.outcomes) == {"kept"}


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


def test_the_record_says_whether_the_constructor_called_it() -> None:
    class Either(Base):
        def __init__(self, pretrained: bool) -> None:
            self.pretrained = pretrained
            super().__init__()

        def finish(self) -> None:
            if not self.pretrained:
                self.init_weights()

        def init_weights(self) -> None:
            self.fill()

    assert is_left_to_the_rules(*in_a_block(lambda: Either(pretrained=False)))
    with pytest.warns(AutoInitWarning, match="runs after the rules"):
        model, _ = in_a_block(lambda: Either(pretrained=True))
    assert model.first.weight.eq(1).all()


def test_the_plan_says_that_it_runs(tmp_path: Path) -> None:
    decided = plan(Mmengine(), dict(type="Constant", val=7, name="second"), own_init="run")
    assert decided["first.weight"].gets == "then Mmengine.init_weights()"
    assert decided["second.weight"].gets == "Constant(value=7), then Mmengine.init_weights()"
    assert "then Mmengine.init_weights()" in str(decided)
    part = plan(nn.Sequential(Mmengine()), SEVEN, own_init="run")["0.first.weight"]
    assert part.own is not None and (part.own.fqn, str(part.own)) == ("0", "Mmengine.init_weights()")
    report = decided.apply(Mmengine(), seed=0)
    assert [report[name].gets for name in ("first.weight", "second.weight")] == ["by its module", "Constant(value=7)"]
    torch.save(Mmengine().state_dict(), tmp_path / "x.pth")  # It is loaded after init_weights.
    decided = plan(Mmengine(), dict(type="Pretrained", checkpoint=str(tmp_path / "x.pth")), own_init="run")
    assert "init_weights" not in decided["first.weight"].gets


@every
def test_it_does_not_count_as_coverage(cls: type[Base]) -> None:
    second = dict(type="Constant", val=7, name="second")
    assert plan(cls(), second, own_init="run").uncovered == ("first.weight", "first.bias")
    with pytest.raises(CoverageError, match="no rule covers 2 parameters: first.weight, first.bias"):
        existing(cls, second, own_init="run", require_coverage=True)
    with pytest.raises(CoverageError):
        in_a_block(cls, second, require_coverage=True)


def test_one_warning_per_class_says_that_it_may_overwrite_a_rule() -> None:
    with pytest.warns(AutoInitWarning) as caught, autoinit(SEVEN):
        model = nn.Sequential(Mmengine(), Mmengine(), MmcvOld())
    assert model[2].first.weight.eq(1).all()
    texts = [str(each.message) for each in caught]
    assert [text.partition(" ")[0] for text in texts] == ["Mmengine.init_weights()", "MmcvOld.init_weights()"]
    assert "may overwrite what init_cfg gives to 0.first.weight, 0.first.bias, 0.second.weight and 5 more." in texts[0]
    assert 'own_init="skip"' in texts[0]
    with autoinit(dict(type="Constant", val=7, layer="LayerNorm")):  # No warning: the rule selects other modules.
        model = nn.Sequential(nn.LayerNorm(2), Mmengine())
    assert model[1].first.weight.eq(1).all()


@pytest.mark.parametrize("value", ["always", None, True])
def test_an_unknown_choice(value: Any) -> None:
    for call in (autoinit, lambda *args, **kwargs: plan(nn.Linear(1, 1), *args, **kwargs)):
        with pytest.raises(ConfigError, match="own_init=.* is unknown. Known: auto, run, skip"):
            call(SEVEN, own_init=value)


OTHER_LIBRARIES = [
    *({}, {"kernel": "xavier_uniform"}, [{"kernel": 1}], [1, 2], "original", 3.0, object, torch.zeros(2)),
    *({"type": "xavier_uniform", "gain": 1.0}, {"type": 3}, [{"type": None}]),
]


@pytest.mark.parametrize("cfg", OTHER_LIBRARIES, ids=repr)
def test_an_init_cfg_of_another_library_is_left_alone(cfg: object) -> None:
    cell = made("Cell", finish=lambda self: setattr(self, "init_cfg", cfg))
    model, report = in_a_block(cell)
    assert is_left_to_the_rules(model, report) and model.init_cfg is cfg
    assert is_left_to_the_rules(*existing(cell))


TYPO = dict(type="Kaimming", layer="Linear")


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        *[(cfg, "Did you mean 'Kaiming'") for cfg in (TYPO, [TYPO], (TYPO,))],
        ([SEVEN, dict(layer="Conv2d", std=1)], r"Own.init_cfg\[1\]: no 'type'"),
    ],
)
def test_a_mistake_in_an_own_config_is_an_error(cfg: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        existing(made("Own", init_cfg=cfg))


def test_a_config_of_a_base_module_is_always_one_of_autoinit() -> None:
    model = Detector()
    model.init_cfg = {"kernel": "xavier_uniform"}
    with pytest.raises(ConfigError, match=r"Detector.init_cfg: no 'type' in"):
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
    with pytest.raises(CoverageError, match=r"no rule covers 2 parameters: 1\.one, 1\.two"):
        with autoinit(SEVEN, own_init="skip", require_coverage=True) as run:
            model = nn.Sequential(nn.Linear(1, 1), Unwritten())
    assert not run.reports


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


WRITES: list[Callable[[nn.Parameter], object]] = [
    lambda param: param.data.fill_(1),
    lambda param: param.data.fill_(7),  # What was there.
    lambda param: param.detach().fill_(1),
    lambda param: param.data[0].fill_(1),
    lambda param: nn.init.ones_(param),
    lambda param: param.data.copy_(torch.ones(2, 2)),
    lambda param: torch.no_grad()(param.mul_)(1),
    lambda param: param.data.view(-1)[3:].zero_(),
    lambda param: torch.ones(2, 2, out=param.data),
    lambda param: torch._foreach_zero_([param.data]),
]


@pytest.mark.parametrize("write", WRITES)
def test_every_way_to_write_is_seen(write: Callable[[nn.Parameter], object]) -> None:
    _, report = existing(made("Writes", init_weights=lambda self: write(self.first.weight)), own_init="run")
    assert report["first.weight"].outcome == "own init_weights"
    assert report["second.weight"].outcome == "filled"


@pytest.mark.parametrize("read", [lambda param: param.data.clone().fill_(3), lambda param: param.sum().item()])
def test_reading_is_not_writing(read: Callable[[nn.Parameter], object]) -> None:
    _, report = existing(made("Reads", init_weights=lambda self: read(self.first.weight)), own_init="run")
    assert set(report.outcomes) == {"filled"}


def test_a_parametrized_weight_is_credited_by_what_is_stored() -> None:
    normed = made(
        "Normed",
        finish=lambda self: nn.utils.parametrizations.weight_norm(self.first),
        init_weights=lambda self: self.first.parametrizations.weight.original0.data.fill_(2),
    )
    _, report = existing(normed, own_init="run")
    assert report["first.weight"].outcome == "own init_weights"


def test_a_module_that_is_there_twice_initializes_itself_once() -> None:
    shared = made("Counting", calls=0, init_weights=lambda self: setattr(self, "calls", self.calls + 1))()
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
    # As in the original: a class that overrides init_weights decides whether those of its children are called.
    assert model.inner.first.weight.eq(7).all() and model.inner.second.weight.eq(3).all()
    assert run.report["inner.second.weight"].outcome == "own init_weights"


def test_without_rules_a_models_own_config_is_applied() -> None:
    with autoinit([]):
        model = nn.Sequential(made("Configured", init_cfg=SEVEN)(), Mmengine())
    assert model[0].first.weight.eq(7).all()
    assert not model[1].first.weight.eq(1).all()


@warns_of_own
def test_a_block_without_rules_inside_one_with_rules_is_not_the_identity() -> None:
    with autoinit(SEVEN), autoinit([]):
        model = Mmengine()
    assert model.first.weight.eq(1).all() and model.second.weight.eq(7).all()
