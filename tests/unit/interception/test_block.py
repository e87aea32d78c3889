"""`with autoinit(...)` and `@autoinit(...)`: what is touched, when, and that no trace is left (I1, I3-I6)."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, ConfigError, ConfigTypeError, MatchError, ShapeError, StateError, autoinit

from . import NORMAL, SEVEN, Net, is_seven, untouched_class


def test_what_is_built_inside_gets_its_values_when_the_block_ends() -> None:
    with autoinit(SEVEN) as run:
        net = Net()
        inside = net.first.weight.clone()
        with pytest.raises(StateError, match="has not ended"):
            _ = run.report
    assert not (inside == 7).any()
    assert is_seven(net.first, net.second), "a deep copy of a module built in the block too"
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
        model = nn.Sequential(before, nn.Linear(3, 3), copy.deepcopy(before), copy.copy(before))
    assert is_seven(model[1])
    for index in (0, 2, 3):
        assert torch.equal(model[index].weight, values["weight"]) and torch.equal(model[index].bias, values["bias"])
    assert [run.report[f"{index}.weight"].outcome for index in (0, 2)] == ["kept: built outside the block"] * 2


def test_a_model_that_nothing_refers_to_has_no_report() -> None:
    with autoinit(NORMAL) as run:
        nn.Linear(2, 2)
    with pytest.raises(StateError, match="no root module: none was built in it, or all were deleted"):
        _ = run.report


def test_all_roots_of_a_block_share_one_seed_that_reproduces_them() -> None:
    with autoinit(NORMAL) as run:
        first = [nn.Linear(2, 2), nn.Linear(2, 2)]
    assert [report.root for report in run.reports] == [0, 1]
    with pytest.raises(StateError, match="2 root modules"):
        _ = run.report
    [seed] = {report.seed for report in run.reports}
    with autoinit(NORMAL, seed=seed):
        second = [nn.Linear(2, 2), nn.Linear(2, 2)]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].weight, first[1].weight)


def test_a_block_without_modules_says_so() -> None:
    with pytest.warns(AutoInitWarning, match="No module was built"), autoinit(SEVEN):
        pass


def test_uncovered_parameters_are_those_of_plain_construction() -> None:
    torch.manual_seed(5)
    plain = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(2, 2, 1), nn.Linear(3, 3))
    torch.manual_seed(5)
    with autoinit(NORMAL, seed=0):
        ours = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(2, 2, 1), nn.Linear(3, 3))
    assert torch.equal(plain[1].weight, ours[1].weight) and torch.equal(plain[1].bias, ours[1].bias)
    assert not torch.equal(plain[0].weight, ours[0].weight)


def test_seed_none_follows_manual_seed_and_draws_only_if_something_is_random() -> None:
    def build(cfg: object) -> tuple[nn.Linear, torch.Tensor]:
        torch.manual_seed(11)
        with autoinit(cfg):  # type: ignore[arg-type]
            layer = nn.Linear(3, 3)
        return layer, torch.random.get_rng_state()

    assert torch.equal(build(NORMAL)[0].weight, build(NORMAL)[0].weight)
    assert torch.equal(build([])[1], build(SEVEN)[1]), "constants draw nothing"
    assert not torch.equal(build([])[1], build(NORMAL)[1])
    with autoinit(NORMAL):
        again = nn.Linear(3, 3)
    assert not torch.equal(again.weight, build(NORMAL)[0].weight)


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
    assert untouched_class() and run.reports == []
    assert not is_seven(built[0]), "half-built models keep what their constructors gave them"
    assert not is_seven(nn.Linear(2, 2))


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
    with pytest.raises(ConfigTypeError, match="functions"):
        autoinit(SEVEN)(Net)


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
    assert pickle.dumps(net).count(b"autoinit") == pickle.dumps(plain).count(b"autoinit")
    assert is_seven(pickle.loads(pickle.dumps(net)).first, copy.deepcopy(net).first)


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


def test_one_block_object_serves_many_times_also_nested() -> None:
    block = autoinit(SEVEN)
    with block as first:
        a = nn.Linear(1, 1)
        with block as second:
            b = nn.Linear(1, 1)
    with block:
        c = nn.Linear(1, 1)
    assert is_seven(a, b, c) and first is not second
    with pytest.raises(StateError, match="not open"):
        block.__exit__(None, None, None)


# --- decorators --------------------------------------------------------------------------------------------------


def test_decorated_functions_methods_and_recursion() -> None:
    class Factory:
        @autoinit(SEVEN)
        def build(self, depth: int = 0) -> list[nn.Linear]:
            """Docstring."""
            return [nn.Linear(1, 1), *(self.build(depth - 1) if depth else [])]

    layers = Factory().build(depth=3)
    assert len(layers) == 4 and is_seven(*layers)
    assert (Factory.build.__name__, Factory.build.__doc__) == ("build", "Docstring.")


def test_a_decorated_generator_is_a_block_only_while_it_runs() -> None:
    events: list[object] = []

    @autoinit(NORMAL, seed=3)
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
    with autoinit(NORMAL, seed=3):
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


@pytest.mark.parametrize("fails", [True, False])
def test_what_a_decorated_generator_builds_after_its_last_yield_is_filled_unless_it_fails(fails: bool) -> None:
    built: list[nn.Linear] = []

    @autoinit(SEVEN)
    def steps() -> Iterator[int]:
        yield 1
        built.append(nn.Linear(1, 1))
        if fails:
            raise KeyError("on purpose")

    @autoinit(SEVEN)
    async def stream() -> AsyncIterator[int]:
        yield 1
        built.append(nn.Linear(1, 1))
        if fails:
            raise KeyError("on purpose")

    async def main() -> list[int]:
        return [step async for step in stream()]

    for run in (lambda: list(steps()), lambda: asyncio.run(main())):
        with pytest.raises(KeyError, match="on purpose") if fails else nullcontext():
            assert run() == [1]
        assert untouched_class() and is_seven(built.pop()) is not fails


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
    assert len(layers) == 3 and is_seven(*layers)


def test_with_inside_a_generator_behaves_like_any_context_manager() -> None:
    def build() -> Iterator[nn.Linear]:
        with autoinit(SEVEN):
            yield nn.Linear(1, 1)

    generator = build()
    layer = next(generator)
    inside = nn.Linear(1, 1)
    generator.close()  # type: ignore[attr-defined]
    assert not is_seven(layer) and not is_seven(inside), "GeneratorExit is an exception"
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


# --- what a prompt, a notebook and completion show ---------------------------------------------------------------

RULE = dict(type="Normal", layer="Linear", std=0.02)


def used(block: Any) -> Any:
    """A block that does not warn that it was never entered: it decorates a function."""
    block(lambda: None)
    return block


def test_the_repr_of_a_block_has_its_rules_and_options() -> None:
    assert repr(used(autoinit())) == "Block(no rules)"
    assert repr(used(autoinit(RULE, seed=3, defer=False, unmatched="error"))) == (
        "Block(init_cfg (layer='Linear'): Normal(std=0.02); seed=3, defer=False, unmatched='error')"
    )
    assert repr(used(autoinit([RULE] * 5))).endswith("init_cfg[2] (layer='Linear'): Normal(std=0.02), 2 more rules)")


def test_a_notebook_shows_the_rules_of_a_block_with_their_overrides() -> None:
    shown = used(autoinit(dict(RULE, override=dict(type="Constant", name="<i>", val=0))))._repr_html_()
    assert shown.count("<tr>") == 3
    assert "init_cfg.override" in shown and "&lt;i&gt;" in shown and "<i>" not in shown


def test_a_run_says_what_it_has_built() -> None:
    with autoinit(RULE, seed=0) as run:
        assert repr(run) == "Run(1 rule; open)" == run._repr_html_()
        models = [nn.Linear(2, 2) for _ in range(5)]
    assert repr(run) == f"Run(1 rule; {'Linear: 2 filled; seed 0 | ' * 3}2 more roots)"
    assert run._repr_html_().count("<table>") == len(models)
    with autoinit() as empty:
        pass
    assert repr(empty) == "Run(0 rules; no root)"


def test_completion_offers_what_users_may_use() -> None:
    with autoinit(RULE) as run:
        layer = nn.Linear(2, 2)
    assert [name for name in dir(run) if not name.startswith("_")] == ["report", "reports"]
    assert run.report["weight"].shape == tuple(layer.weight.shape)
