"""Weights that hold several maps: what each gets, and from which numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autoinit import initialize, plan
from autoinit.fans import as_layout
from autoinit.fills import Blocks, Constant, Dirac, Eye, Fill, Normal, Orthogonal
from autoinit.sampling import Region, Sampler, derive_key
from tests.closed_form import deviations

CPU = torch.device("cpu")


def written(fan: object, fills: list[Fill], *shape: int) -> tuple[Blocks, Tensor]:
    layout = as_layout(fan)  # type: ignore[arg-type]
    fill, tensor = Blocks(layout, layout.parts(shape), tuple(fills)), torch.full(shape, math.nan)
    fill.write(tensor, lambda stream: derive_key(0, 0, "w", stream), Sampler(CPU))
    return fill, tensor


def alone(fill: Fill, number: int, *shape: int) -> Tensor:
    """What a map of that number gets, in a tensor of its own."""
    tensor = torch.full(shape, math.nan)
    fill.write(tensor, lambda stream: derive_key(0, 0, "w", 2 * number + stream), Sampler(CPU))
    return tensor


def test_each_expert_is_orthogonal_and_none_like_another() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.empty(4, 6, 16))
    report = initialize(model, dict(type="Orthogonal", params="weight", fan="expert,in,out"), seed=0)
    assert report["weight"].gets == "4 x Orthogonal(gain=1)"
    for expert in model.weight.detach():
        torch.testing.assert_close(expert @ expert.T, torch.eye(6), atol=1e-5, rtol=0)
    assert len({round(float(expert[0, 0]), 6) for expert in model.weight.detach()}) == 4
    # As torch reads the axes, no expert is: the rows of all are orthogonal only together.
    initialize(model, dict(type="Orthogonal", params="weight", fan="torch"), seed=0)
    assert (model.weight[0] @ model.weight[0].T - torch.eye(6)).abs().max() > 0.5


def test_a_depthwise_convolution_passes_each_channel_through() -> None:
    conv = nn.Conv2d(6, 6, 3, groups=6, padding=1, bias=False)
    initialize(conv, dict(type="Orthogonal", layer="Conv2d"), seed=0)
    norms = conv.weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(6))


ORTHOGONAL, SMALL = Orthogonal(1.0, 6, 8), Orthogonal(1.0, 2, 3)
SEVERAL: dict[str, tuple[Any, list[Fill], tuple[int, ...], Callable[[Tensor], Iterable[Tensor]]]] = {
    "slices": (dict(axes="out,in", splits=3), [ORTHOGONAL] * 3, (18, 8), lambda w: w.chunk(3)),
    # Two experts with a gate and an up projection each: the gates first.
    "experts": (
        dict(axes="expert,out,in", splits=2), [SMALL] * 2, (2, 4, 3),
        lambda w: [w[0, :2], w[1, :2], w[0, 2:], w[1, 2:]],
    ),
    "heads": (
        dict(axes="out,out,in", splits=2), [ORTHOGONAL] * 2, (4, 3, 8), lambda w: [w[:2].view(6, 8), w[2:].view(6, 8)],
    ),
    # No view can merge the outputs.
    "outputs apart": ("out,in,out", [ORTHOGONAL], (2, 8, 3), lambda w: [w.transpose(1, 2).reshape(6, 8)]),
    "transposed": ("in,out,out", [ORTHOGONAL], (8, 2, 3), lambda w: [w.reshape(8, 6).T]),
    "elements": (
        dict(axes="out,in", splits=[2, 1], repeats=2), [Normal(0.0, 1.0), Normal(5.0, 2.0)], (6, 4),
        lambda w: w.view(2, 3, 4).split([2, 1], 1),
    ),
    "dirac": ("in,out,kernel", [Dirac()], (2, 3, 3), lambda w: [w.transpose(0, 1)]),
    "eye": (dict(axes="out,in", splits=3), [Eye()] * 3, (6, 2), lambda w: w.chunk(3)),
}  # fmt: skip


@pytest.mark.parametrize("case", SEVERAL)
def test_each_map_is_as_if_it_were_alone_with_its_number(case: str) -> None:
    fan, fills, shape, maps_of = SEVERAL[case]
    _, weight = written(fan, fills, *shape)
    for number, found in enumerate(maps_of(weight)):
        assert torch.equal(found, alone(fills[min(number, len(fills) - 1)], number, *found.shape))


def test_moments_are_those_of_the_mixture() -> None:
    fills: list[Fill] = [Normal(0.0, 2.0), Constant(3.0)]
    fill, weight = written(dict(axes="out,in", splits=[300, 100]), fills, 400, 500)
    assert fill.mean == pytest.approx(0.75)
    assert fill.std == pytest.approx(math.sqrt(0.75 * 4 + 0.25 * 9 - 0.75**2))
    assert float(weight.mean()) == pytest.approx(fill.mean, abs=0.02)
    assert float(weight.std()) == pytest.approx(fill.std, rel=0.01)
    assert fill.cdf(torch.tensor([0.0, 3.5])).tolist() == pytest.approx([0.375, 0.75 * 0.95994 + 0.25], abs=1e-4)
    assert fill.is_random and not written("in,out", [Eye()], 2, 2)[0].is_random


def test_pieces_tile_the_weight_each_with_its_fill() -> None:
    fills: list[Fill] = [Normal(0.0, 1.0), Normal(0.0, 3.0), Normal(2.0, 1.0)]
    fill, weight = written(dict(axes="out,in", splits=[200, 100, 100], repeats=2), fills, 800, 50)
    pieces = {str(number): (piece.contiguous(), each) for number, (each, piece) in enumerate(fill.pieces(weight))}
    assert sum(piece.numel() for piece, _ in pieces.values()) == weight.numel()
    values = {name: piece for name, (piece, _) in pieces.items()}
    # A family-wise false-alarm rate of 1e-3, and a fixed seed.
    assert deviations(values, {name: each for name, (_, each) in pieces.items()}) == []


def test_what_is_made_as_a_whole_is_a_piece_for_each_map() -> None:
    fills: list[Fill] = [Orthogonal(1.0, 6, 4), Normal(0.0, 1.0)]
    fill, weight = written(dict(axes="in,out", splits=[3, 5], repeats=2), fills, 4, 16)
    (orthogonal, piece), (normal, region) = fill.pieces(weight)
    assert (orthogonal, normal, region.numel()) == (*fills, 40)
    assert torch.equal(piece, torch.cat([weight[:, :3], weight[:, 8:11]], 1).T)
    torch.testing.assert_close(piece.T @ piece, torch.eye(4), atol=1e-5, rtol=0)


def test_without_a_closed_form_there_are_no_moments() -> None:
    fill, _ = written(dict(axes="out,in", splits=2), [Eye(), Eye()], 4, 2)
    assert not hasattr(fill, "mean") and not hasattr(fill, "std")


def test_parts_that_are_left_alone_leave_all_alone() -> None:
    entry = plan(nn.MultiheadAttention(4, 2), dict(type="Keep", params="in_proj_weight"))["in_proj_weight"]
    assert (entry.fill, entry.gets) == (None, "Keep()")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_q_k_and_v_are_orthogonal_by_themselves_in_every_precision(dtype: torch.dtype) -> None:
    attention, single = nn.MultiheadAttention(16, 2, dtype=dtype), nn.MultiheadAttention(16, 2)
    for model in (attention, single):
        initialize(model, dict(type="Orthogonal", params="in_proj_weight"), seed=0)
    for part in single.in_proj_weight.detach().chunk(3):
        torch.testing.assert_close(part @ part.T, torch.eye(16), atol=1e-5, rtol=0)
    # In float64 it is computed in float64, too.
    atol = 1e-5 if dtype == torch.float64 else 0
    torch.testing.assert_close(attention.in_proj_weight, single.in_proj_weight.to(dtype), rtol=0, atol=atol)


@st.composite
def splits_of_a_weight(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    """A layout, and a shape that it fits."""
    kind = draw(st.sampled_from(["splits", "repeats", "experts", "groups"]))
    small = st.integers(1, 3)
    if kind == "experts":
        return dict(axes="expert,in,out", splits=2), (draw(small), draw(small), 2 * draw(small))
    if kind == "groups":
        groups = draw(small)
        return dict(groups=groups), (groups * draw(small), draw(small), 2)
    sizes = tuple(draw(st.lists(small, min_size=1, max_size=3)))
    repeats = draw(small) if kind == "repeats" else 1
    return dict(axes="out,in", splits=sizes, repeats=repeats), (sum(sizes) * repeats, draw(st.integers(1, 4)))


@given(
    weight=splits_of_a_weight(),
    kind=st.sampled_from(["Normal", "Orthogonal", "Constant", "mixed"]),
    data=st.data(),
)
def test_a_shard_of_a_fused_weight_is_that_of_the_whole(
    weight: tuple[dict[str, Any], tuple[int, ...]], kind: str, data: st.DataObject
) -> None:
    layout, shape = weight
    fills: list[Fill] = []
    for number, part in enumerate(as_layout(layout).parts(shape)):  # type: ignore[arg-type]
        out, columns = part.shape[0], math.prod(part.shape[1:])
        kinds = {
            "Normal": Normal(0.0, 1.0),
            "Constant": Constant(float(number)),
            "Orthogonal": Orthogonal(1.0, out, columns),
        }
        fills.append(kinds[kind] if kind != "mixed" else [*kinds.values()][number % 3])  # type: ignore[arg-type]
    fill, whole = written(layout, fills, *shape)
    cuts = [sorted(data.draw(st.lists(st.integers(0, size), min_size=4, max_size=4))) for size in shape]
    region = Region.of_ranges(shape, [[range(a, b), range(c, d)] for a, b, c, d in cuts])
    part = torch.full(region.size, math.nan)
    fill.write_region(part, region, lambda stream: derive_key(0, 0, "w", stream), Sampler(CPU))
    assert torch.equal(part, region.select(whole))
