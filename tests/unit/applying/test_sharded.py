"""Parameters that are sharded over ranks: each rank gets its part of the values that the whole has (S1, S5).

torch's own `nn.init.normal_` gives every shard on a CPU mesh the same numbers (pytorch/pytorch#196562).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
NORMAL = dict(type="Normal", layer="Linear")
CASES: list[Any] = []


def on_ranks(*cases: tuple[Any, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a check run on four ranks, each of which calls it with its number and the arguments of one case."""

    def register(check: Callable[..., None]) -> Callable[..., None]:
        for number, case in enumerate(cases or [()]):
            CASES.append(pytest.param(check, case, id=f"{check.__name__}-{number}" if case else check.__name__))
        return check

    return register


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


def spread(model: nn.Module, placements: list[Placement], shape: tuple[int, ...] = (WORLD,)) -> None:
    """Replace every parameter by this rank's part of it."""
    mesh = init_device_mesh("cpu", shape)
    for module in model.modules():
        for name, param in list(module._parameters.items()):
            if param is not None:
                fitting = [Replicate() if p.is_shard(1) and param.dim() < 2 else p for p in placements]
                part = distribute_tensor(param.detach(), mesh, fitting, src_data_rank=None)
                module._parameters[name] = nn.Parameter(part)


def gathered(value: object) -> list[Any]:
    values: list[Any] = [None] * WORLD
    dist.all_gather_object(values, value)
    return values


def assert_parts(model: nn.Module, whole: nn.Module, report: Report) -> None:
    """Every rank's part, and all of them together, are those of the whole model."""
    assert set(report.outcomes) == {"filled"}
    for fqn, param in model.named_parameters():
        expected = whole.get_parameter(fqn)
        assert isinstance(param, DTensor)
        assert torch.equal(param.to_local(), region_of(param).select(expected)), fqn
        assert torch.equal(param.full_tensor(), expected), fqn


def filled(model: nn.Module, cfg: Any = CFG) -> nn.Module:
    initialize(model, cfg, seed=3)
    return model


LAYOUTS = [
    ([Shard(0)], (4,)),
    ([Shard(1)], (4,)),
    ([Replicate()], (4,)),
    ([Shard(0), Shard(1)], (2, 2)),
    ([Shard(1), Shard(0)], (2, 2)),
    ([Shard(0), Shard(0)], (2, 2)),
    ([Replicate(), Shard(1)], (2, 2)),
]


@on_ranks(*LAYOUTS)
def every_rank_has_its_part_of_the_whole(number: int, placements: list[Placement], mesh: tuple[int, ...]) -> None:
    model = Net()
    spread(model, placements, mesh)
    report = initialize(model, CFG, seed=3)
    assert_parts(model, filled(Net()), report)
    verdict = verify(model, report)
    assert verdict.ok, verdict.failures


@on_ranks()
def fully_shard_from_the_meta_device(number: int) -> None:
    with torch.device("meta"):
        model = Net()
    decided = plan(model, CFG)
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    model.to_empty(device="cpu")
    versions = {fqn: param._version for fqn, param in model.named_parameters()}
    assert_parts(model, filled(Net()), decided.apply(model, seed=3))
    assert all(param._version > versions[fqn] for fqn, param in model.named_parameters())


@on_ranks(*LAYOUTS[:4])
def the_row_for_padding_is_zero_on_the_rank_that_has_it(
    number: int, placements: list[Placement], mesh: tuple[int, ...]
) -> None:
    def padded() -> nn.Sequential:
        return nn.Sequential(nn.Embedding(10, 6, padding_idx=7), nn.Linear(6, 10), nn.EmbeddingBag(5, 3, padding_idx=0))

    cfg = dict(type="Normal", layer=["Embedding", "EmbeddingBag", "Linear"])
    model = padded()
    spread(model, placements, mesh)
    report = initialize(model, cfg, seed=3)
    assert_parts(model, filled(padded(), cfg), report)
    assert not model[0].weight.full_tensor()[7].any()
    assert verify(model, report).ok


