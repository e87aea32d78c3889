"""Deferral where something goes wrong, or goes on beside it: errors, threads, tasks, generators, modes (D3, I4)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from autoinit import autoinit
from autoinit.deferral import Deferrer

from .test_deferral import SIZE, Noting, linear


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


def test_an_error_that_is_caught_in_the_block_changes_nothing() -> None:
    torch.manual_seed(5)
    plain: list[nn.Module] = []
    with pytest.raises(RuntimeError, match="half way"):
        Fails(plain)
    plain += [linear()]
    expected = tensors(plain)
    torch.manual_seed(5)
    built: list[nn.Module] = []
    with autoinit([]):
        with pytest.raises(RuntimeError, match="half way"):
            Fails(built)
        built += [linear()]
    assert same(tensors(built), expected)


def test_what_a_thread_wrote_that_was_there_before_is_not_overwritten() -> None:
    begin, done = threading.Event(), threading.Event()
    built: list[nn.Linear] = []

    def write() -> None:
        begin.wait()
        nn.init.constant_(built[0].weight, 4.0)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    with autoinit([]):
        built += [linear(), linear()]
        begin.set()
        done.wait()
    thread.join()
    assert (built[0].weight == 4).all()
    assert built[1].weight.isfinite().all() and not (built[1].weight == 4).any()


def test_a_model_that_an_older_thread_calls() -> None:
    begin, done, built = threading.Event(), threading.Event(), []

    def call() -> None:
        begin.wait()
        built[0](torch.ones(2, SIZE))
        done.set()

    thread = threading.Thread(target=call)
    thread.start()
    torch.manual_seed(5)
    with autoinit([]):
        built.append(nn.Sequential(linear(), linear()))
        begin.set()
        done.wait()
        built.append(linear())
    thread.join()
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
        with autoinit([]):
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
    for layer in autoinit([])(build)():
        assert _len_torch_function_stack() == 0
        with torch._C.DisableTorchFunction():
            seen += [param.detach().clone() for param in layer.parameters()]
        layers.append(layer)
    assert same([*seen, torch.get_rng_state()], expected)


@pytest.mark.parametrize("way", ["generator", "async generator", "coroutine", "function"])
def test_decorated_functions_that_fail_leave_nothing_unfilled(way: str) -> None:
    expected = plainly(three)
    built: list[nn.Module] = []

    @autoinit(dict(type="Constant", val=1.0, layer="Linear"))
    def function() -> None:
        built.extend(three())
        raise RuntimeError("half way")

    @autoinit(dict(type="Constant", val=1.0, layer="Linear"))
    def generator() -> Iterator[None]:
        built.extend(three())
        if built:
            raise RuntimeError("half way")
        yield

    @autoinit(dict(type="Constant", val=1.0, layer="Linear"))
    async def coroutine() -> None:
        await asyncio.sleep(0)
        built.extend(three())
        raise RuntimeError("half way")

    @autoinit(dict(type="Constant", val=1.0, layer="Linear"))
    async def async_generator():  # type: ignore[no-untyped-def]
        built.extend(three())
        if built:
            raise RuntimeError("half way")
        yield

    async def exhaust() -> None:
        async for _ in async_generator():
            pass

    run = {
        "function": function,
        "generator": lambda: list(generator()),
        "coroutine": lambda: asyncio.run(coroutine()),
        "async generator": lambda: asyncio.run(exhaust()),
    }[way]
    torch.manual_seed(5)
    with pytest.raises(RuntimeError, match="half way"):
        run()
    assert same(tensors(built), expected)


def test_a_mode_that_was_there_before_stays_and_sees_what_it_would_have_seen() -> None:
    def called(*, deferred: bool) -> list[str]:
        with Noting() as mode:
            if deferred:
                with autoinit([]):
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
    with autoinit([]):
        layers = three()[:2]
        mode.__exit__(None, None, None)
        layers.append(nn.Conv2d(SIZE, SIZE, 3))
    assert len(layers) == 3
    torch.manual_seed(5)
    with autoinit([]):
        layers = [linear(), linear()]
        with torch.device("cpu"):
            layers.append(nn.Conv2d(SIZE, SIZE, 3))
    assert same(tensors(layers), expected)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_default_devices_around(device: str) -> None:
    with torch.device(device), autoinit([]):
        layers = three()
    assert all(layer.weight.device.type == device for layer in layers)
    with autoinit([]), torch.device(device):
        layers = three()
    assert all(layer.weight.device.type == device for layer in layers)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_default_device_that_is_set_around_or_within(device: str) -> None:
    try:
        torch.set_default_device(device)
        with autoinit([]):
            layers = three()
            torch.set_default_device(None)
            layers += three()
            torch.set_default_device(device)
            layers += three()
    finally:
        torch.set_default_device(None)
    assert [layer.weight.device.type for layer in layers] == 3 * [device] + 3 * ["cpu"] + 3 * [device]


def test_nested_blocks_end_in_any_order() -> None:
    outer, inner = autoinit([]), autoinit([])
    outer.__enter__()
    first = linear()
    inner.__enter__()
    second = linear()
    outer.__exit__(None, None, None)
    third = linear()
    inner.__exit__(None, None, None)
    assert all(layer.weight.abs().max() <= SIZE**-0.5 for layer in (first, second, third))


def test_a_fill_that_fails_after_all_is_not_tried_again() -> None:
    def fails(*args: object) -> None:
        raise MemoryError

    deferrer = Deferrer(lambda: True)
    weight = nn.Parameter(torch.zeros(100, 100))
    deferrer.notice(weight)
    nn.init.ones_(weight)
    [[record]] = deferrer.records._pending.values()
    record.function = fails
    later = nn.Parameter(torch.zeros(100, 100))
    deferrer.notice(later)
    nn.init.ones_(later)
    with pytest.raises(MemoryError):
        deferrer.rest()
    assert _len_torch_function_stack() == 0
    assert (later == 1).all(), "what comes after it is filled all the same"
    deferrer.rest()
    assert not deferrer.records


def test_parameters_that_came_before_the_first_large_one_are_deferred_from_then_on() -> None:
    deferrer = Deferrer(lambda: True, lambda: iter([small, shared]))
    small, shared = nn.Parameter(torch.zeros(3, 3)), nn.Parameter(torch.zeros(3, 3))
    seen = shared.detach().numpy()
    deferrer.notice(small)
    small.data.normal_()
    assert not deferrer.records
    deferrer.notice(nn.Parameter(torch.zeros(100, 100)))
    small.data.normal_()
    assert len(deferrer.records) == 1
    shared.data.normal_()
    assert not deferrer.records, "it comes after the one that is pending"
    assert seen.any(), "who has the memory as an array is not seen when he looks"
    small.data.normal_()
    small.data.mul_(0)
    assert len(deferrer.records) == 2
    assert not small.any()
    deferrer.rest()


def test_small_parameters_get_a_constant_at_once() -> None:
    deferrer = Deferrer(lambda: True)
    small, large = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(100, 100))
    deferrer.notice(large)
    deferrer.notice(small)
    small.data.zero_()
    assert not deferrer.records
    large.data.zero_()
    assert len(deferrer.records) == 1
    deferrer.rest()
    assert not small.any() and not large.any()


def test_what_a_constructor_throws_away_is_gone() -> None:
    with autoinit([]):
        kept = linear()
        thrown = linear()
        thrown.weight.sum()
        storage = weakref.ref(thrown.weight.untyped_storage())
        pending = linear()
        del thrown
        assert storage() is None
    assert kept.weight.isfinite().all() and pending.weight.isfinite().all()


def test_memory_of_a_parameter_that_nobody_has_any_more_is_no_other_parameters() -> None:
    torch.manual_seed(5)
    for _ in range(50):
        last = linear()
    expected = tensors([last])
    torch.manual_seed(5)
    with autoinit([]):
        for _ in range(50):
            last = linear()
    assert same(tensors([last]), expected)
