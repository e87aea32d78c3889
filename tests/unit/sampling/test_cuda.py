"""On a GPU: the values of the CPU, and constructors' fills that wait without anybody noticing (S4, D1, D3)."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit, initialize
from autoinit.checkpoints import open_checkpoint
from autoinit.construction import current_watches
from autoinit.construction.memory import Fill
from autoinit.sampling import Sampler, Transform
from tests.checkpoint_files import FORMATS, Save, assert_same, values
from tests.checkpoint_files import state as contents
from tests.unit.construction.test_deferral import MODELS, SIZE, watched
from tests.unit.sampling.test_kernels import DTYPES, KEY, TRANSFORMS, by_operators, same_bits

if not torch.cuda.is_available():
    pytest.skip("`make gpu` on a GPU", allow_module_level=True)

# Every test of the project that needs CUDA is here or in `test_kernels.py`.
CUDA = torch.device("cuda")
CFG: list[dict[str, Any]] = [
    dict(type="Constant", layer=["LSTM", "BatchNorm2d"], params="*", val=1.0),
    dict(type="Normal", layer="Linear", std=0.02, bias=0.5),
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="TruncNormal", layer="Embedding", std=0.02, a=-0.04, b=0.04),
    dict(type="Orthogonal", layer="LSTM", params="weight_*"),
]


def built() -> nn.Module:
    return nn.Sequential(
        nn.Linear(SIZE, SIZE), nn.Conv2d(3, SIZE, 3), nn.Embedding(SIZE, 70), nn.LSTM(70, 70), nn.BatchNorm2d(7)
    )


def state(model: nn.Module) -> list[Tensor]:
    return [*(tensor.detach().cpu() for tensor in model.state_dict().values()), torch.cuda.get_rng_state()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("use_kernel", [False, True], ids=["operators", "kernel"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_values_are_those_of_the_cpu(transform: Transform, dtype: torch.dtype, use_kernel: bool) -> None:
    out = torch.empty(300_001, dtype=dtype, device=CUDA)
    Sampler(CUDA, use_kernel=use_kernel).draw_into(out, KEY, transform)
    assert same_bits(out.cpu(), by_operators(torch.empty(300_001, dtype=dtype), transform))


def test_a_model_is_the_same_on_both() -> None:
    on_cpu, on_cuda = built(), built().cuda()
    initialize(on_cpu, CFG, seed=3)
    initialize(on_cuda, CFG, seed=3)
    for (name, one), other in zip(on_cpu.named_parameters(), on_cuda.parameters(), strict=True):
        is_exact = not name.startswith("3.")  # An orthogonal matrix is decomposed by the device's own library.
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=0 if is_exact else 1e-5, msg=name)


@pytest.mark.parametrize("name", sorted({*MODELS} - {"compiled"}))
def test_a_block_that_does_nothing_is_not_noticed(name: str) -> None:
    with CUDA:
        torch.manual_seed(1)
        plain = state(MODELS[name]())
        torch.manual_seed(1)
        with watched():
            model = MODELS[name]()
    assert same(state(model), plain)


def test_constructors_fill_nothing_that_the_config_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    whole = Fill.apply
    monkeypatch.setattr(Fill, "apply", lambda fill, storage: (done.append(fill.operator.name), whole(fill, storage))[1])
    with CUDA, autoinit(dict(type="Normal", layer="Linear", std=0.02, bias=0.0), seed=0):
        model = nn.Sequential(*(nn.Linear(SIZE, SIZE) for _ in range(4)))
    assert len(model) == 4
    assert done == []


def test_a_read_sees_what_the_constructor_wrote() -> None:
    with CUDA, watched():
        torch.manual_seed(2)
        first = nn.Linear(SIZE, SIZE)
        largest = float(first.weight.detach().abs().max())
        second = nn.Linear(SIZE, SIZE)
    torch.manual_seed(2)
    plain = [nn.Linear(SIZE, SIZE, device=CUDA) for _ in range(2)]
    assert largest > 0
    assert same(state(nn.Sequential(first, second)), state(nn.Sequential(*plain)))


def test_a_generator_that_is_set_meanwhile() -> None:
    def build() -> nn.Module:
        torch.manual_seed(1)
        first = nn.Linear(SIZE, SIZE)
        torch.cuda.manual_seed(9)
        return nn.Sequential(first, nn.Linear(SIZE, SIZE))

    with CUDA:
        plain = state(build())
        with watched():
            model = build()
    assert same(state(model), plain)


def test_cpu_and_gpu_side_by_side() -> None:
    def build() -> nn.Module:
        torch.manual_seed(1)
        return nn.ModuleList(nn.Linear(SIZE, SIZE, device=device) for device in ("cpu", "cuda", "cpu", "cuda"))

    plain = [*state(build()), torch.get_rng_state()]
    with watched():
        model = build()
    assert same([*state(model), torch.get_rng_state()], plain)


def test_on_a_stream_of_the_users_nothing_waits() -> None:
    with CUDA, watched(), torch.cuda.stream(torch.cuda.Stream()):
        nn.Linear(SIZE, SIZE)
        assert not any(watch.postponed for watch in current_watches())
    torch.cuda.synchronize()


def test_in_a_graph_that_is_captured() -> None:
    model, graph = nn.Linear(SIZE, SIZE, device=CUDA), torch.cuda.CUDAGraph()
    with watched(), torch.cuda.graph(graph):
        model.weight.data.fill_(3.0)
    model.weight.data.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert bool((model.weight == 3).all())


def test_the_same_with_and_without_deferral() -> None:
    results = []
    for defer in (True, False):
        torch.manual_seed(1)
        with CUDA, autoinit(CFG, seed=3, defer=defer):
            model = built()
        results.append(state(model)[:-1])  # Fills that are left out draw nothing from the generator.
    assert same(*results)


def test_a_model_on_two_devices_gets_the_values_of_one() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Conv2d(4, 8, 3))

    cfg = [dict(type="Normal", layer="Linear"), dict(type="Orthogonal", layer="Conv2d")]
    spread, whole = build(), build()
    spread[1].cuda()
    for model in (spread, whole):
        initialize(model, cfg, seed=0)
    for one, other in zip(spread.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-5, rtol=1e-5)
    assert spread[1].weight.is_cuda and not spread[0].weight.is_cuda


@FORMATS
def test_a_checkpoint_is_mapped_to_the_device(save: Save, path: pathlib.Path) -> None:
    save(contents(), path)
    found = values(open_checkpoint(path, map_location="cuda"))
    assert {tensor.device.type for tensor in found.values()} == {"cuda"}
    assert_same({key: found[key].cpu() for key in contents()}, contents())
