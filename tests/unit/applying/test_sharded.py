"""Parameters that are spread over ranks: each rank gets its part of the values that the whole has (S1, S5).

torch's own `nn.init.normal_` gives every shard on a CPU mesh the same numbers (pytorch/pytorch#196562).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import Placement

from autoinit import Report, StateError, autoinit, initialize, plan, verify
from autoinit.applying.sharding import local_of, region_of
from tests.ranks import WORLD, Ranks

CFG: list[dict[str, Any]] = [
    dict(type="TruncNormal", layer="Linear", std=0.5),
    dict(type="Orthogonal", layer="Linear", name="2"),
    dict(type="Constant", val=2, layer="LayerNorm"),
    dict(type="Xavier", layer="MultiheadAttention", params="in_proj_weight", fan="layer"),
]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.stop()


class Net(nn.Sequential):
    """Sizes that four ranks do not divide, and one of which some of them get nothing."""

    def __init__(self) -> None:
        attention = nn.MultiheadAttention(8, 2, bias=False)
        super().__init__(nn.Linear(10, 7), nn.LayerNorm(2), nn.Linear(7, 9, bias=False), attention)


class Own(Net):
    def init_weights(self) -> None:
        self[0].weight.to_local().detach().fill_(7)  # type: ignore[union-attr, operator]
        nn.init.zeros_(self[0].bias)  # type: ignore[arg-type]


def spread(model: nn.Module, placements: list[Placement], shape: tuple[int, ...]) -> None:
    """Replace every parameter by this rank's part of it."""
    mesh = init_device_mesh("cpu", shape)
    for module in model.modules():
        for name, param in list(module._parameters.items()):
            if param is not None:
                fitting = [Replicate() if p.is_shard(1) and param.dim() < 2 else p for p in placements]
                part = distribute_tensor(param.detach(), mesh, fitting, src_data_rank=None)
                module._parameters[name] = nn.Parameter(part)


def assert_parts(model: nn.Module, whole: nn.Module, report: Report) -> None:
    """Every rank's part, and all of them together, are those of the whole model."""
    assert set(report.outcomes) == {"filled"}
    for fqn, param in model.named_parameters():
        expected = whole.get_parameter(fqn)
        assert isinstance(param, DTensor)
        assert torch.equal(param.to_local(), region_of(param).select(expected)), fqn
        assert torch.equal(param.full_tensor(), expected), fqn


def whole_net() -> nn.Module:
    whole = Net()
    initialize(whole, CFG, seed=3)
    return whole


