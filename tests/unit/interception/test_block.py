"""`with autoinit(...)` and `@autoinit(...)`: what is touched, when, and that no trace is left (I1, I3-I6)."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import io
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from autoinit import (
    AutoInitWarning,
    ConfigError,
    ConfigTypeError,
    MatchError,
    ShapeError,
    StateError,
    autoinit,
    paused,
)

SEVEN = dict(type="Constant", val=7, layer="Linear")


class Net(nn.Module):
    """Two layers, one of them cloned by deepcopy."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = copy.deepcopy(self.first)
        self.norm = nn.LayerNorm(4)
        self.register_buffer("noise", torch.rand(4))


def is_seven(layer: nn.Linear) -> bool:
    return bool((layer.weight == 7).all() and (layer.bias == 0).all())


def untouched_class() -> bool:
    return "FunctionWrapper" not in type(nn.Module.__init__).__name__ and "__reduce_ex__" not in nn.Module.__dict__


def test_what_is_built_inside_gets_its_values_when_the_block_ends() -> None:
    with autoinit(SEVEN) as run:
        net = Net()
        inside = net.first.weight.clone()
    assert not (inside == 7).any()
    assert is_seven(net.first)
    assert is_seven(net.second), "a deep copy of a module built in the block"
    assert {fqn: entry.outcome for fqn, entry in run.report.items()} == {
        "first.weight": "filled",
        "first.bias": "filled",
        "second.weight": "copy of first.weight",
        "second.bias": "copy of first.bias",
        "norm.weight": "kept",
        "norm.bias": "kept",
    }


def test_what_was_built_before_is_left_alone_wherever_it_is_put() -> None:
    before = nn.Linear(3, 3)
    values = copy.deepcopy(before.state_dict())
    with autoinit(SEVEN) as run:
        model = nn.Sequential(before, nn.Linear(3, 3))
        clone = copy.deepcopy(before)
    assert torch.equal(before.weight, values["weight"])
    assert torch.equal(before.bias, values["bias"])
    assert torch.equal(clone.weight, values["weight"]), "a copy of what was built before"
    assert is_seven(model[1])
    assert run.report["0.weight"].outcome == "kept: built outside the block"


def test_a_new_head_on_an_old_model_is_a_root_of_its_own() -> None:
    old = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    trunk = old[0].weight.clone()
    with autoinit(SEVEN) as run:
        old[1] = nn.Linear(3, 5)
    assert is_seven(old[1])
    assert torch.equal(old[0].weight, trunk)
    assert run.report.model == "Linear"


def test_two_roots_have_two_reports_and_different_values() -> None:
    with autoinit(dict(type="Normal", layer="Linear"), seed=1) as run:
        first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    assert [report.root for report in run.reports] == [0, 1]
    assert not torch.equal(first.weight, second.weight)
    with pytest.raises(StateError, match="2 root modules"):
        _ = run.report


def test_all_roots_of_a_block_share_one_seed_that_reproduces_them() -> None:
    cfg = dict(type="Normal", layer="Linear")
    with autoinit(cfg) as run:
        first = [nn.Linear(2, 2), nn.Linear(2, 2)]
    [seed] = {report.seed for report in run.reports}
    with autoinit(cfg, seed=seed):
        second = [nn.Linear(2, 2), nn.Linear(2, 2)]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first, second, strict=True))


def test_the_report_is_not_there_before_the_end() -> None:
    with autoinit(SEVEN) as run:
        layer = nn.Linear(1, 1)
        with pytest.raises(StateError, match="has not ended"):
            _ = run.report
    assert run.report["weight"].outcome == "filled"
    assert is_seven(layer)


def test_a_block_without_modules_says_so() -> None:
    with pytest.warns(AutoInitWarning, match="No module was built"), autoinit(SEVEN):
        pass


def test_no_rules_is_the_identity_down_to_the_generators() -> None:
    torch.manual_seed(3)
    plain, after = Net(), torch.random.get_rng_state()
    torch.manual_seed(3)
    with autoinit([]) as run:
        ours = Net()
    assert torch.equal(after, torch.random.get_rng_state())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    assert set(run.report.outcomes) == {"kept"}
    assert list(run.report) == [name for name, _ in ours.named_parameters()]


