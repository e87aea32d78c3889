"""Rows that embeddings have for padding: zero as torch makes them, or the rule's (contract O6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import Rule, autoinit, initialize, normal_init, plan, verify
from autoinit.compat import mmengine as compat
from autoinit.config import parse_config
from autoinit.errors import ConfigError, ConfigTypeError
from autoinit.fills import Constant, Normal, Padded, Uniform

NORMAL = dict(type="Normal", layer=["Linear", "Embedding", "EmbeddingBag"], std=0.02)


def without_row(table: Tensor, *rows: int) -> Tensor:
    return table[[row for row in range(len(table)) if row not in rows]]


def column_(tensor: Tensor) -> None:
    tensor.copy_(torch.arange(1.0, tensor.numel() + 1).view_as(tensor))


SCHEMES: list[dict[str, Any]] = [
    dict(type="Normal", std=0.02),
    dict(type="Constant", val=3.0),
    dict(type="Kaiming", distribution="uniform"),
    dict(type="TruncNormal"),
    dict(type="Orthogonal"),
    dict(type="Eye"),
    dict(type=column_),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda cfg: getattr(cfg["type"], "__name__", cfg["type"]))
@pytest.mark.parametrize("made", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize("width", [8, 200])
def test_the_row_is_zero_and_the_others_are_as_without_padding(
    made: Callable[..., nn.Module], scheme: dict[str, Any], width: int
) -> None:
    cfg = {**scheme, "name": "table"}
    for padding_idx in (3, -1):
        padded, other = (nn.ModuleDict({"table": made(40, width, padding_idx=idx)}) for idx in (padding_idx, None))
        report = initialize(padded, cfg, seed=0)
        initialize(other, cfg, seed=0)
        weight, row = padded["table"].weight, padding_idx % 40
        assert (weight[row] == 0).all() and weight.any()
        assert torch.equal(without_row(weight, row), without_row(other["table"].weight, row))
        assert verify(padded, report).ok
        initialize(padded, cfg | {"padding": "fill"}, seed=0)
        assert torch.equal(weight, other["table"].weight)


def test_in_a_block() -> None:
    with autoinit(NORMAL, seed=0) as run:
        table = nn.Embedding(500, 64, padding_idx=3)
    initialize(other := nn.Embedding(500, 64, padding_idx=3), NORMAL, seed=0)
    assert torch.equal(table.weight, other.weight)
    assert str(run.report["weight"].fill) == "Normal(mean=0, std=0.02), row 3 zero"


class Tied(nn.Module):
    """A table and a head with one weight; which of them comes first is for the tests to say."""

    def __init__(self, first: str, *, transposed: bool = False) -> None:
        super().__init__()
        table, head = nn.Embedding(30, 8, padding_idx=2), nn.Linear(*((30, 8) if transposed else (8, 30)), bias=False)
        head.weight = nn.Parameter(table.weight.t()) if transposed else table.weight
        for name, part in (
            (("table", table), ("head", head)) if first == "table" else (("head", head), ("table", table))
        ):
            self.add_module(name, part)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("first", ["table", "head"])
@pytest.mark.parametrize("layer", ["Linear", "Embedding"])
def test_a_tied_table(first: str, layer: str, transposed: bool) -> None:
    model = Tied(first, transposed=transposed)
    report = initialize(model, dict(type="Normal", layer=layer, std=0.02), seed=0)
    entry, weight = report[f"{first}.weight"], model.table.weight
    assert (weight[2] == 0).all() and (without_row(weight, 2) != 0).all()
    word = "column" if transposed and first == "head" else "row"
    assert str(entry.fill) == f"Normal(mean=0, std=0.02), {word} 2 zero"
    assert verify(model, report).ok


@pytest.mark.filterwarnings("ignore:head.weight and table.weight are one parameter")
def test_the_rule_that_wins_a_tied_table_says_whether_its_row_is_filled() -> None:
    model = Tied("head")
    keep, fill = (dict(type="Normal", layer="Embedding", std=0.02, padding=padding) for padding in ("keep", "fill"))
    initialize(model, [keep, dict(type="Normal", layer="Linear", std=0.02, padding="fill")], seed=0)
    assert (model.table.weight != 0).all()
    initialize(model, [fill, dict(type="Normal", layer="Linear", std=0.02)], seed=0)
    assert (model.table.weight[2] == 0).all()


def test_two_tables_of_one_weight() -> None:
    model = nn.Sequential(nn.Embedding(30, 8, padding_idx=9), nn.Embedding(30, 8, padding_idx=0))
    model[1].weight = model[0].weight
    report = initialize(model, NORMAL, seed=0)
    assert str(report["0.weight"].fill) == "Normal(mean=0, std=0.02), rows 0, 9 zero"
    assert model[0].weight.any(dim=1).tolist() == [row not in (0, 9) for row in range(30)]
    assert verify(model, report).ok


def test_memory_tied_in_other_pieces_has_no_rows() -> None:
    model = nn.Module()
    table = nn.Embedding(30, 8, padding_idx=2)
    model.flat, model.table = nn.Parameter(table.weight.data.view(-1)), table
    report = initialize(model, dict(type="Normal", params="flat"), seed=0)
    assert report["flat"].fill == Normal(0.0, 1.0) and (table.weight != 0).all()


def test_tables_of_special_kinds() -> None:
    table = nn.utils.parametrizations.weight_norm(nn.Embedding(30, 8, padding_idx=2))
    initialize(table, NORMAL, seed=0)
    assert (table.weight[2] == 0).all() and (without_row(table.weight, 2) != 0).all()
    table = nn.Embedding(30, 8, padding_idx=2)
    table.padding_idx = 30  # Not a row of it.
    assert initialize(table, NORMAL, seed=0)["weight"].fill == Normal(0.0, 0.02)
    table = nn.Embedding(1, 8, padding_idx=0)
    report = initialize(table, NORMAL, seed=0)
    assert not table.weight.any() and verify(table, report).ok


def test_a_plan_says_it_and_a_report_too() -> None:
    table = nn.Embedding(30, 8, padding_idx=2)
    decided = plan(table, NORMAL)
    assert decided["weight"].fill == Padded(Normal(0.0, 0.02), (2,), 30)
    report = decided.apply(table, seed=0)
    assert all("Normal(mean=0, std=0.02), row 2 zero" in str(shown) for shown in (decided, report))
    shown = report.to_dict()["parameters"]["weight"]["fill"]
    assert shown == "Padded(fill=Normal(mean=0.0, std=0.02), rows=(2,), axis=0)"
    zero = plan(table, dict(type="Constant", val=0, layer="Embedding"))["weight"].fill
    assert zero == Constant(0.0) and str(zero) == "Constant(value=0)"


def test_moments_and_cdf_are_those_over_all_rows() -> None:
    fill = Padded(Uniform(0.0, 1.0), (0, 3), 5)
    values = torch.rand(5, 100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[list(fill.rows)] = 0
    assert fill.mean == pytest.approx(float(values.mean()), rel=0.01)
    assert fill.std == pytest.approx(float(values.std()), rel=0.01)
    points = torch.tensor([-0.1, 0.0, 0.3, 1.0])
    expected = torch.tensor([float((values <= point).double().mean()) for point in points], dtype=torch.float64)
    torch.testing.assert_close(fill.cdf(points), expected, atol=0.01, rtol=0)
    assert not hasattr(Padded(Constant(1.0), (0,), 2).fill, "rows") and not Padded(Constant(1.0), (0,), 2).is_random


@pytest.mark.parametrize(
    ("spoil", "test"),
    [
        (lambda weight: weight[3].fill_(1e-9), "constant"),
        (lambda weight: weight[4].zero_(), "repeats"),
        (lambda weight: weight[40:].copy_(weight[:10]), "repeats"),
        (lambda weight: weight[:3].mul_(3), "variance"),
        (lambda weight: weight[4:].mul_(1.2), "variance"),
        (lambda weight: weight[49, 0].fill_(torch.nan), "finite"),
    ],
    ids=["padding", "another row", "copied rows", "rows before", "rows after", "nan"],
)
def test_verify_sees_what_is_wrong(spoil: Callable[[Tensor], object], test: str) -> None:
    table = nn.Embedding(50, 64, padding_idx=3)
    report = initialize(table, NORMAL, seed=0)
    assert verify(table, report).ok and verify(table, NORMAL).ok
    with torch.no_grad():
        spoil(table.weight)
    assert test in {failure.test for failure in verify(table, report).failures}


def test_verify_wants_the_row_filled_if_the_rule_says_so() -> None:
    table = nn.Embedding(50, 64, padding_idx=3)
    cfg = NORMAL | {"padding": "fill"}
    initialize(table, cfg, seed=0)
    assert verify(table, cfg).ok and not verify(table, NORMAL).ok
    table.weight.data[3] = 0
    assert not verify(table, cfg).ok


def test_verify_says_what_it_cannot_test() -> None:
    table = nn.Embedding(50, 64, padding_idx=3)
    for scheme in (dict(type="Orthogonal"), dict(type="Sparse", sparsity=0.1), dict(type=column_)):
        cfg = {**scheme, "layer": "Embedding"}
        initialize(table, cfg, seed=0)
        verdict = verify(table, cfg)
        assert verdict.ok and "row 3 zero" in verdict.untested["weight"]


EMBEDDING = dict(type="Normal", layer="Embedding", std=0.02)
OVERRIDE = dict(type="Constant", val=1, override=dict(type="Normal", name="0"))


@pytest.mark.parametrize(
    ("fill", "is_filled"),
    [
        (lambda table: compat.initialize(table, EMBEDDING), True),
        (lambda table: compat.NormalInit(layer="Embedding")(table), True),
        (lambda table: normal_init(table), True),
        (lambda table: compat.Sequential(table, init_cfg=EMBEDDING).init_weights(), True),
        (lambda table: compat.Sequential(table, init_cfg=OVERRIDE).init_weights(), True),
        (lambda table: initialize(compat.Sequential(table, init_cfg=EMBEDDING), None, seed=0), True),
        (lambda table: compat.Sequential(table, init_cfg=EMBEDDING | {"padding": "keep"}).init_weights(), False),
        (lambda table: initialize(compat.Sequential(table), EMBEDDING, seed=0), False),
    ],
)
def test_what_comes_from_mmengine_fills_the_row_as_there(fill: Callable[[nn.Module], object], is_filled: bool) -> None:
    table = nn.Embedding(30, 8, padding_idx=2)
    fill(table)
    assert bool((table.weight[2] != 0).any()) == is_filled


@pytest.mark.parametrize("key", ["padding", "overwrite"])
def test_the_keys_reach_rules_and_overrides(key: str) -> None:
    value: object = "fill" if key == "padding" else True
    default: object = "keep" if key == "padding" else False
    overrides = [dict(name="a"), dict(type="Constant", val=1, name="b")]
    [rule] = parse_config(dict(type="Normal", layer="Linear", override=overrides, **{key: value}))
    assert [getattr(each, key) for each in (rule, *rule.override)] == [value, value, default]
    [rule] = parse_config(dict(type="Normal", layer="Linear", override=dict(type="Normal", name="b", **{key: value})))
    assert [getattr(each, key) for each in (rule, *rule.override)] == [default, value]
    assert getattr(Rule(initializer=rule.initializer), key) == default


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        *[("overwrite", value, ConfigTypeError, "must be True or False.") for value in (1, 0, "yes", None, [True])],
        *[("padding", value, ConfigTypeError, "must be 'keep' or 'fill'.") for value in (True, None, 3)],
        ("padding", "filled", ConfigError, "'filled' is unknown. Did you mean 'fill'? Known: keep, fill."),
    ],
)
def test_values_of_the_keys(key: str, value: object, error: type[ConfigError], message: str) -> None:
    with pytest.raises(error) as raised:
        plan(nn.Linear(2, 2), [NORMAL, {"type": "Normal", "layer": "Linear", key: value}])
    assert type(raised.value) is error and raised.value.origin == f"init_cfg[1].{key}"
    assert str(raised.value).startswith(f"init_cfg[1].{key}: ") and str(raised.value).endswith(message)


def test_nothing_but_weights_of_embeddings_has_rows_for_padding() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.padding_idx = 0
            self.weight = nn.Parameter(torch.empty(4, 4))

    class Extra(nn.Embedding):
        def __init__(self) -> None:
            super().__init__(4, 4, padding_idx=1)
            self.scale = nn.Parameter(torch.empty(4, 4))

    model = nn.Sequential(Named(), Extra())
    report = initialize(model, dict(type="Normal", name="*", params="*"), seed=0)
    assert [str(entry.fill) for entry in report.values()] == [
        "Normal(mean=0, std=1)",
        "Normal(mean=0, std=1), row 1 zero",
        "Normal(mean=0, std=1)",
    ]