@on_ranks()
def a_function_finds_the_attributes_and_the_values_of_this_ranks_part(number: int) -> None:
    def scaled_(tensor: torch.Tensor) -> None:
        if not hasattr(tensor, "left_alone"):
            tensor.fill_(tensor.width)

    model = nn.Sequential(nn.Linear(6, 10, bias=False), nn.Linear(6, 10, bias=False))
    spread(model, [Shard(0)])
    before = model[1].weight.to_local().detach().clone()
    model[0].weight.width, model[1].weight.left_alone = 3, True
    initialize(model, dict(type=scaled_, layer="Linear"))
    assert (model[0].weight.to_local() == 3).all()
    assert torch.equal(model[1].weight.to_local(), before)


@on_ranks()
def a_part_of_a_part_of_tensor_parallel_layers(number: int) -> None:
    whole, model = (nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8)) for _ in range(2))
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    report = initialize(model, CFG[0], seed=3)
    assert all(len(param.placements) == 2 for param in model.parameters())
    assert_parts(model, filled(whole, CFG[0]), report)


@on_ranks()
def what_is_sharded_inside_a_block_gets_its_values_there(number: int) -> None:
    with autoinit(CFG, seed=3) as run:
        model = Net()
        spread(model, [Shard(0)])
    assert_parts(model, filled(Net()), run.report)


@on_ranks()
def own_init_weights_is_credited(number: int) -> None:
    class Own(Net):
        def init_weights(self) -> None:
            self[0].weight.to_local().detach().fill_(7)
            nn.init.zeros_(self[0].bias)

    model = Own()
    spread(model, [Shard(0)])
    report = initialize(model, CFG, seed=0, own_init="run")
    assert [fqn for fqn, entry in report.items() if entry.outcome == "own init_weights"] == ["0.weight", "0.bias"]
    assert model[0].weight.to_local().eq(7).all()


@on_ranks()
def a_parametrized_weight_is_refused(number: int) -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    spread(model, [Shard(0)])
    with pytest.raises(StateError, match=r"0\.weight is computed from tensors that are spread over ranks"):
        initialize(model, CFG[0])


@on_ranks()
def ranks_that_were_seeded_differently_agree_on_a_seed_and_have_different_parts(number: int) -> None:
    model, alone = (nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)) for _ in range(2))
    fully_shard(model)
    report = initialize(model, NORMAL)
    assert len(set(gathered(report.seed))) == 1
    initialize(alone, NORMAL, seed=report.seed)
    weight = model[0].weight.full_tensor()
    assert torch.equal(weight, alone[0].weight)
    # |r| of 1024 independent pairs is below 0.2 but for one case in a billion, and there are six.
    pairs = torch.corrcoef(weight.view(WORLD, -1)) - torch.eye(WORLD)
    assert pairs.abs().max() < 0.2


@on_ranks()
def ranks_agree_over_all_meshes_of_a_model(number: int) -> None:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(4, 4))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
    fully_shard(model[1], mesh=mesh["dp"])
    assert len(set(gathered(initialize(model, NORMAL).seed))) == 1


@on_ranks()
def ranks_agree_in_a_block_though_one_has_drawn_a_seed_already(number: int) -> None:
    with autoinit(NORMAL) as run:
        if number == 1:
            alone = nn.Linear(4, 4)
            alone(torch.zeros(4))
        model = nn.Sequential(nn.Linear(6, 8))
        spread(model, [Shard(0)])
    seeds = gathered(run.reports[-1].seed)
    assert len(set(seeds)) == 1
    assert number != 1 or run.reports[0].seed != seeds[0]


@on_ranks()
def a_rank_that_builds_alone_waits_for_no_other(number: int) -> None:
    if number == 0:
        with autoinit(NORMAL):
            model = nn.Linear(4, 4)
        initialize(model, NORMAL)
    dist.barrier()


SHARED = "the ranks that share it plan different things: "