def check_placements(number: int, placements: list[Placement], mesh: tuple[int, ...]) -> None:
    model = Net()
    spread(model, placements, mesh)
    assert_parts(model, whole_net(), initialize(model, CFG, seed=3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("placements", "mesh"),
    [
        ([Shard(0)], (4,)),
        ([Shard(1)], (4,)),
        ([Replicate()], (4,)),
        ([Shard(0), Shard(1)], (2, 2)),
        ([Shard(1), Shard(0)], (2, 2)),
        ([Shard(0), Shard(0)], (2, 2)),
        ([Replicate(), Shard(1)], (2, 2)),
    ],
    ids=str,
)
def test_every_rank_has_its_part_of_the_whole(ranks: Ranks, placements: list[Placement], mesh: tuple[int, ...]) -> None:
    ranks.run(check_placements, placements, mesh)


def check_fully_shard(number: int) -> None:
    with torch.device("meta"):
        model = Net()
    decided = plan(model, CFG)
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    model.to_empty(device="cpu")
    versions = {fqn: param._version for fqn, param in model.named_parameters()}
    assert_parts(model, whole_net(), decided.apply(model, seed=3))
    assert all(param._version > versions[fqn] for fqn, param in model.named_parameters())


@pytest.mark.slow
def test_fully_shard_from_the_meta_device(ranks: Ranks) -> None:
    ranks.run(check_fully_shard)


class Padded(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Embedding(10, 6, padding_idx=7), nn.Linear(6, 10), nn.EmbeddingBag(5, 3, padding_idx=0))


def check_padding(number: int, placements: list[Placement], mesh: tuple[int, ...]) -> None:
    cfg = dict(type="Normal", layer=["Embedding", "EmbeddingBag", "Linear"])
    whole, model = Padded(), Padded()
    initialize(whole, cfg, seed=3)
    spread(model, placements, mesh)
    report = initialize(model, cfg, seed=3)
    assert_parts(model, whole, report)
    assert not model[0].weight.full_tensor()[7].any()  # type: ignore[union-attr, operator]
    assert verify(model, report).ok


@pytest.mark.slow
@pytest.mark.parametrize(
    ("placements", "mesh"),
    [([Shard(0)], (WORLD,)), ([Shard(1)], (WORLD,)), ([Replicate()], (WORLD,)), ([Shard(0), Shard(1)], (2, 2))],
    ids=str,
)
def test_the_row_for_padding_is_zero_on_the_rank_that_has_it(
    ranks: Ranks, placements: list[Placement], mesh: tuple[int, ...]
) -> None:
    ranks.run(check_padding, placements, mesh)


def check_function(number: int) -> None:
    def scaled_(tensor: torch.Tensor) -> None:
        if not hasattr(tensor, "left_alone"):
            tensor.fill_(tensor.width)  # type: ignore[attr-defined]

    model = nn.Sequential(nn.Linear(6, 10, bias=False), nn.Linear(6, 10, bias=False))
    spread(model, [Shard(0)], (WORLD,))
    before = model[1].weight.to_local().detach().clone()  # type: ignore[union-attr, operator]
    model[0].weight.width, model[1].weight.left_alone = 3, True  # type: ignore[union-attr]
    initialize(model, dict(type=scaled_, layer="Linear"))
    assert (model[0].weight.to_local() == 3).all()  # type: ignore[union-attr, operator]
    assert torch.equal(model[1].weight.to_local(), before)  # type: ignore[union-attr, operator, arg-type]


@pytest.mark.slow
def test_a_function_finds_the_attributes_and_the_values_of_this_ranks_part(ranks: Ranks) -> None:
    ranks.run(check_function)


def check_two_dimensional(number: int) -> None:
    whole = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
    initialize(whole, CFG[0], seed=3)
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    report = initialize(model, CFG[0], seed=3)
    assert all(len(param.placements) == 2 for param in model.parameters())  # type: ignore[attr-defined]
    assert_parts(model, whole, report)


@pytest.mark.slow
def test_a_part_of_a_part_of_tensor_parallel_layers(ranks: Ranks) -> None:
    ranks.run(check_two_dimensional)


def check_block(number: int) -> None:
    with autoinit(CFG, seed=3) as run:
        model = Net()
        spread(model, [Shard(0)], (WORLD,))
    assert_parts(model, whole_net(), run.report)


@pytest.mark.slow
def test_what_is_spread_inside_a_block_gets_its_values_there(ranks: Ranks) -> None:
    ranks.run(check_block)


def check_own(number: int) -> None:
    model = Own()
    spread(model, [Shard(0)], (WORLD,))
    report = initialize(model, CFG, seed=0, own_init="run")
    assert [fqn for fqn, entry in report.items() if entry.outcome == "own init_weights"] == ["0.weight", "0.bias"]
    assert model[0].weight.to_local().eq(7).all()  # type: ignore[union-attr, operator]


@pytest.mark.slow
def test_own_init_weights_is_credited(ranks: Ranks) -> None:
    ranks.run(check_own)


def check_computed(number: int) -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    spread(model, [Shard(0)], (WORLD,))
    with pytest.raises(StateError, match=r"0\.weight is computed from tensors that are spread over ranks"):
        initialize(model, CFG[0])


@pytest.mark.slow
def test_a_computed_weight_is_refused(ranks: Ranks) -> None:
    ranks.run(check_computed)


def check_seeds(number: int) -> None:
    torch.manual_seed(number)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    fully_shard(model)
    report = initialize(model, dict(type="Normal", layer="Linear"))
    seeds: list[Any] = [None] * WORLD
    dist.all_gather_object(seeds, report.seed)
    assert len(set(seeds)) == 1
    alone = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    initialize(alone, dict(type="Normal", layer="Linear"), seed=report.seed)
    weight = model[0].weight.full_tensor()  # type: ignore[operator, union-attr]
    assert torch.equal(weight, alone[0].weight)
    # |r| of 1024 independent pairs is below 0.2 but for one case in a billion, and there are six.
    pairs = torch.corrcoef(weight.view(WORLD, -1)) - torch.eye(WORLD)
    assert pairs.abs().max() < 0.2


@pytest.mark.slow
def test_ranks_that_were_seeded_differently_agree_on_a_seed_and_have_different_parts(ranks: Ranks) -> None:
    ranks.run(check_seeds)


def check_seeds_on_two_meshes(number: int) -> None:
    torch.manual_seed(number)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(4, 4))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
    fully_shard(model[1], mesh=mesh["dp"])
    report = initialize(model, dict(type="Normal", layer="Linear"))
    seeds: list[Any] = [None] * WORLD
    dist.all_gather_object(seeds, report.seed)
    assert len(set(seeds)) == 1