def test_uncovered_parameters_are_those_of_plain_construction() -> None:
    torch.manual_seed(5)
    plain = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(2, 2, 1), nn.Linear(3, 3))
    torch.manual_seed(5)
    with autoinit(dict(type="Normal", layer="Linear"), seed=0):
        ours = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(2, 2, 1), nn.Linear(3, 3))
    assert torch.equal(plain[1].weight, ours[1].weight)
    assert torch.equal(plain[1].bias, ours[1].bias)
    assert not torch.equal(plain[0].weight, ours[0].weight)


def test_seed_none_follows_manual_seed_and_draws_only_if_something_is_random() -> None:
    def build(cfg: object) -> tuple[nn.Linear, torch.Tensor]:
        torch.manual_seed(11)
        with autoinit(cfg):  # type: ignore[arg-type]
            layer = nn.Linear(3, 3)
        return layer, torch.random.get_rng_state()

    normal = dict(type="Normal", layer="Linear")
    assert torch.equal(build(normal)[0].weight, build(normal)[0].weight)
    assert torch.equal(build([])[1], build(SEVEN)[1]), "constants draw nothing"
    assert not torch.equal(build([])[1], build(normal)[1])
    with autoinit(normal):
        again = nn.Linear(3, 3)
    assert not torch.equal(again.weight, build(normal)[0].weight)


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), GeneratorExit()])
def test_a_constructor_that_raises_leaves_nothing_behind(error: BaseException) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            built.append(self.layer)
            raise error

    built: list[nn.Linear] = []
    with pytest.raises(type(error)), autoinit(SEVEN) as run:
        Broken()
    assert untouched_class()
    assert not is_seven(built[0]), "half-built models keep what their constructors gave them"
    assert run.reports == []
    assert not (nn.Linear(2, 2).weight == 7).any()


@pytest.mark.parametrize(
    ("cfg", "kind"),
    [
        (dict(type="Constant", val=1, layer="Liner"), MatchError),
        ([SEVEN, dict(type="Kaiming", layer="LayerNorm")], ShapeError),
        ([SEVEN, dict(type="Constant", val=1, override=dict(name="nothing"))], MatchError),
    ],
)
def test_a_config_that_does_not_fit_changes_nothing(cfg: object, kind: type[Exception]) -> None:
    nets = []
    with pytest.raises(kind) as caught, autoinit(cfg):  # type: ignore[arg-type]
        nets.append(Net())
        values = copy.deepcopy(nets[0].state_dict())
    assert caught.value.origin  # type: ignore[attr-defined]
    assert all(torch.equal(values[name], value) for name, value in nets[0].state_dict().items())
    assert untouched_class()


def test_bad_input_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'Normal'"):
        autoinit(dict(type="Norml"))
    with pytest.raises(ConfigTypeError, match="seed"):
        autoinit(SEVEN, seed="1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Did you mean 'warn'"):
        autoinit(SEVEN, unmatched="wran")  # type: ignore[arg-type]


def test_the_config_is_read_when_it_is_passed() -> None:
    cfg = [dict(SEVEN)]
    block = autoinit(cfg)
    cfg[0]["val"] = 1
    cfg.clear()
    with block:
        layer = nn.Linear(2, 2)
    assert is_seven(layer)


def test_afterwards_models_pickle_and_copy_as_if_nothing_had_been() -> None:
    with autoinit(SEVEN):
        net = Net()
    plain = Net()
    assert net.__dict__.keys() == plain.__dict__.keys()
    assert net.first.__dict__.keys() == plain.first.__dict__.keys()
    assert b"autoinit" not in pickle.dumps(net).replace(b"test_block", b"").replace(b"tests.", b"")
    assert is_seven(pickle.loads(pickle.dumps(net)).first)
    assert is_seven(copy.deepcopy(net).first)


def test_what_is_pickled_inside_a_block_needs_no_autoinit_to_be_read() -> None:
    with autoinit(SEVEN):
        layer = nn.Linear(2, 2)
        data = pickle.dumps(layer)
        stream = io.BytesIO()
        torch.save(layer, stream)
        loaded = pickle.loads(data)
    assert b"autoinit" not in data
    assert torch.equal(pickle.loads(data).weight, loaded.weight)
    stream.seek(0)
    assert not is_seven(torch.load(stream, weights_only=False))
    assert not is_seven(loaded), "what was unpickled was not built here"


# --- nesting -----------------------------------------------------------------------------------------------------


