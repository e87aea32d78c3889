"""Somebody else's model, built by its own unedited code: plainly, and again inside a block.

Each file of the zoo lists three cases and inherits these tests for them.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import Report, autoinit
from autoinit.fills import Fill
from tests.closed_form import bitwise_equal, deviations

from .fingerprints import SEED, attributes, changed_classes, classes_of, leftovers


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model of the zoo and what becomes of it.

    Args:
        build: builds it, without pretrained weights.
        longer: builds it with one layer more.
        cfg: leaves some parameters uncovered, random ones among them.
        fills: what some of its parameters must get, written down by hand from the definition of the scheme.
        uncovered: a few FQNs that the config is not about.
    """

    build: Callable[[], nn.Module]
    longer: Callable[[], nn.Module]
    cfg: list[dict[str, Any]]
    fills: Mapping[str, Fill]
    uncovered: tuple[str, ...]

    @cached_property
    def plain(self) -> nn.Module:
        return self.plainly()[0]

    @cached_property
    def retrofitted(self) -> tuple[nn.Module, Report]:
        return retrofit(self.build, self.cfg)

    @cached_property
    def undeferred(self) -> tuple[nn.Module, Report]:
        """Deferred, a covered parameter's default is never drawn, and what comes after it is drawn earlier."""
        return retrofit(self.build, self.cfg, defer=False)

    def plainly(self) -> tuple[nn.Module, Tensor]:
        """The model, and the state of torch's generator after it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.build(), torch.get_rng_state()


def retrofit(build: Callable[[], nn.Module], cfg: object, **options: Any) -> tuple[nn.Module, Report]:
    """Build a model inside a block, where torch's generator is as for the plain one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        with autoinit(cfg, seed=SEED, **options) as run:
            model = build()
    return model, run.report


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those included that are not saved."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names of what is not bitwise the same in both, or only in one."""
    common = one.keys() & other.keys()
    return sorted(one.keys() ^ other.keys()) + [name for name in common if not bitwise_equal(one[name], other[name])]


def same_fill(one: Fill | None, other: Fill) -> bool:
    """Equality but for the last digits of their numbers."""
    return type(one) is type(other) and vars(one) == pytest.approx(vars(other), rel=1e-12)


def covered(model: nn.Module, report: Report) -> dict[str, Tensor]:
    return {fqn: param for fqn, param in model.named_parameters() if report[fqn].outcome == "filled"}


class RetrofitTests:
    """What holds for every model of the zoo; `conftest.py` gives it each of the `CASES` of a file."""

    def test_covered_parameters_have_their_closed_form(self, case: Case) -> None:
        model, report = case.retrofitted
        values = covered(model, report)
        fills = {fqn: report[fqn].fill for fqn in values}
        assert {fqn: fills[fqn] for fqn, fill in case.fills.items() if not same_fill(fills[fqn], fill)} == {}
        assert deviations(values, fills) == []

    def test_other_parameters_are_those_of_plain_construction(self, case: Case) -> None:
        model, report = case.undeferred
        others = state_of(model).keys() - covered(model, report).keys()
        assert others >= set(case.uncovered)
        plain, retrofitted = state_of(case.plain), state_of(model)
        assert plain.keys() == retrofitted.keys()
        assert differing({name: plain[name] for name in others}, {name: retrofitted[name] for name in others}) == []

    def test_covered_parameters_are_not_those_of_plain_construction(self, case: Case) -> None:
        model, report = case.retrofitted
        random = {fqn: p for fqn, p in covered(model, report).items() if report[fqn].fill.is_random}
        plain = state_of(case.plain)
        assert len(random) > 5
        assert len(differing(random, {fqn: plain[fqn] for fqn in random})) == len(random)

    def test_constructors_own_initialization_is_not_run_again(self, case: Case) -> None:
        _, report = case.retrofitted
        assert set(report.outcomes) == {"filled", "kept"}
        assert report.seed == SEED

    def test_an_explicit_seed_draws_nothing_from_torchs_generator(self, case: Case) -> None:
        _, after_plain = case.plainly()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            with autoinit(case.cfg, seed=0, defer=False):
                case.build()
            assert torch.equal(torch.get_rng_state(), after_plain)

    def test_no_trace_is_left(self, case: Case) -> None:
        before, init = classes_of(case.plain), nn.Module.__init__
        model, _ = retrofit(case.build, case.cfg)
        assert nn.Module.__init__ is init
        assert [*changed_classes(before), *leftovers(model)] == []
        assert [*map(attributes, model.modules())] == [*map(attributes, case.plain.modules())]

    def test_the_model_is_copied_and_saved_as_any_other(self, case: Case) -> None:
        model, _ = case.retrofitted
        pickled = pickle.dumps(model)
        assert b"autoinit" not in pickled
        assert differing(state_of(pickle.loads(pickled)), state_of(model)) == []
        assert differing(state_of(copy.deepcopy(model)), state_of(model)) == []
        saved = io.BytesIO()
        torch.save(model.state_dict(), saved)
        saved.seek(0)
        assert model.state_dict().keys() == case.plain.state_dict().keys()
        twin = copy.deepcopy(case.plain)
        twin.load_state_dict(torch.load(saved, weights_only=True))
        assert differing(twin.state_dict(), model.state_dict()) == []

    def test_the_same_config_and_seed_give_the_same_model(self, case: Case) -> None:
        model, report = case.retrofitted
        again, report_again = retrofit(case.build, case.cfg)
        assert report_again == report
        assert differing(state_of(again), state_of(model)) == []

    def test_a_layer_more_changes_no_other_covered_parameter(self, case: Case) -> None:
        short, long = covered(*case.retrofitted), covered(*retrofit(case.longer, case.cfg))
        assert long.keys() > short.keys()
        assert differing(short, {fqn: long[fqn] for fqn in short}) == []
