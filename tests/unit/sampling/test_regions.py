"""Regions of a tensor: which elements they hold, and that they draw what the whole tensor has there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from autoinit.sampling import NormalTransform, Region, Sampler, TailTransform, Transform, derive_key, sampler
from autoinit.sampling.sampler import BLOCK

CPU = torch.device("cpu")
KEY = derive_key(3, 0, "weight")
NORMAL = NormalTransform(1.0, 2.0)
TAIL = TailTransform(0.0, 1.0, 5.0, 6.0)

Places = list[list[range]]


@pytest.fixture
def blocks_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multipliers that change every 16 values: what crosses a border shows in small tensors."""
    monkeypatch.setattr(sampler, "BLOCK", 8)


@st.composite
def ranges(draw: st.DrawFn, size: int) -> list[range]:
    """Ranges in rising order, some of them equally long and equally far apart."""
    if draw(st.booleans()):
        length = draw(st.integers(1, size))
        step = draw(st.integers(length, size))
        first = draw(st.integers(0, size - length))
        return [range(start, start + length) for start in range(first, size - length + 1, step)]
    cuts = draw(st.lists(st.integers(0, size), unique=True, max_size=6).map(sorted))
    return [range(start, stop) for start, stop in itertools.pairwise(cuts)][:: draw(st.integers(1, 2))]


@st.composite
def regions(draw: st.DrawFn) -> Region:
    shape = draw(st.lists(st.integers(1, 9), max_size=4))
    return Region.of_ranges(shape, [draw(ranges(size)) for size in shape])


def taken(region: Region, whole: Tensor) -> Tensor:
    """The region, element by element."""
    for axis, runs in enumerate(region.runs):
        places = [place for run in runs for place in range(run.start, run.start + run.size)]
        whole = whole.index_select(axis, torch.tensor(places, dtype=torch.int64))
    return whole


def empty_for(region: Region, dtype: torch.dtype, turned: bool, device: torch.device = CPU) -> Tensor:
    """A tensor for a region, turned if its axes lie in memory in the opposite order."""
    if not turned:
        return torch.empty(region.size, dtype=dtype, device=device)
    axes = tuple(range(len(region.size)))[::-1]
    return torch.full(region.size[::-1], -9.0, dtype=dtype, device=device).permute(axes)


def numbers(shape: Sequence[int]) -> Tensor:
    return torch.arange(math.prod(shape)).view(tuple(shape))


@given(region=regions())
def test_a_region_knows_its_elements_and_blocks_tile_them(region: Region) -> None:
    whole = numbers(region.shape)
    expected = taken(region, whole)
    assert region.size == tuple(expected.shape)
    assert torch.equal(region.select(whole), expected)
    found, again = torch.full(region.size, -1), torch.full(region.shape, -1)
    for view, first, steps in region.blocks(found):
        assert view.eq(-1).all()
        index = torch.tensor(first)
        for size, step in zip(view.shape, steps, strict=True):
            index = index.unsqueeze(-1) + torch.arange(size) * step
        view.copy_(index)
    assert torch.equal(found, expected)
    region.put(again, found)
    assert torch.equal(again, torch.where(torch.isin(whole, expected), whole, -1))


def test_equal_runs_at_equal_distances_are_one_block() -> None:
    region = Region.of_ranges((4096, 8), [[range(start, start + 2) for start in range(0, 4096, 8)], [range(8)]])
    assert len(list(region.blocks(torch.empty(region.size)))) == 1


@given(region=regions(), corners=st.tuples(st.integers(0, 8), st.integers(0, 8)))
def test_a_region_meets_a_box_that_holds_one_of_its_elements(region: Region, corners: tuple[int, int]) -> None:
    whole = numbers(region.shape)
    low = [min(*corners, size - 1) for size in region.shape]
    high = [min(max(corners), size - 1) for size in region.shape]
    box = whole[tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))]
    met = bool(torch.isin(taken(region, whole), box.contiguous()).any())
    assert region.meets(int(whole[tuple(low)]), int(whole[tuple(high)])) == met


@given(
    region=regions(),
    piece=st.sampled_from([1, 2, 7, 1 << 18]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    transform=st.sampled_from([NORMAL, TAIL]),
    turned=st.booleans(),
)
@example(Region.of_ranges((4, 6), [[range(2, 3)], [range(1, 4)]]), 1 << 18, torch.float32, NORMAL, False)
# Rows that begin in either half of a word.
@example(Region.of_ranges((5, 7), [[range(5)], [range(1, 4)]]), 1 << 18, torch.float32, NORMAL, False)
@pytest.mark.usefixtures("blocks_of_8")
def test_a_region_draws_what_the_whole_has_there(
    region: Region, piece: int, dtype: torch.dtype, transform: Transform, turned: bool
) -> None:
    whole = torch.empty(region.shape)
    Sampler(CPU, use_kernel=False).draw_into(whole, KEY, transform)
    out = empty_for(region, dtype, turned)
    Sampler(CPU, piece, use_kernel=False).draw_region(out, KEY, transform, region)
    assert torch.equal(out, taken(region, whole).to(dtype))


@pytest.mark.parametrize(
    ("shape", "places"),
    [
        ((3, 2 * BLOCK + 5), [[range(3)], [range(BLOCK - 3, 2 * BLOCK + 2)]]),
        ((700, 2000), [[range(700)], [range(500, 1000)]]),
        ((901, 1333), [[range(901)], [range(444, 667)]]),
        ((64, 9, 3001), [[range(3, 60)], [range(9)], [range(1, 2)]]),
        ((2000, 600), [[range(250), range(1000, 1250)], [range(600)]]),
        ((40_000, 30), [[range(start, start + 3) for start in range(0, 40_000, 8)], [range(30)]]),
    ],
    ids=lambda given: str(given)[:20],
)
def test_regions_of_large_tensors(shape: tuple[int, ...], places: Places) -> None:
    region, whole = Region.of_ranges(shape, places), torch.empty(shape)
    Sampler(CPU).draw_into(whole, KEY, NORMAL)
    out = torch.empty(region.size)
    Sampler(CPU).draw_region(out, KEY, NORMAL, region)
    assert torch.equal(out, taken(region, whole))


@given(
    axis=st.integers(0, 1),
    repeats=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    data=st.data(),
)
def test_a_part_of_a_region_draws_what_the_part_has_there(
    axis: int, repeats: int, sizes: list[int], data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(sizes) - 1))
    start, size, length = sum(sizes[:number]), sizes[number], repeats * sum(sizes)
    shape = (length, 5) if axis == 0 else (5, length)
    region = Region.of_ranges(shape, [data.draw(ranges(each)) for each in shape])

    def part_of(tensor: Tensor) -> Tensor:
        return tensor.unflatten(axis, (repeats, -1)).narrow(axis + 1, start, size)  # type: ignore[no-untyped-call]

    whole = torch.zeros(shape)
    Sampler(CPU).draw_into(part_of(whole), KEY, NORMAL)
    out = torch.zeros(region.size)
    Sampler(CPU).draw_region(out, KEY, NORMAL, region.part(axis, repeats, start, size))
    assert torch.equal(out, taken(region, whole))