def test_the_inner_block_beats_the_outer_where_it_matches() -> None:
    with autoinit(
        [dict(type="Constant", val=1, layer="Linear"), dict(type="Constant", val=2, layer="Conv2d")]
    ) as outer:
        with autoinit(SEVEN) as inner:
            part = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1))
        assert is_seven(part[0]), "final when the inner block ends"
        model = nn.Sequential(part, nn.Linear(2, 2))
    assert is_seven(part[0])
    assert part[1].weight.item() == 2, "the outer rules reach what the inner ones did not"
    assert (model[1].weight == 1).all()
    assert inner.report["0.weight"].outcome == "filled"
    entry = outer.report["0.0.weight"]
    assert (entry.outcome, entry.kept, entry.beat[0].origin) == (
        "kept: filled by an inner block",
        "filled by an inner block",
        "init_cfg[0]",
    )


def test_blocks_that_end_in_the_wrong_order() -> None:
    original = nn.Module.__init__
    first, second = autoinit(dict(type="Constant", val=1, layer="Linear")), autoinit(SEVEN)
    first.__enter__()
    second.__enter__()
    a = nn.Linear(2, 2)
    first.__exit__(None, None, None)
    b = nn.Linear(2, 2)
    second.__exit__(None, None, None)
    assert nn.Module.__init__ is original
    assert untouched_class()
    assert is_seven(b)
    assert is_seven(a), "the inner block wins over the outer, also when it ends later"


def test_one_block_object_serves_many_times_also_nested() -> None:
    block = autoinit(SEVEN)
    with block as first:
        a = nn.Linear(1, 1)
        with block as second:
            b = nn.Linear(1, 1)
    with block:
        c = nn.Linear(1, 1)
    assert is_seven(a) and is_seven(b) and is_seven(c)
    assert first is not second
    with pytest.raises(StateError, match="not open"):
        block.__exit__(None, None, None)


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
            b = nn.Linear(1, 1)
            with autoinit(dict(type="Constant", val=2, layer="Linear")):
                c = nn.Linear(1, 1)
            d = nn.Linear(1, 1)
        e = nn.Linear(1, 1)
    assert is_seven(a) and is_seven(e)
    assert c.weight.item() == 2
    assert b.weight.item() != 7 and d.weight.item() != 7


def test_what_is_copied_in_a_pause_is_left_alone_unless_the_pause_is_older_than_the_block() -> None:
    with autoinit(SEVEN):
        a = nn.Linear(1, 1)
        with paused():
            copied = copy.deepcopy(a)
            with autoinit(dict(type="Constant", val=2, layer="Linear")):
                b = nn.Linear(1, 1)
                of_the_outer, of_the_inner = copy.deepcopy(a), copy.deepcopy(b)
    assert is_seven(a)
    assert copied.weight.item() != 7 and of_the_outer.weight.item() not in (2, 7)
    assert b.weight.item() == of_the_inner.weight.item() == 2


# --- decorator, generators, tasks, threads -----------------------------------------------------------------------


def test_decorated_functions_methods_and_recursion() -> None:
    class Factory:
        @autoinit(SEVEN)
        def build(self, depth: int = 0) -> list[nn.Linear]:
            """Docstring."""
            return [nn.Linear(1, 1), *(self.build(depth - 1) if depth else [])]

    layers = Factory().build(depth=3)
    assert len(layers) == 4
    assert all(map(is_seven, layers))
    assert Factory.build.__name__ == "build"
    assert Factory.build.__doc__ == "Docstring."


def test_a_class_is_not_decorated() -> None:
    with pytest.raises(ConfigTypeError, match="functions"):
        autoinit(SEVEN)(Net)


def test_a_decorated_generator_is_a_block_only_while_it_runs() -> None:
    events: list[object] = []

    @autoinit(dict(type="Normal", layer="Linear"), seed=3)
    def models() -> Iterator[nn.Linear]:
        try:
            sent = yield nn.Linear(4, 4)
            events.append(sent)
            yield nn.Linear(4, 4)
        except KeyError:
            yield nn.Linear(4, 4)
        return "returned"  # type: ignore[return-value]

    generator = models()
    first = next(generator)
    drawn = first.weight.clone()
    outside = nn.Linear(4, 4)
    with torch.no_grad():
        first.weight.fill_(5)
    second = generator.send("hello")  # type: ignore[attr-defined]
    assert events == ["hello"]
    third = generator.throw(KeyError())  # type: ignore[attr-defined]
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "returned"
    assert untouched_class()
    assert (first.weight == 5).all(), "what was yielded is final"
    values = [drawn, second.weight, third.weight, outside.weight]
    assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])
    with autoinit(dict(type="Normal", layer="Linear"), seed=3):
        same = [nn.Linear(4, 4) for _ in range(3)]
    assert all(torch.equal(layer.weight, value) for layer, value in zip(same, values, strict=False))


