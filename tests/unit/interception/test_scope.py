"""Nested blocks and pauses, tasks and threads: which block a module is built in, and which one wins (I1, I4, P2)."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from autoinit import autoinit, paused

from . import SEVEN, constant, is_seven, untouched_class


def test_the_inner_block_beats_the_outer_where_it_matches() -> None:
    with autoinit([constant(1), constant(2, "Conv2d")]) as outer:
        with autoinit(SEVEN) as inner:
            part = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1))
        assert is_seven(part[0]), "final when the inner block ends"
        model = nn.Sequential(part, nn.Linear(2, 2))
    assert is_seven(part[0])
    assert part[1].weight.item() == 2, "the outer rules reach what the inner ones did not"
    assert (model[1].weight == 1).all()
    assert inner.report["0.weight"].outcome == "filled"
    entry = outer.report["0.0.weight"]
    assert (entry.outcome, entry.kept, entry.overrides[0].origin) == (
        "kept: filled by an inner block",
        "filled by an inner block",
        "init_cfg[0]",
    )


def test_blocks_that_end_in_the_wrong_order() -> None:
    original = nn.Module.__init__
    first, second = autoinit(constant(1)), autoinit(SEVEN)
    first.__enter__()
    second.__enter__()
    a = nn.Linear(2, 2)
    first.__exit__(None, None, None)
    assert (a.weight == 1).all()
    b = nn.Linear(2, 2)
    with autoinit(constant(3)):
        model = nn.Sequential(a, nn.Linear(2, 2))
    second.__exit__(None, None, None)
    assert nn.Module.__init__ is original and untouched_class()
    assert is_seven(a, b), "the inner block wins over the outer, also when it ends later"
    assert (model[1].weight == 3).all(), "and over none that is inside of it"


def test_an_inner_failure_that_is_caught_does_not_disturb_the_outer_block() -> None:
    with autoinit(SEVEN):
        with pytest.raises(ZeroDivisionError), autoinit([]):
            lost = nn.Linear(1, 1)
            raise ZeroDivisionError
        kept = nn.Linear(1, 1)
    assert is_seven(kept)
    assert is_seven(lost), "it was built in the outer block, which succeeded"


def test_paused_is_left_alone_and_nests() -> None:
    with autoinit(SEVEN):
        a = nn.Linear(1, 1)
        with paused():
            b, copied = nn.Linear(1, 1), copy.deepcopy(a)
            with autoinit(constant(2)):
                c = nn.Linear(1, 1)
                of_the_outer, of_the_inner = copy.deepcopy(a), copy.deepcopy(c)
            d = nn.Linear(1, 1)
        e = nn.Linear(1, 1)
    assert is_seven(a, e)
    assert c.weight.item() == of_the_inner.weight.item() == 2, "the pause is older than this block"
    for left_alone in (b, d, copied, of_the_outer):
        assert left_alone.weight.item() not in (2, 7)


# --- tasks and threads -------------------------------------------------------------------------------------------


def test_tasks_see_their_own_blocks_only() -> None:
    async def worker(value: int, rounds: int) -> bool:
        for _ in range(rounds):
            with autoinit(constant(value)):
                first = nn.Linear(1, 1)
                await asyncio.sleep(0)
                second = nn.Linear(1, 1)
            if (first.weight.item(), second.weight.item()) != (value, value):
                return False
            outside = nn.Linear(1, 1)
            await asyncio.sleep(0)
            if abs(outside.weight.item()) > 1:
                return False
        return True

    async def main() -> list[bool]:
        return await asyncio.gather(*(worker(value, 4) for value in range(2, 10)))

    assert all(asyncio.run(main()))


def test_tasks_and_threads_started_inside_a_block_are_not_in_it() -> None:
    async def build() -> nn.Linear:
        return nn.Linear(1, 1)

    async def main() -> list[nn.Linear]:
        with autoinit(SEVEN):
            awaited = await build()
            as_task = await asyncio.create_task(build())
            in_thread = await asyncio.to_thread(nn.Linear, 1, 1)
        return [awaited, as_task, in_thread]

    assert [is_seven(layer) for layer in asyncio.run(main())] == [True, False, False]


def test_a_thread_that_inherits_the_context_is_not_in_the_block() -> None:
    built: list[nn.Linear] = []
    with autoinit(SEVEN):
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: built.append(nn.Linear(1, 1))))
        thread.start()
        thread.join()
        here = context.run(nn.Linear, 1, 1)
    assert is_seven(here)
    assert not is_seven(built[0])


def test_eight_threads_half_of_them_outside_any_block() -> None:
    original = nn.Module.__init__
    barrier = threading.Barrier(8)

    def work(index: int) -> bool:
        barrier.wait()
        for _ in range(40):
            if index % 2:
                if (nn.Linear(2, 2).weight.abs() > 1).any():
                    return False
                continue
            with autoinit(constant(index + 10)):
                model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            if not all((layer.weight == index + 10).all() for layer in model):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert nn.Module.__init__ is original and untouched_class()


def test_a_model_is_called_in_another_thread_while_more_modules_are_built() -> None:
    with autoinit(SEVEN) as run:
        model = nn.Linear(2, 2)
        thread = threading.Thread(target=lambda: [model(torch.ones(1, 2)) for _ in range(100)])
        thread.start()
        layers = [nn.Linear(1, 1) for _ in range(200)]
        thread.join()
        assert is_seven(model)
    assert is_seven(*layers) and len(run.reports) == 201
