"""Models of other libraries, built by their own unedited code: plainly, and again inside a block."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from autoinit import AutoInitWarning, Report, autoinit
from autoinit.fills import Fill, Normal
from tests.closed_form import bitwise_equal, deviations

from .fingerprints import SEED, attributes, changed_classes, classes_of, leftovers
from .retrofit import CASES, TIMM_VIT, Case, gpt2, of_timm, retrofit


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


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_covered_parameters_have_their_closed_form(case: Case) -> None:
    model, report = case.retrofitted
    values = covered(model, report)
    fills = {fqn: report[fqn].fill for fqn in values}
    assert {fqn: fills[fqn] for fqn, fill in case.fills.items() if not same_fill(fills[fqn], fill)} == {}
    assert deviations(values, fills) == []


def test_other_parameters_are_those_of_plain_construction(case: Case) -> None:
    model, report = case.undeferred
    others = state_of(model).keys() - covered(model, report).keys()
    assert others >= set(case.uncovered)
    plain, retrofitted = state_of(case.plain), state_of(model)
    assert plain.keys() == retrofitted.keys()
    assert differing({name: plain[name] for name in others}, {name: retrofitted[name] for name in others}) == []


def test_covered_parameters_are_not_those_of_plain_construction(case: Case) -> None:
    model, report = case.retrofitted
    random = {fqn: p for fqn, p in covered(model, report).items() if report[fqn].fill.is_random}
    plain = state_of(case.plain)
    assert len(random) > 5
    assert len(differing(random, {fqn: plain[fqn] for fqn in random})) == len(random)


def test_constructors_own_initialization_is_not_run_again(case: Case) -> None:
    _, report = case.retrofitted
    assert set(report.outcomes) == {"filled", "kept"}
    assert report.seed == SEED


def test_an_explicit_seed_draws_nothing_from_torchs_generator(case: Case) -> None:
    _, after_plain = case.plainly()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        with autoinit(case.cfg, seed=0, defer=False):
            case.build()
        assert torch.equal(torch.get_rng_state(), after_plain)


def test_no_trace_is_left(case: Case) -> None:
    before, init = classes_of(case.plain), nn.Module.__init__
    model, _ = retrofit(case.build, case.cfg)
    assert nn.Module.__init__ is init
    assert [*changed_classes(before), *leftovers(model)] == []
    assert [*map(attributes, model.modules())] == [*map(attributes, case.plain.modules())]


def test_the_model_is_copied_and_saved_as_any_other(case: Case) -> None:
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


def test_the_same_config_and_seed_give_the_same_model(case: Case) -> None:
    model, report = case.retrofitted
    again, report_again = retrofit(case.build, case.cfg)
    assert report_again == report
    assert differing(state_of(again), state_of(model)) == []


def test_a_layer_more_changes_no_other_covered_parameter(case: Case) -> None:
    short, long = covered(*case.retrofitted), covered(*retrofit(case.longer, case.cfg))
    assert long.keys() > short.keys()
    assert differing(short, {fqn: long[fqn] for fqn in short}) == []


def test_an_init_weights_that_the_constructor_has_not_run_beats_rules() -> None:
    # P3: weight_init="skip" leaves it to whoever builds the model, here to autoinit.
    case = CASES["timm vit"]
    model, report = retrofit(
        of_timm("vit_tiny_patch16_224", depth=1, weight_init="skip", **TIMM_VIT), case.cfg, own_init="run"
    )
    assert set(report.outcomes) == {"own init_weights"}
    assert model.pos_embed.std() < 0.05
    assert not model.norm.bias.any()


def test_a_tied_weight_is_one_parameter_under_its_first_name() -> None:
    model, report = CASES["transformers gpt2"].retrofitted
    assert model.lm_head.weight is model.transformer.wte.weight
    assert report["transformer.wte.weight"].aliases == ("lm_head.weight",)
    assert "lm_head.weight" not in list(report)
    assert report["lm_head.weight"] is report["transformer.wte.weight"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_tied_weight_gets_the_winner_over_all_its_names(reverse: bool) -> None:
    embedding = dict(type="Constant", layer="Embedding", val=1)
    head = dict(type="Constant", name="lm_head", val=2)
    cfg = [head, embedding] if reverse else [embedding, head]
    with pytest.warns(AutoInitWarning, match="transformer.wte.weight and lm_head.weight are one parameter"):
        model, report = retrofit(gpt2(1), cfg)
    entry = report["transformer.wte.weight"]
    assert entry.rule.origin == "init_cfg[1]"
    assert [rule.origin for rule in entry.overrides] == ["init_cfg[0]"]
    assert bitwise_equal(model.lm_head.weight, torch.full((500, 96), 1.0 if reverse else 2.0))


def test_untied_the_two_names_are_two_parameters() -> None:
    cfg = dict(type="Normal", name=["lm_head", "**.wte"], std=0.02)
    model, report = retrofit(gpt2(1, tie_word_embeddings=False), cfg)
    assert report["lm_head.weight"].fill == report["transformer.wte.weight"].fill == Normal(0.0, 0.02)
    assert not bitwise_equal(model.lm_head.weight, model.transformer.wte.weight)