@pytest.mark.slow
def test_ranks_agree_over_all_meshes_of_a_model(ranks: Ranks) -> None:
    ranks.run(check_seeds_on_two_meshes)


def check_blocks_seed(number: int) -> None:
    torch.manual_seed(number)
    with autoinit(dict(type="Normal", layer="Linear")) as run:
        if number == 1:
            alone = nn.Linear(4, 4)
            alone(torch.zeros(4))
        model = nn.Sequential(nn.Linear(6, 8))
        spread(model, [Shard(0)], (WORLD,))
    seeds: list[Any] = [None] * WORLD
    dist.all_gather_object(seeds, run.reports[-1].seed)
    assert len(set(seeds)) == 1
    assert number != 1 or run.reports[0].seed != seeds[0]


@pytest.mark.slow
def test_ranks_agree_in_a_block_though_one_has_drawn_a_seed_already(ranks: Ranks) -> None:
    ranks.run(check_blocks_seed)


def check_alone(number: int) -> None:
    if number == 0:
        with autoinit(dict(type="Normal", layer="Linear")):
            model = nn.Linear(4, 4)
        initialize(model, dict(type="Normal", layer="Linear"))
    dist.barrier()


@pytest.mark.slow
def test_a_rank_that_builds_alone_waits_for_no_other(ranks: Ranks) -> None:
    ranks.run(check_alone)


def check_disagreement(number: int, cfgs: list[Any], seeds: list[int | None], message: str, way: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2), nn.LayerNorm(2))
    spread(model[:2], [Shard(0)], (WORLD,))
    before = [local_of(param).detach().clone() for param in model.parameters()]
    cfg, seed = cfgs[number % 2], seeds[number % 2]
    with pytest.raises(StateError, match=message):
        if way == "initialize":
            initialize(model, cfg, seed=seed)
        elif way == "apply":
            plan(model, cfg).apply(model, seed=seed)
        else:
            with autoinit(cfg, seed=seed):
                first = nn.Linear(3, 3)
                model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2))
                spread(model, [Shard(0)], (WORLD,))
                untouched = first.weight.detach().clone()
    if way == "block":
        assert torch.equal(first.weight, untouched)
    else:
        assert all(map(torch.equal, before, map(local_of, model.parameters())))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["initialize", "apply", "block"])
@pytest.mark.parametrize(
    ("cfgs", "seeds", "message"),
    [
        (
            [dict(type="Normal", layer="Linear", std=0.1), dict(type="Normal", layer="Linear", std=0.2)],
            [0, 0],
            r"0\.weight.*: the ranks that share it plan different things: Normal\(mean=0.0, std=0.[12]\) on this rank",
        ),
        (
            [dict(type="Normal", layer="Linear"), dict(type="Normal", layer="Linear", name="0")],
            [None, None],
            r"1\.weight.*: the ranks that share it plan different things: .*kept on (this|another)",
        ),
        (
            [dict(type="Normal", layer="Linear")] * 2,
            [0, 1],
            r"seed: the ranks that share it .*: [01] on this rank",
        ),
        (
            [dict(type="Normal", layer="Linear")] * 2,
            [0, None],
            r"seed: the ranks that share it .*: (0|None) on this",
        ),
    ],
    ids=["fill", "kept", "seed", "no seed"],
)
def test_ranks_that_plan_different_things_are_refused_together(
    ranks: Ranks, cfgs: list[Any], seeds: list[int | None], message: str, way: str
) -> None:
    ranks.run(check_disagreement, cfgs, seeds, message, way)


