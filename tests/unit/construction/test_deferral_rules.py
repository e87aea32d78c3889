"""Deferral and rules: what a rule covers is filled once, by the rule; of everything else nothing is lost (D1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from autoinit import MatchError, Report, autoinit
from autoinit.construction.memory import Fill
from tests.two_samples import different
from tests.unit.construction.test_deferral import EVERY_MODEL, SIZE, linear, watched

LINEAR = dict(type="Normal", std=0.5, layer="Linear")
CONV = dict(type="Constant", val=2.0, layer="Conv2d")
EVERYTHING = dict(type="Uniform", a=-3.0, b=-2.0, name="**", params="*")


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Memory that nobody fills is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what recorded fills have been run on."""
    sizes: list[int] = []
    original = Fill.apply

    def note(self: Fill, storage: torch.UntypedStorage | None) -> None:
        sizes.append(math.prod(self.layout[1]) if storage is not None else 0)
        original(self, storage)

    monkeypatch.setattr(Fill, "apply", note)
    return sizes


@EVERY_MODEL
@pytest.mark.filterwarnings("ignore:.* computed at")
@pytest.mark.parametrize("cfg", [LINEAR, CONV, EVERYTHING], ids=["linear", "conv", "everything"])
def test_rules_give_the_same_values_and_nothing_is_left_unfilled(
    build: Callable[[], nn.Module], cfg: dict[str, object]
) -> None:
    (plain, report), (deferred, again) = (built(build, cfg, defer=defer) for defer in (False, True))
    assert report == again
    for fqn, entry in report.items():
        if entry.outcome == "filled" and fqn in plain:
            assert torch.equal(plain[fqn], deferred[fqn]), fqn
    assert plain.keys() == deferred.keys()
    for name, one in plain.items():
        other = deferred[name]
        assert not other.is_floating_point() or bool(one.isnan().any()) == bool(other.isnan().any()), name
        assert (one.dtype, one.stride()) == (other.dtype, other.stride()), name


def built(build: Callable[[], nn.Module], cfg: object, *, defer: bool) -> tuple[dict[str, Tensor], Report]:
    """Parameters and buffers of a model, and its report, which is the longest of the block."""
    torch.manual_seed(7)
    with autoinit(cfg, seed=1, unmatched="ignore", defer=defer) as run:
        model = build()
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}, max(run.reports, key=len)


def layers() -> nn.Module:
    whole = nn.ModuleDict(
        dict(
            covered=linear(),
            linear=linear(),
            conv=nn.Conv2d(SIZE, SIZE, 3),
            also_covered=nn.Conv2d(SIZE, SIZE, 3),
            table=nn.Embedding(2 * SIZE, SIZE, padding_idx=0),
            norm=nn.LayerNorm(SIZE * SIZE),
            attention=nn.MultiheadAttention(SIZE, 4),
            gates=nn.LSTM(SIZE, SIZE),
            cut=linear(),
            cut_by_hand=linear(),
        )
    )
    nn.init.trunc_normal_(whole.cut.weight, std=0.5, a=-0.3, b=1.0)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        whole.cut_by_hand.weight.uniform_(-0.9, 0.9).erfinv_().mul_(3).clamp_(max=1)  # type: ignore[union-attr, operator]
    return whole


COVERED = [dict(type="Normal", std=0.5, name=["covered", "also_covered"])]


def test_what_no_rule_covers_has_the_distribution_of_plain_construction() -> None:
    torch.manual_seed(0)
    plain = layers().state_dict()
    with autoinit(COVERED, seed=3):
        deferred = layers().state_dict()
    tested = 0
    for name, one in plain.items():
        if "covered" not in name:
            assert different(one, deferred[name]) == "", name
            tested += 1
    assert tested > 12


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda x: x + 0.03, "the mean"),
        (lambda x: x * 1.05, "the variance"),
        (lambda x: torch.rand(len(x)) * 12**0.5 - 3**0.5, "the shape"),
        (lambda x: x, ""),
    ],
    ids=["mean", "variance", "shape", "none"],
)
def test_the_comparison_of_distributions_finds_differences(wrong: Callable[[Tensor], Tensor], what: str) -> None:
    torch.manual_seed(0)
    assert different(torch.randn(60_000), wrong(torch.randn(60_000))) == what


def test_what_a_rule_covers_is_never_filled_by_its_constructor(filled: list[int]) -> None:
    before = torch.get_rng_state()
    with autoinit(dict(type="Constant", val=1.0, name="**", params="*")):
        whole = nn.Sequential(linear(), nn.Conv2d(SIZE, SIZE, 3), nn.TransformerEncoderLayer(SIZE, 4, 4 * SIZE))
    assert filled == []
    assert torch.equal(torch.get_rng_state(), before), "with every draw dropped nothing is drawn"
    assert all((param == param.flatten()[0]).all() for param in whole.parameters())


def test_what_no_rule_covers_is_filled_at_the_end(filled: list[int]) -> None:
    with autoinit(LINEAR, seed=0):
        whole = nn.Sequential(nn.Conv2d(SIZE, SIZE, 3), linear())
        assert filled == []
    assert filled == [whole[0].weight.numel(), SIZE]


