"""What a rank holds of a `DTensor`: as `fully_shard`, `parallelize_module`, `distribute_tensor` split it, or refused.

The ranks are those of a fake process group: one process takes the place of each in turn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import Placement, _StridedShard

from autoinit import StateError, autoinit, initialize, plan
from autoinit.applying.sharding import Split, held, is_unambiguous, region_of, unknown_layout
from autoinit.sampling import mixing
from tests.ranks import one_of

ROWS = range(1, 26)
NORMAL = dict(type="Normal", layer="Linear", std=0.02)


def chunk(places: list[int], count: int, index: int) -> list[int]:
    length = -(-len(places) // count)
    return places[index * length : (index + 1) * length]


def by_placements(places: list[int], splits: tuple[Split, ...], rank: tuple[int, ...]) -> list[int]:
    """From left to right, element by element."""
    for (ranks, factor), index in zip(splits, rank, strict=True):
        pieces = [chunk(places, factor, number) for number in range(factor)]
        places = [place for piece in pieces for place in chunk(piece, ranks, index)]
    return places


def by_fsdp(places: list[int], splits: tuple[Split, ...], rank: tuple[int, ...]) -> list[int]:
    """The first split last."""
    return chunk(by_placements(places, splits[1:], rank[1:]), splits[0].ranks, rank[0])


def ranks_of(splits: tuple[Split, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(split.ranks) for split in splits))


@given(
    size=st.integers(0, 60),
    splits=st.lists(st.builds(Split, st.integers(1, 5), st.integers(1, 5)), max_size=3).map(tuple),
)
def test_positions_are_those_of_chunks_of_chunks(size: int, splits: tuple[Split, ...]) -> None:
    for rank in ranks_of(splits):
        found = held(size, splits, rank)
        assert [place for each in found for place in each] == by_placements([*range(size)], splits, rank)
        assert all(one.stop < other.start for one, other in itertools.pairwise(found))


@given(size=st.integers(0, 200), data=st.integers(2, 9), tensor=st.lists(st.integers(1, 5), min_size=1, max_size=2))
def test_a_layout_is_ambiguous_where_the_orders_differ(size: int, data: int, tensor: list[int]) -> None:
    later = tuple(Split(ranks) for ranks in tensor)
    splits = (Split(data, math.prod(tensor)), *later)
    places = [*range(size)]
    agree = all(by_placements(places, splits, rank) == by_fsdp(places, splits, rank) for rank in ranks_of(splits))
    assert is_unambiguous(size, splits) == agree


def numbered(*shapes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers, each of whose elements is its own index."""
    model = nn.Sequential(*(nn.Linear(columns, rows, bias=False) for rows, columns in shapes))
    for layer in model:
        layer.weight.data = torch.arange(layer.weight.numel(), dtype=torch.float32).view(layer.weight.shape)
    return model


def locals_of(model: nn.Module) -> list[Tensor]:
    return [param._local_tensor.clone() for param in model.parameters() if isinstance(param, DTensor)]


def check_values(model: nn.Module, whole: nn.Module, held: list[Tensor]) -> None:
    """What each shard gets is what the whole has at the indices that it held."""
    initialize(model, NORMAL, seed=3)
    for local, indices, param in zip(locals_of(model), held, whole.parameters(), strict=True):
        assert torch.equal(local, param.detach().flatten()[indices.long()])


SOME = ((3, 2), (2, 3))
MESHES = pytest.mark.parametrize(
    ("dp", "tp"),
    [
        pytest.param(*sizes, marks=[] if sizes in SOME else pytest.mark.slow)
        for sizes in itertools.product(range(1, 6), repeat=2)
    ],
)


@MESHES
def test_fsdp_over_tensor_parallelism(dp: int, tp: int) -> None:
    whole = numbered(*((rows, 2) for rows in ROWS))
    initialize(whole, NORMAL, seed=3)
    splits = (Split(dp, tp), Split(tp))
    unclear = [rows for rows in ROWS if not is_unambiguous(rows, splits)]
    for rank in range(dp * tp):
        with one_of(dp * tp, rank):
            mesh = init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))
            model = numbered(*((rows, 2) for rows in ROWS))
            parallelize_module(model, mesh["tp"], {"*": ColwiseParallel()}, src_data_rank=None)
            fully_shard(model, mesh=mesh["dp"])
            assert [rows for rows, layer in zip(ROWS, model, strict=True) if unknown_layout(layer.weight)] == unclear
            for rows in unclear:
                model[rows - 1] = whole[rows - 1] = nn.Identity()
            check_values(model, whole, locals_of(model))