def test_a_decorated_generator_that_is_closed_or_dropped() -> None:
    closed = []

    @autoinit(SEVEN)
    def models() -> Iterator[nn.Linear]:
        try:
            yield nn.Linear(1, 1)
        finally:
            closed.append(True)

    generator = models()
    assert is_seven(next(generator))
    generator.close()  # type: ignore[attr-defined]
    assert closed == [True]
    dropped = models()
    next(dropped)
    del dropped
    assert closed == [True, True]
    assert untouched_class()


def test_what_a_decorated_generator_builds_after_its_last_yield_is_filled() -> None:
    built: list[nn.Linear] = []

    @autoinit(SEVEN)
    def steps() -> Iterator[int]:
        yield 1
        built.append(nn.Linear(1, 1))

    @autoinit(SEVEN)
    async def stream() -> AsyncIterator[int]:
        yield 1
        built.append(nn.Linear(1, 1))

    async def main() -> list[int]:
        return [step async for step in stream()]

    assert list(steps()) == asyncio.run(main()) == [1]
    assert len(built) == 2
    assert all(map(is_seven, built))
    assert untouched_class()


def test_decorated_coroutines_and_async_generators() -> None:
    @autoinit(SEVEN)
    async def build() -> nn.Linear:
        await asyncio.sleep(0)
        return nn.Linear(1, 1)

    @autoinit(SEVEN)
    async def stream() -> AsyncIterator[nn.Linear]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield nn.Linear(1, 1)

    async def main() -> list[nn.Linear]:
        outside = nn.Linear(1, 1)
        built = [await build()]
        async for layer in stream():
            assert not is_seven(nn.Linear(1, 1)), "between two steps no block is open"
            built.append(layer)
        assert not is_seven(outside)
        return built

    layers = asyncio.run(main())
    assert len(layers) == 3
    assert all(map(is_seven, layers))


def test_tasks_see_their_own_blocks_only() -> None:
    async def worker(value: int, rounds: int) -> bool:
        for _ in range(rounds):
            with autoinit(dict(type="Constant", val=value, layer="Linear")):
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

    awaited, as_task, in_thread = asyncio.run(main())
    assert is_seven(awaited)
    assert not is_seven(as_task)
    assert not is_seven(in_thread)


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
            with autoinit(dict(type="Constant", val=index + 10, layer="Linear")):
                model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
            if not all((layer.weight == index + 10).all() for layer in model):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert nn.Module.__init__ is original
    assert untouched_class()


def test_with_inside_a_generator_behaves_like_any_context_manager() -> None:
    def build() -> Iterator[nn.Linear]:
        with autoinit(SEVEN):
            yield nn.Linear(1, 1)

    generator = build()
    layer = next(generator)
    inside = nn.Linear(1, 1)
    generator.close()  # type: ignore[attr-defined]
    assert not is_seven(layer), "GeneratorExit is an exception"
    assert not is_seven(inside)
    assert untouched_class()


def test_a_generator_closed_in_another_context_leaves_nothing() -> None:
    async def main() -> None:
        async def build() -> AsyncIterator[nn.Linear]:
            with autoinit(SEVEN):
                yield nn.Linear(1, 1)

        generator = build()

        async def step() -> nn.Linear:
            return await generator.__anext__()

        await asyncio.create_task(step())
        await generator.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert untouched_class()
    assert not is_seven(nn.Linear(1, 1))


def test_a_block_claims_only_what_it_has_filled_itself() -> None:
    """The outer of two blocks is left first; a third block, inside the inner one, takes its layer into a model."""
    blocks = [autoinit(dict(type="Constant", layer="Linear", val=val, bias=val)) for val in (1.0, 2.0, 3.0)]
    blocks[0].__enter__()
    blocks[1].__enter__()
    layer = nn.Linear(2, 2)
    blocks[0].__exit__(None, None, None)
    assert (layer.weight == 1).all()
    with blocks[2]:
        model = nn.Sequential(layer, nn.Linear(2, 2))
    blocks[1].__exit__(None, None, None)
    assert (layer.weight == 2).all(), "the inner block's, whose rules beat the outer one's (P2)"
    assert (model[1].weight == 3).all()