@on_ranks(
    *(
        (way, *case)
        for way in ("initialize", "apply", "block")
        for case in (
            # Two configs, two seeds: one for even ranks, one for odd ranks.
            (
                [dict(NORMAL, std=0.1), dict(NORMAL, std=0.2)],
                [0, 0],
                rf"0\.weight.*: {SHARED}Normal\(mean=0.0, std=0.[12]\) on",
            ),
            ([NORMAL, dict(NORMAL, name="0")], [None, None], rf"1\.weight.*: {SHARED}.*kept on (this|another)"),
            ([NORMAL, NORMAL], [0, 1], rf"seed: {SHARED}[01] on this rank"),
            ([NORMAL, NORMAL], [0, None], rf"seed: {SHARED}(0|None) on this"),
        )
    )
)
def ranks_that_plan_different_things_are_refused_together(
    number: int, way: str, cfgs: list[Any], seeds: list[int | None], message: str
) -> None:
    def build() -> nn.Sequential:
        made = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2), nn.LayerNorm(2))
        spread(made[:2], [Shard(0)])
        return made

    cfg, seed = cfgs[number % 2], seeds[number % 2]
    model = build()
    before = [local_of(param).detach().clone() for param in model.parameters()]
    with pytest.raises(StateError, match=message):
        if way == "initialize":
            initialize(model, cfg, seed=seed)
        elif way == "apply":
            plan(model, cfg).apply(model, seed=seed)
        else:
            with autoinit(cfg, seed=seed):
                model, _sharded = nn.Linear(3, 3), build()
                before = [param.detach().clone() for param in model.parameters()]
    assert all(map(torch.equal, before, map(local_of, model.parameters())))


@on_ranks()
def ranks_need_not_agree_on_what_changes_no_value(number: int) -> None:
    model = nn.Sequential(nn.Linear(6, 8))
    spread(model, [Shard(0)])
    initialize(model, dict(type="Constant", val=7, layer="Linear"), seed=number)
    # A function has another address in each process.
    initialize(model, dict(type=lambda tensor: tensor.fill_(number % 1), layer="Linear"), seed=0)


@on_ranks(("net.pt",), ("net.safetensors",))
def a_checkpoint_is_sharded_as_the_parameters_are(number: int, folder: str, name: str) -> None:
    path, state = Path(folder, f"{number} {name}"), filled(Net()).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    model = Net()
    spread(model, [Shard(1)])
    cfg = dict(type="Pretrained", checkpoint=str(path))
    assert_parts(model, filled(Net()), initialize(model, cfg))


@on_ranks()
def a_checkpoint_of_layers_with_loading_code_is_sharded(number: int, folder: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    state = {name: torch.full_like(each, 1 + at) for at, (name, each) in enumerate(model.state_dict().items())}
    torch.save(state, Path(folder, str(number)))
    spread(model, [Shard(0)])
    initialize(model, [dict(type="Pretrained", checkpoint=str(Path(folder, str(number))))])
    for fqn, tensor in state.items():
        own = model.state_dict()[fqn]
        assert torch.equal(own.full_tensor() if isinstance(own, DTensor) else own, tensor), fqn


@on_ranks()
def parts_that_are_neighbours_in_one_storage_are_told_apart(number: int) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            memory, mesh = torch.zeros(8), init_device_mesh("cpu", (WORLD,))
            parts = (DTensor.from_local(half, mesh, [Shard(0)]) for half in memory.split(4))
            self.one, self.two = (nn.Parameter(part) for part in parts)

        def init_weights(self) -> None:
            self.two.to_local().detach()[1:3] = 1

    report = initialize(Flat(), dict(type="Constant", params=["one", "two"], val=7), own_init="run")
    assert {fqn: entry.outcome for fqn, entry in report.items()} == {"one": "filled", "two": "own init_weights"}


@on_ranks()
def shards_that_copy_each_other_are_found(number: int) -> None:
    model = nn.Sequential(nn.Linear(32, 64, bias=False))
    spread(model, [Shard(0)])
    torch.manual_seed(0)
    nn.init.normal_(model[0].weight, std=0.02)
    failure = verify(model, dict(NORMAL, std=0.02)).failures[0]
    assert failure.test == "repeats"
    assert "48 of 64 slices along axis 0 repeat an earlier one: 16 is a copy of 0" in failure.message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:DTensor random operators may not have complete support on cpu:UserWarning")
@pytest.mark.parametrize(("check", "arguments"), CASES)
def test_on_four_ranks(ranks: Ranks, tmp_path: Path, check: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    wants_folder = "folder" in check.__annotations__
    answers = ranks.run(check, *((str(tmp_path),) if wants_folder else ()), *arguments)
    assert len(answers) == len(ranks.processes)
