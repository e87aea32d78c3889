"""Blocks in programs of two gloo processes: collectives in a constructor, and ranks that do not build.

Right: ranks agree where plain construction makes them agree, nothing is left unwritten, what another process sent is
kept (design.md O1, D2, S2).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from autoinit import AutoInitWarning, autoinit
from tests.ranks import Ranks

from . import NORMAL, is_drawn


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    started = Ranks(tmp_path_factory.mktemp("ranks"), world=2)
    yield started
    started.stop()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 64)


def values(module: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in (*module.parameters(), *module.buffers())]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def wrapped() -> list[Tensor]:
    return values(DistributedDataParallel(Net()))


def averaged() -> list[Tensor]:
    model = Net()
    for param in model.parameters():
        dist.all_reduce(param.data)
        param.data.div_(2)
    return values(model)


def is_as_plain(rank: int, build: Callable[[], list[Tensor]]) -> bool:
    torch.manual_seed(rank)
    plain = build()
    torch.manual_seed(rank)
    with autoinit([]):
        return same(plain, build())


@pytest.mark.parametrize("build", [wrapped, averaged])
def test_collectives_in_a_block_without_rules(ranks: Ranks, build: Callable[[], list[Tensor]]) -> None:
    """pytorch/pytorch#36613: DDP's constructor broadcasts rank 0's tensors, in C++; pytorch/tutorials dist_tuto.rst
    (data parallel without DDP): all_reduce of the first weights.

    Right: bitwise as plain, on both ranks.
    """
    assert ranks.run(is_as_plain, build) == [True, True]


def wrapped_under_a_rule(rank: int) -> tuple[list[Tensor], bool]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with autoinit(dict(type="Normal", name="**head", std=0.01), seed=0) as run:
            model = DistributedDataParallel(Net())
    fqn = "module.head.weight" if "module.head.weight" in run.report else "head.weight"
    warned = any(issubclass(warning.category, AutoInitWarning) for warning in caught)
    return values(model), warned and run.report[fqn].outcome.startswith("kept")


def test_a_model_is_wrapped_by_ddp_under_a_rule_for_its_head(ranks: Ranks) -> None:
    """karpathy/nanoGPT#22, facebookresearch/moco#8: a script builds and wraps at once.

    Right: ranks agree, the body is torch's default, the head the rule's.
    """
    (one, kept), (other, kept_too) = ranks.run(wrapped_under_a_rule)
    assert same(one, other) and round(one[0].std().item(), 3) == 0.024
    # Or rank 0's default, kept as data on both ranks and warned of.
    assert round(one[4].std().item(), 3) == 0.01 or (kept and kept_too)


def by_ddp(model: nn.Module, rank: int) -> None:
    """vllm-project/speculators#711: the checkpoint is read on rank 0 only, DDP's constructor sends it."""
    if rank == 0:
        model.load_state_dict(sevens(model))
    DistributedDataParallel(model)


def tensor_by_tensor(model: nn.Module, rank: int) -> None:
    """mosaicml/composer#209: checkpoints are downloaded on rank 0 and shared by torch.distributed."""
    if rank == 0:
        model.load_state_dict(sevens(model))
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)


def as_an_object(model: nn.Module, rank: int) -> None:
    """torch docs, torch.distributed.broadcast_object_list: rank 0 sends a state dict, pickled."""
    sent = [sevens(model) if rank == 0 else None]
    dist.broadcast_object_list(sent, 0)
    model.load_state_dict(sent[0])


def sevens(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, 7) for name, tensor in model.state_dict().items()}


def loaded(rank: int, send: Callable[[nn.Module, int], None]) -> tuple[bool, bool]:
    """Two booleans: all values are those that were loaded; the report says so."""
    with autoinit(NORMAL, seed=0) as run:
        model = Net()
        send(model, rank)
    (outcome,) = (report[fqn].outcome for report in run.reports for fqn in report if fqn.endswith("head.weight"))
    return all(bool((tensor == 7).all()) for tensor in values(model)), outcome.startswith("kept")


@pytest.mark.parametrize("send", [by_ddp, tensor_by_tensor, as_an_object])
def test_rank_0_loads_and_sends(ranks: Ranks, send: Callable[[nn.Module, int], None]) -> None:
    """Right: loaded on rank 0, kept on both; what DDP sends replaces what the rule has filled (I5)."""
    assert ranks.run(loaded, send) == [(True, True), (True, send is not by_ddp)]


def built_alone(rank: int) -> bool:
    if rank == 0:
        with autoinit(NORMAL):
            model = Net()
    dist.barrier()
    return rank == 1 or is_drawn(model.head.weight)


def test_rank_0_builds_alone_while_the_other_waits(ranks: Ranks) -> None:
    """Lightning-AI/pytorch-lightning#17733: rank 0 works, the others wait at a barrier; no seed is given.

    Right (S2): no hidden communication, both end.
    """
    assert ranks.run(built_alone) == [True, True]
