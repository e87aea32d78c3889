"""Blocks in programs of two gloo processes: collectives in a constructor, and ranks that do not build.

Right: ranks agree where plain construction makes them agree, nothing is left unwritten, what another process sent is
kept (design.md O1, D2, S2).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from autoinit import AutoInitWarning, autoinit
from tests.ranks import Ranks

NORMAL = dict(type="Normal", layer="Linear", std=0.02)


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


def deviation(ranks: list[list[Tensor]], index: int) -> list[float]:
    return [round(rank[index].std().item(), 3) for rank in ranks]


def wrapped_without_rules(rank: int) -> bool:
    plain = values(DistributedDataParallel(Net()))
    torch.manual_seed(rank)
    with autoinit([]):
        model = DistributedDataParallel(Net())
    return same(plain, values(model))


def test_a_model_is_wrapped_by_ddp_without_rules(ranks: Ranks) -> None:
    """pytorch/pytorch#36613: DDP's constructor broadcasts rank 0's tensors, in C++.

    Right: bitwise as plain, on both ranks.
    """
    assert ranks.run(wrapped_without_rules) == [True, True]


def wrapped(rank: int) -> list[Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with autoinit(dict(type="Normal", name="**head", std=0.01), seed=0) as run:
            model = DistributedDataParallel(Net())
    kept = run.report["module.head.weight" if "module.head.weight" in run.report else "head.weight"].outcome.startswith(
        "kept"
    )
    return [*values(model), kept and any(issubclass(warning.category, AutoInitWarning) for warning in caught)]


def test_a_model_is_wrapped_by_ddp_under_a_rule_for_its_head(ranks: Ranks) -> None:
    """karpathy/nanoGPT#22, facebookresearch/moco#8: a script builds and wraps at once.

    Right: ranks agree, the body is torch's default, the head the rule's.
    """
    found = ranks.run(wrapped)
    assert same(found[0][:-1], found[1][:-1]) and deviation(found, 0) == [0.024, 0.024]
    # Or rank 0's default, kept as data on both ranks and warned of.
    assert deviation(found, 4) == [0.01, 0.01] or all(rank[-1] for rank in found)


def loaded_on_rank_0_and_wrapped(rank: int) -> list[Tensor]:
    with autoinit(NORMAL, seed=0):
        model = Net()
        if rank == 0:
            model.load_state_dict({name: torch.full_like(tensor, 7) for name, tensor in model.state_dict().items()})
        model = DistributedDataParallel(model)
    return values(model)


def test_rank_0_loads_and_ddp_tells_the_others(ranks: Ranks) -> None:
    """vllm-project/speculators#711: the checkpoint is read on rank 0 only, DDP's constructor sends it.

    Right: loaded on rank 0, kept on rank 1.
    """
    assert all((tensor == 7).all() for rank in ranks.run(loaded_on_rank_0_and_wrapped) for tensor in rank)


def loaded_on_rank_0_and_sent(rank: int) -> bool:
    with autoinit(NORMAL, seed=0) as run:
        model = Net()
        if rank == 0:
            model.load_state_dict({name: torch.full_like(tensor, 7) for name, tensor in model.state_dict().items()})
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)
    return bool((model.head.weight == 7).all()) and run.report["head.weight"].outcome.startswith("kept")


def test_rank_0_loads_and_broadcasts_each_tensor(ranks: Ranks) -> None:
    """mosaicml/composer#209: checkpoints are downloaded on rank 0 and shared by torch.distributed.

    Right: kept on both.
    """
    assert ranks.run(loaded_on_rank_0_and_sent) == [True, True]


def sent_as_an_object(rank: int) -> bool:
    with autoinit(NORMAL, seed=0) as run:
        model = Net()
        sent = [
            {name: torch.full_like(tensor, 7) for name, tensor in model.state_dict().items()} if rank == 0 else None
        ]
        dist.broadcast_object_list(sent, 0)
        model.load_state_dict(sent[0])
    return bool((model.head.weight == 7).all()) and run.report["head.weight"].outcome.startswith("kept")


def test_a_state_dict_comes_as_an_object(ranks: Ranks) -> None:
    """torch docs, torch.distributed.broadcast_object_list: rank 0 sends a state dict, pickled. Right: kept on both."""
    assert ranks.run(sent_as_an_object) == [True, True]


def averaged_without_rules(rank: int) -> bool:
    def build() -> list[Tensor]:
        torch.manual_seed(rank)
        model = Net()
        for param in model.parameters():
            dist.all_reduce(param.data)
            param.data.div_(2)
        return values(model)

    plain = build()
    with autoinit([]):
        block = build()
    return same(plain, block)


def test_ranks_average_their_initial_weights(ranks: Ranks) -> None:
    """pytorch/tutorials dist_tuto.rst (data parallel without DDP): all_reduce of the first weights.

    Right: bitwise as plain.
    """
    assert ranks.run(averaged_without_rules) == [True, True]


def built_alone(rank: int) -> bool:
    if rank == 0:
        with autoinit(NORMAL):
            model = Net()
    dist.barrier()
    return rank == 1 or abs(model.head.weight.std().item() - 0.02) < 0.002


def test_rank_0_builds_alone_while_the_other_waits(ranks: Ranks) -> None:
    """Lightning-AI/pytorch-lightning#17733: rank 0 works, the others wait at a barrier; no seed is given.

    Right (S2): no hidden communication, both end.
    """
    assert ranks.run(built_alone) == [True, True]