def test_shards_of_different_dimensions_and_replicas() -> None:
    for rank in range(8):
        with one_of(8, rank):
            mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("replicas", "dp", "tp"))
            model, whole = numbered((12, 6), (6, 12), (7, 5)), numbered((12, 6), (6, 12), (7, 5))
            styles = {"0": ColwiseParallel(), "1": RowwiseParallel()}
            parallelize_module(model, mesh["tp"], styles, src_data_rank=None)
            model[2].weight = nn.Parameter(
                distribute_tensor(model[2].weight.data, mesh["tp"], [Replicate()], src_data_rank=None)
            )
            fully_shard(model, mesh=mesh["replicas", "dp"])
            initialize(whole, NORMAL, seed=3)
            check_values(model, whole, locals_of(model))


placements = st.one_of(
    st.builds(Shard, st.integers(0, 1)),
    st.builds(lambda dim, factor: _StridedShard(dim, split_factor=factor), st.integers(0, 1), st.integers(2, 4)),
    st.just(Replicate()),
)


@given(
    shape=st.tuples(st.integers(1, 25), st.integers(1, 9)),
    layout=st.lists(st.tuples(placements, st.integers(1, 4)), min_size=1, max_size=3),
    data=st.data(),
)
def test_whatever_is_distributed_by_placements(
    shape: tuple[int, int], layout: list[tuple[Placement, int]], data: st.DataObject
) -> None:
    sizes = tuple(size for _, size in layout)
    with one_of(math.prod(sizes), data.draw(st.integers(0, math.prod(sizes) - 1))):
        mesh, whole = init_device_mesh("cpu", sizes), torch.arange(math.prod(shape)).view(shape)
        tensor = distribute_tensor(whole, mesh, [each for each, _ in layout], src_data_rank=None)
        assert torch.equal(region_of(tensor).select(whole), tensor._local_tensor)
        reason = unknown_layout(tensor)
        assert reason is None or "does not divide evenly" in reason


class Interleaved(Shard):
    """A placement of another library."""


def with_weight(tensor: Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(6, 8, bias=False))
    model[1].weight = nn.Parameter(tensor)
    return model


@pytest.mark.parametrize(
    ("placement", "rows", "message"),
    [
        (Partial(), 8, r"1\.weight has the placement Partial\(.*: ranks hold summands"),
        (Interleaved(0), 4, r"1\.weight has the placement .*, which autoinit does not know"),
        (Shard(0), 3, r"1\.weight of shape \(8, 6\) .*should have shape \(4, 6\) on this rank, and has \(3, 6\)"),
    ],
    ids=["partial", "unknown", "mis-sized"],
)
@pytest.mark.parametrize("way", ["initialize", "apply", "block"])
def test_a_layout_that_is_not_known_is_refused(placement: Placement, rows: int, message: str, way: str) -> None:
    with one_of(2, 0):
        mesh = init_device_mesh("cpu", (2,))

        def build() -> nn.Sequential:
            part = DTensor.from_local(torch.zeros(rows, 6), mesh, [Shard(0)], shape=torch.Size((8, 6)), stride=(6, 1))
            part._spec.placements = (placement,)
            return with_weight(part)

        decided, model = plan(with_weight(torch.zeros(8, 6)), NORMAL), build()
        before = [model[0].weight.detach().clone(), model[1].weight._local_tensor]
        with pytest.raises(StateError, match=message) as caught:
            if way == "initialize":
                initialize(model, NORMAL, seed=0)
            elif way == "apply":
                decided.apply(model, seed=0)
            else:
                with autoinit(NORMAL, seed=0):
                    in_block = build()
                assert not in_block[1].weight._local_tensor.any()
        assert caught.value.fqn == "1.weight"
        assert torch.equal(before[0], model[0].weight) and not before[1].any()


