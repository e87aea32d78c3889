"""Deferral where something goes wrong, or goes on beside it: errors, threads, tasks, generators, modes (D3, I4)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from autoinit import autoinit
from autoinit._torch import storage_id
from autoinit.construction import Watch
from autoinit.construction.memory import Fill
from autoinit.construction.operators import TRUNC_NORMAL
from tests.unit.construction.test_deferral import SIZE, Noting, linear, watched


@pytest.fixture(autouse=True)
def no_mode_is_left() -> Iterator[None]:
    """No test begins or ends with a mode on the stack."""
    assert _len_torch_function_stack() == 0
    yield
    assert _len_torch_function_stack() == 0


def tensors(layers: list[nn.Module]) -> list[Tensor]:
    return [param.detach().clone() for layer in layers for param in layer.parameters()] + [torch.get_rng_state()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def plainly(build: Callable[[], list[nn.Module]]) -> list[Tensor]:
    torch.manual_seed(5)
    return tensors(build())


def three() -> list[nn.Module]:
    return [linear(), linear(), nn.Conv2d(SIZE, SIZE, 3)]


class Fails(nn.Module):
    def __init__(self, built: list[nn.Module]) -> None:
        super().__init__()
        built += [linear(), linear()]
        nn.init.normal_(built[0].weight)
        raise RuntimeError("half way")


@pytest.mark.parametrize("cfg", [[], dict(type="Constant", val=3.0, layer="Linear")], ids=["no rules", "rules"])
def test_a_constructor_that_raises_half_way_leaves_what_it_would_have_left(cfg: object) -> None:
    torch.manual_seed(5)
    plain: list[nn.Module] = []
    with pytest.raises(RuntimeError, match="half way"):
        Fails(plain)
    expected = tensors(plain)
    torch.manual_seed(5)
    built: list[nn.Module] = []
    with pytest.raises(RuntimeError, match="half way"), autoinit(cfg):
        Fails(built)
    assert same(tensors(built), expected)


@contextmanager
def older_thread(work: Callable[[], object]) -> Iterator[Callable[[], object]]:
    """A thread that is there before a block; to call the result has it do its work, which is waited for."""
    begin, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (begin.wait(), work(), done.set()))
    thread.start()
    yield lambda: (begin.set(), done.wait())
    thread.join()


def test_what_a_thread_wrote_that_was_there_before_is_not_overwritten() -> None:
    built: list[nn.Linear] = []
    with older_thread(lambda: nn.init.constant_(built[0].weight, 4.0)) as write, watched():
        built += [linear(), linear()]
        write()
    assert (built[0].weight == 4).all()
    assert built[1].weight.isfinite().all() and not (built[1].weight == 4).any()


def test_a_model_that_an_older_thread_calls() -> None:
    built: list[nn.Module] = []
    torch.manual_seed(5)
    with older_thread(lambda: built[0](torch.ones(2, SIZE))) as call, watched():
        built.append(nn.Sequential(linear(), linear()))
        call()
        built.append(linear())
    deferred = tensors(built)
    assert same(deferred, plainly(lambda: [nn.Sequential(linear(), linear()), linear()]))


@pytest.mark.parametrize("how", ["thread", "pool", "waiting pool"])
def test_a_thread_sees_what_the_block_has_built(how: str) -> None:
    expected = plainly(three)[0]
    seen: list[Tensor] = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        if how == "waiting pool":
            pool.submit(int).result()
        torch.manual_seed(5)
        with watched():
            layers = three()
            look = lambda: seen.append(layers[0].weight.detach().clone())  # noqa: E731
            if how == "thread":
                thread = threading.Thread(target=look)
                thread.start()
                thread.join()
            else:
                pool.submit(look).result()
    assert torch.equal(seen[0], expected)


def test_blocks_of_many_threads_at_once() -> None:
    def build(number: int) -> tuple[list[Tensor], list[Tensor]]:
        cfg = dict(type="Normal", std=1 + number, layer="Linear", bias=float(number))
        built = []
        for defer in (True, False):
            with autoinit(cfg, seed=number, defer=defer):
                built.append(nn.Sequential(*(linear() for _ in range(5))))
        return [*built[0].parameters()], [*built[1].parameters()]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for one, other in pool.map(build, range(24)):
            assert same(one, other)


def test_tasks_that_take_turns() -> None:
    async def build(number: int, deferred: bool) -> nn.Module:
        layers = []
        if deferred:
            with autoinit(dict(type="Normal", layer="Linear", params="weight"), seed=number):
                for _ in range(3):
                    layers.append(linear())
                    await asyncio.sleep(0)
        else:
            for _ in range(3):
                layers.append(linear())
                nn.init.constant_(layers[-1].weight, number)
                await asyncio.sleep(0)
        return nn.Sequential(*layers)

    async def all_of_them() -> list[nn.Module]:
        return await asyncio.gather(*(build(number, number % 2 == 0) for number in range(6)))

    for number, model in enumerate(asyncio.run(all_of_them())):
        for layer in model:
            if number % 2:
                assert (layer.weight == number).all()
            else:
                assert 0.95 < layer.weight.std() < 1.05
            assert layer.bias.abs().max() < 1


def test_a_generator_hands_out_what_is_filled() -> None:
    def build() -> Iterator[nn.Module]:
        yield from three()

    torch.manual_seed(5)
    expected = tensors(list(build()))
    torch.manual_seed(5)
    seen: list[Tensor] = []
    layers = []
    for layer in watched()(build)():
        assert _len_torch_function_stack() == 0
        with torch._C.DisableTorchFunction():
            seen += [param.detach().clone() for param in layer.parameters()]
        layers.append(layer)
    assert same([*seen, torch.get_rng_state()], expected)


@pytest.mark.parametrize("way", ["generator", "async generator", "coroutine", "function"])
def test_decorated_functions_that_fail_leave_nothing_unfilled(way: str) -> None:
    expected = plainly(three)
    built: list[nn.Module] = []

    def function() -> None:
        built.extend(three())
        raise RuntimeError("half way")

    def generator() -> Iterator[None]:
        function()
        yield

    async def coroutine() -> None:
        await asyncio.sleep(0)
        function()

    async def async_generator():  # type: ignore[no-untyped-def]
        function()
        yield

    async def exhaust(made: AsyncIterator[None]) -> None:
        async for _ in made:
            pass

    decorated = autoinit(dict(type="Constant", val=1.0, layer="Linear"))
    run = {
        "function": decorated(function),
        "generator": lambda: list(decorated(generator)()),
        "coroutine": lambda: asyncio.run(decorated(coroutine)()),
        "async generator": lambda: asyncio.run(exhaust(decorated(async_generator)())),
    }[way]
    torch.manual_seed(5)
    with pytest.raises(RuntimeError, match="half way"):
        run()
    assert same(tensors(built), expected)


def test_a_mode_that_was_there_before_stays_and_sees_what_it_would_have_seen() -> None:
    def called(*, deferred: bool) -> list[str]:
        with Noting() as mode:
            if deferred:
                with watched():
                    three()
            else:
                three()
            assert _get_current_function_mode_stack() == [mode]
        return mode.called

    assert called(deferred=True) == called(deferred=False)


def test_modes_that_are_left_in_another_order() -> None:
    expected = plainly(three)
    torch.manual_seed(5)
    mode: TorchFunctionMode = Noting()
    mode.__enter__()
    with watched():
        layers = three()[:2]
        mode.__exit__(None, None, None)
        layers.append(nn.Conv2d(SIZE, SIZE, 3))
    assert len(layers) == 3
    torch.manual_seed(5)
    with watched():
        layers = [linear(), linear()]
        with torch.device("cpu"):
            layers.append(nn.Conv2d(SIZE, SIZE, 3))
    assert same(tensors(layers), expected)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_default_devices_around(device: str) -> None:
    with torch.device(device), watched():
        layers = three()
    with watched(), torch.device(device):
        layers += three()
    assert {layer.weight.device.type for layer in layers} == {device}


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_default_device_that_is_set_around_or_within(device: str) -> None:
    try:
        torch.set_default_device(device)
        with watched():
            layers = three()
            torch.set_default_device(None)
            layers += three()
            torch.set_default_device(device)
            layers += three()
    finally:
        torch.set_default_device(None)
    assert [layer.weight.device.type for layer in layers] == 3 * [device] + 3 * ["cpu"] + 3 * [device]


def test_a_fill_that_fails_after_all_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, layers = Watch(), []
    watch.begin()
    for _ in range(2):
        layers.append(nn.Linear(SIZE, SIZE, bias=False))
        watch.watch_functions()
        nn.init.ones_(layers[-1].weight)
    original, memory = Fill.apply, watch.record.find(layers[0].weight)

    def apply(fill: Fill, storage: torch.UntypedStorage | None) -> None:
        if fill.memory is memory:
            raise MemoryError
        original(fill, storage)

    monkeypatch.setattr(Fill, "apply", apply)
    with pytest.raises(MemoryError):
        watch.end()
    assert _len_torch_function_stack() == 0
    assert (layers[1].weight == 1).all(), "what comes after it is filled all the same"
    watch.end()
    assert not watch.postponed


def test_a_small_draw_waits_behind_a_large_one_and_a_small_constant_does_not() -> None:
    with watched() as run:
        postponed = run.watch.postponed
        nn.Linear(3, 3)
        assert not postponed
        large, small, constant = linear(), nn.Linear(3, 3), nn.Parameter(torch.empty(3))
        nn.init.ones_(constant)
        nn.init.zeros_(small.weight)
        with run.watch.aside():
            waits = [storage_id(each) in postponed for each in (*large.parameters(), *small.parameters(), constant)]
        assert waits == [True, True, True, True, False]
        assert not small.weight.any()


def test_a_truncated_normal_is_deferred_as_a_whole() -> None:
    with watched() as run:
        layer = nn.Linear(SIZE, SIZE, bias=False)
        nn.init.trunc_normal_(layer.weight, std=0.02)
        assert [fill.operator for fill in run.watch.postponed.draws.values()][1:] == [TRUNC_NORMAL]


@pytest.mark.parametrize(
    "look",
    [bool, lambda w: w.new_tensor(1.0), nn.functional.relu, lambda w: torch.meshgrid(w, indexing="ij")],
    ids=("bool", "new_tensor", "relu", "meshgrid"),
)
def test_who_computes_with_a_weight_does_not_get_its_address(look: Callable[[torch.Tensor], object]) -> None:
    with watched() as run:
        layer = nn.Linear(SIZE, SIZE, bias=False)
        weight = nn.Parameter(torch.empty(1))
        look(weight if look is bool else layer.weight.detach().flatten())
        nn.init.ones_(layer.weight)
        assert run.watch.postponed
    assert (layer.weight == 1).all()