def test_a_layer_that_is_looked_at_is_filled_then_with_what_was_drawn_before_it(filled: list[int]) -> None:
    with watched():
        first, second, third = nn.Linear(SIZE, 50), nn.Linear(SIZE, 60), nn.Linear(SIZE, 70)
        nn.init.ones_(third.bias)
        second.bias.sum()
        assert filled == [SIZE * 50, 50, SIZE * 60, 60]
        third.bias.sum()
        assert filled[4:] == [70], "of what was drawn for it nothing is left"
    assert filled[5:] == [SIZE * 70, 0]
    assert first.weight.isfinite().all()


def test_memory_that_nobody_has_any_more_is_not_filled(filled: list[int]) -> None:
    def build() -> list[nn.Module]:
        replaced, layer = linear(), linear()
        kept = replaced.weight.data if keep else None
        replaced.weight = layer.weight
        return [replaced, layer, nn.Embedding(SIZE, SIZE), *([kept] if keep else [])]  # type: ignore[list-item]

    for keep in (False, True):
        torch.manual_seed(3)
        plain = build()
        torch.manual_seed(3)
        with watched():
            deferred = build()
        assert torch.equal(plain[2].weight, deferred[2].weight)
        assert filled == [SIZE * SIZE if keep else 0, SIZE, SIZE * SIZE, SIZE, SIZE * SIZE]
        if keep:
            assert torch.equal(plain[3], deferred[3])  # type: ignore[arg-type]
        filled.clear()


def test_part_of_a_parameter_that_rules_fill_through_a_function_of_the_users_is_not_lost() -> None:
    def half(tensor: Tensor) -> None:
        tensor[:48] = 9

    torch.manual_seed(1)
    plain = linear()
    torch.manual_seed(1)
    with autoinit(dict(type=half, layer="Linear", params="weight")):
        deferred = linear()
    assert (deferred.weight[:48] == 9).all()
    assert torch.equal(deferred.weight[48:], plain.weight[48:])


def test_an_inner_block_drops_what_its_rules_cover_and_leaves_the_rest_to_the_outer(filled: list[int]) -> None:
    with autoinit(dict(type="Constant", val=1.0, layer="Conv2d")):
        with autoinit(dict(type="Constant", val=2.0, layer="Linear")):
            inner = nn.Sequential(linear(), nn.Conv2d(SIZE, SIZE, 3), nn.Embedding(SIZE, SIZE))
        assert filled == []
        outer = nn.Conv2d(SIZE, SIZE, 3)
    assert filled == [SIZE * SIZE]
    assert (inner[0].weight == 2).all()
    assert (inner[1].weight == 1).all()
    assert (outer.weight == 1).all()
    assert inner[2].weight.isfinite().all()


def test_an_inner_block_without_deferral_is_handed_a_world_without_it(filled: list[int]) -> None:
    with watched():
        first = linear()
        with watched(defer=False):
            assert len(filled) == 2
            second = nn.Linear(SIZE, 7)
        third = nn.Linear(SIZE, SIZE + 1)
        assert len(filled) == 2
    assert all(layer.weight.isfinite().all() for layer in (first, second, third))


def test_a_model_that_is_called_in_the_block_is_filled_before_and_deferral_goes_on_after(filled: list[int]) -> None:
    with autoinit(LINEAR, seed=0):
        whole = nn.Sequential(nn.Conv2d(3, SIZE, 5), nn.Flatten(), nn.Linear(SIZE * 16, SIZE))
        assert whole(torch.ones(2, 3, 8, 8)).isfinite().all()
        count = len(filled)
        later = nn.Conv2d(SIZE, SIZE, 3)
        assert len(filled) == count
    assert later.weight.isfinite().all()


def test_by_default_blocks_defer_and_can_be_told_not_to(filled: list[int]) -> None:
    with watched():
        layer = linear()
        assert filled == []
    assert filled == [SIZE * SIZE, SIZE]
    with watched(defer=False):
        layer = linear()
        assert layer.weight.isfinite().all()
    assert len(filled) == 2


def test_an_error_in_the_rules_leaves_every_parameter_as_its_constructor_would_have() -> None:
    torch.manual_seed(1)
    plain = layers().state_dict()
    state = torch.get_rng_state()
    torch.manual_seed(1)
    with pytest.raises(MatchError), autoinit([LINEAR, dict(type="Constant", val=0, layer="Linaer")]):
        deferred = layers()
    assert all(torch.equal(plain[name], value) for name, value in deferred.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_while_filling_leaves_nothing_unfilled() -> None:
    def fails(tensor: Tensor) -> None:
        raise RuntimeError("no")

    cfg = [dict(type="Constant", val=2.0, name="0"), dict(type=fails, name="2"), dict(type="Constant", val=3, name="4")]
    with pytest.raises(RuntimeError, match="no"), autoinit(cfg):
        whole = nn.Sequential(linear(), linear(), linear(), linear(), linear())
    for layer in whole:
        assert layer.weight.isfinite().all()
        assert layer.bias.isfinite().all()
    assert not (whole[4].weight == 3).any(), "filling stopped before it"