def test_sizes_that_fsdp_splits_otherwise_than_its_placements_say_are_refused_on_every_rank() -> None:
    for rank in range(6):
        with one_of(6, rank):
            mesh = init_device_mesh("cpu", (3, 2), mesh_dim_names=("dp", "tp"))
            model = numbered((8, 2), (7, 2))
            parallelize_module(model, mesh["tp"], {"*": ColwiseParallel()}, src_data_rank=None)
            fully_shard(model, mesh=mesh["dp"])
            before = locals_of(model)
            with pytest.raises(
                StateError, match=r"1\.weight of shape \(7, 2\).* does not divide evenly along dimension 0"
            ):
                initialize(model, NORMAL, seed=0)
            assert all(map(torch.equal, before, locals_of(model)))


def wrapped(world: int = 2, **options: Any) -> FullyShardedDataParallel:
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    ignored = [net[0]] if options.pop("ignore", False) else None
    return FullyShardedDataParallel(net, device_id=torch.device("cpu"), ignored_modules=ignored, **options)


@pytest.mark.parametrize("original", [True, False])
@pytest.mark.parametrize("scheme", ["Normal", "Xavier", "Orthogonal"])
def test_flat_parameters_are_refused(original: bool, scheme: str) -> None:
    cfg = dict(type=scheme, layer="Linear", name="1")
    with one_of(2, 1):
        model = wrapped(use_orig_params=original)
        before = [param.detach().clone() for param in model.parameters()]
        refused = partial(pytest.raises, StateError, match=r"^1\.weight is kept in a flat parameter")
        with refused() as caught:
            initialize(model, cfg)
        assert (caught.value.fqn, caught.value.origin) == ("1.weight", "init_cfg")
        with refused():
            plan(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), cfg).apply(model)
        assert all(map(torch.equal, before, model.parameters()))
        with refused():  # The wrapped module by itself, without the wrapper.
            initialize(model.module, cfg)
        with refused(), autoinit(cfg):
            model = wrapped(use_orig_params=original)


@pytest.mark.filterwarnings("ignore:The `NO_SHARD` sharding strategy is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("options", "layer"),
    [
        (dict(use_orig_params=True, ignore=True), 0),
        (dict(use_orig_params=False, ignore=True), 0),
        (dict(use_orig_params=True, sharding_strategy=ShardingStrategy.NO_SHARD), 1),
    ],
    ids=["ignored", "ignored beside flat ones", "not sharded"],
)
def test_what_fsdp_leaves_whole_is_filled(options: dict[str, Any], layer: int) -> None:
    with one_of(2, 1):
        model = wrapped(**options)
        initialize(model, dict(type="Constant", val=7, layer="Linear", name=str(layer)))
        assert model.module[layer].weight.eq(7).all()
        with autoinit([]):
            wrapped(**options)


@pytest.mark.parametrize(
    ("scheme", "placement", "share"),
    # Of the orthogonal one it computes the maps of which it has a part: rows 120 to 143 of 192 are of k and of v.
    [("Xavier", Shard(0), 3 / 8), ("Xavier", Shard(1), 3 / 8), ("Orthogonal", Shard(0), 2)],
    ids=str,
)
def test_a_rank_draws_only_its_elements_of_a_fused_weight(
    scheme: str, placement: Placement, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, finish = 0, mixing.finish

    def counting(drawn: Tensor) -> None:
        nonlocal words
        words += drawn.numel()
        finish(drawn)

    monkeypatch.setattr("autoinit.sampling.sampler.finish", counting)
    monkeypatch.setattr("autoinit.sampling.sampler.kernel_on", lambda device: None)  # It counts for itself.
    with one_of(8, 5):
        mesh, model = init_device_mesh("cpu", (8,)), nn.MultiheadAttention(64, 4, bias=False)
        part = distribute_tensor(model.in_proj_weight.data, mesh, [placement], src_data_rank=None)
        model.in_proj_weight = nn.Parameter(part)
        initialize(model, dict(type=scheme, params="in_proj_weight", fan="layer"), seed=0)
    assert words == share * 64 * 64 // 2  # Two values a word.