def check_different_seeds_of_constants(number: int) -> None:
    model = nn.Sequential(nn.Linear(6, 8))
    spread(model, [Shard(0)], (WORLD,))
    initialize(model, dict(type="Constant", val=7, layer="Linear"), seed=number)
    # A function has another address in each process.
    initialize(model, dict(type=lambda tensor: tensor.fill_(number % 1), layer="Linear"), seed=0)


@pytest.mark.slow
def test_ranks_need_not_agree_on_what_changes_no_value(ranks: Ranks) -> None:
    ranks.run(check_different_seeds_of_constants)


def check_loaded(number: int, path: str) -> None:
    model = Net()
    spread(model, [Shard(1)], (WORLD,))
    assert_parts(model, whole_net(), initialize(model, [dict(type="Pretrained", checkpoint=path)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_checkpoint_is_spread_as_the_parameters_are(ranks: Ranks, tmp_path: Path, name: str) -> None:
    path, state = tmp_path / name, whole_net().state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    ranks.run(check_loaded, str(path))


def check_loaded_by_own_code(number: int, path: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    spread(model, [Shard(0)], (WORLD,))
    initialize(model, [dict(type="Pretrained", checkpoint=path)])
    for fqn, tensor in torch.load(path).items():
        own = model.state_dict()[fqn]
        assert torch.equal(own.full_tensor() if isinstance(own, DTensor) else own, tensor), fqn


@pytest.mark.slow
def test_a_checkpoint_of_layers_with_loading_code_is_spread(ranks: Ranks, tmp_path: Path) -> None:
    state = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)).state_dict()
    torch.save(
        {name: torch.full_like(tensor, 1 + at) for at, (name, tensor) in enumerate(state.items())}, tmp_path / "x"
    )
    ranks.run(check_loaded_by_own_code, str(tmp_path / "x"))


def check_neighbours(number: int) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            memory, mesh = torch.zeros(8), init_device_mesh("cpu", (WORLD,))
            parts = (DTensor.from_local(half, mesh, [Shard(0)]) for half in memory.split(4))
            self.one, self.two = (nn.Parameter(part) for part in parts)

        def init_weights(self) -> None:
            self.two.to_local().detach()[1:3] = 1  # type: ignore[attr-defined]

    report = initialize(Flat(), dict(type="Constant", params=["one", "two"], val=7), own_init="run")
    assert {fqn: entry.outcome for fqn, entry in report.items()} == {"one": "filled", "two": "own init_weights"}


@pytest.mark.slow
def test_parts_that_are_neighbours_in_one_storage_are_told_apart(ranks: Ranks) -> None:
    ranks.run(check_neighbours)


def check_verified(number: int) -> None:
    model = Net()
    spread(model, [Shard(0)], (4,))
    report = initialize(model, CFG, seed=3)
    verdict = verify(model, report)
    assert verdict.ok, verdict.failures


@pytest.mark.slow
def test_shards_are_verified_as_the_whole_that_they_are(ranks: Ranks) -> None:
    ranks.run(check_verified)


def check_same_numbers(number: int) -> None:
    model = nn.Sequential(nn.Linear(32, 64, bias=False))
    spread(model, [Shard(0)], (4,))
    torch.manual_seed(0)
    nn.init.normal_(model[0].weight, std=0.02)
    cfg = dict(type="Normal", layer="Linear", std=0.02)
    failure = verify(model, cfg).failures[0]
    assert failure.test == "repeats"
    assert "48 of 64 slices along axis 0 repeat an earlier one: 16 is a copy of 0" in failure.message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:DTensor random operators may not have complete support on cpu:UserWarning")
def test_shards_that_copy_each_other_are_found(ranks: Ranks) -> None:
    ranks.run(check_same_numbers)
