"""Values do not depend on what surrounds a call: modes, transforms, tracing, autocast, inference mode."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autoinit import _torch, initialize, normal_init, plan
from autoinit.compat.mmengine import BaseInit
from autoinit.errors import ApplyError, StateError
from autoinit.modes import without_modes

CFG = [
    dict(type="Normal", layer="Linear", std=0.02, bias=0.5),
    dict(type="Orthogonal", name="0"),
    dict(type=nn.init.uniform_, name="2", params="bias"),
]


class Halving(TorchFunctionMode):
    """Makes other values of whatever it sees."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out / 2 if func is torch.empty or func is Tensor.clone else out


class Seeing(TorchDispatchMode):
    """Notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def transformed(transform: Callable[..., Any], *inputs: Tensor) -> Callable[[Callable[[], object]], None]:
    def around(act: Callable[[], object]) -> None:
        def function(x: Tensor) -> Tensor:
            act()
            return x.sum()

        transform(function, *inputs)

    return around


def under(context: Callable[[], AbstractContextManager[Any]]) -> Callable[[Callable[[], object]], None]:
    def around(act: Callable[[], object]) -> None:
        with context():
            act()

    return around


X = torch.ones(2, 2)
SURROUNDINGS: dict[str, Callable[[Callable[[], object]], None]] = {
    "no grad": under(torch.no_grad),
    "inference mode": under(torch.inference_mode),
    "autocast": under(lambda: torch.autocast("cpu")),
    "meta": under(lambda: torch.device("meta")),
    "function mode": under(Halving),
    "dispatch mode": under(Seeing),
    "fake": under(FakeTensorMode),
    "grad": transformed(lambda f, x: torch.func.grad(f)(x), X),
    "jvp": transformed(lambda f, x: torch.func.jvp(f, (x,), (x,)), X),
    "vmap": transformed(lambda f, x: torch.func.vmap(f)(x), X),
    "grad of vmap": transformed(lambda f, x: torch.func.grad(lambda x: torch.func.vmap(f)(x).sum())(x), X),
    "trace": transformed(lambda f, x: torch.jit.trace(f, x), X),
    "make_fx": transformed(lambda f, x: make_fx(f, tracing_mode="symbolic")(x), X),
    "export": transformed(lambda f, x: make_fx(f, pre_dispatch=True)(x), X),
}


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert type(one[name]) is type(other[name]) is Tensor
        assert torch.equal(one[name], other[name]), name


def act(by_call: nn.Module, by_plan: nn.Module, layer: nn.Module) -> None:
    initialize(by_call, CFG, seed=3)
    plan(by_plan, CFG).apply(by_plan, seed=3)
    torch.manual_seed(1)
    normal_init(layer)


@pytest.fixture(scope="module")
def expected() -> list[dict[str, Tensor]]:
    act(*(models := (net(), net(), nn.Linear(8, 8))))
    return [state(model) for model in models]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated")
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_values_do_not_depend_on_what_surrounds_the_call(surroundings: str, expected: list[dict[str, Tensor]]) -> None:
    models = net(), net(), nn.Linear(8, 8)
    SURROUNDINGS[surroundings](lambda: act(*models))
    for model, wanted in zip(models, expected, strict=True):
        assert_equal(state(model), wanted)
        assert all(not param.is_inference() and param.grad_fn is None for param in model.parameters())


@pytest.mark.parametrize("surroundings", ["no grad", "inference mode", "autocast", "function mode", "dispatch mode"])
def test_a_lazy_layer_gets_its_values_whatever_surrounds_its_first_call(surroundings: str) -> None:
    models = [nn.Sequential(nn.LazyLinear(8)) for _ in range(2)]
    for model in models:
        initialize(model, dict(type="Normal", layer="LazyLinear"), seed=0)
    models[0](torch.ones(2, 4))
    SURROUNDINGS[surroundings](lambda: models[1](torch.ones(2, 4)))
    assert torch.equal(models[0][0].weight, models[1][0].weight)


def modes() -> tuple[list[object], list[object]]:
    function = _torch.take_function_modes()
    _torch.put_function_modes(function)
    with _torch.without_dispatch_modes() as dispatch:
        return [*function], [*dispatch]


def test_modes_are_afterwards_as_they_were_and_saw_nothing() -> None:
    layer, seeing = nn.Linear(4, 4), Seeing()
    with torch.device("cpu"), Halving(), seeing, FakeTensorMode():
        before = modes()
        seeing.seen.clear()
        initialize(layer, CFG[0], seed=0)
        assert seeing.seen == []
        with pytest.raises(ApplyError), without_modes():
            assert modes() == ([], [])
            raise ApplyError("to see what comes after it")
        assert modes() == before and len(before[0]) == len(before[1]) == 2


def test_a_trace_has_none_of_the_writes() -> None:
    layer = nn.Linear(2, 2)
    graph = make_fx(lambda x: (initialize(layer, CFG[0], seed=0), x * 2)[1])(X).code
    assert graph.count("torch.ops") == 1


@pytest.fixture
def meta_by_default() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def test_a_users_function_has_the_default_device_of_the_process(meta_by_default: None) -> None:
    layer, devices = nn.Linear(2, 2, device="cpu"), []
    with torch.device("cpu"):
        initialize(layer, dict(type=lambda tensor: devices.append(torch.empty(2).device.type), params="bias"))
    assert devices == ["meta"]


SCHEMES = [
    *CFG,
    dict(type="Dirac", layer="Conv2d"),
    dict(type="TruncNormal", layer="Linear"),
    dict(type="Sparse", name="0", sparsity=0.5),
]


@pytest.mark.parametrize("fill", SCHEMES, ids=lambda cfg: getattr(cfg["type"], "__name__", cfg["type"]))
def test_fills_are_made_on_the_device_of_their_parameter(fill: dict[str, Any]) -> None:
    one = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(2, 2, 1), nn.Linear(4, 4))
    other = copy.deepcopy(one)
    initialize(one, fill, seed=0)
    torch.set_default_device("meta")
    try:
        initialize(other, fill, seed=0)
    finally:
        torch.set_default_device(None)
    assert_equal(state(one), state(other))


def mixed() -> tuple[nn.Module, nn.Module]:
    """A model with a part whose parameters are inference tensors, and that part."""
    with torch.inference_mode():
        part = nn.Sequential(nn.Linear(8, 8), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
    return nn.Sequential(nn.Linear(8, 8), part, nn.Linear(8, 8)), part


def test_parameters_made_in_inference_mode_are_filled_beside_others() -> None:
    model, part = mixed()
    usual = nn.Sequential(nn.Linear(8, 8), mixed()[1], nn.Linear(8, 8))
    usual[1] = nn.Sequential(nn.Linear(8, 8), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
    cfg = [CFG[0], dict(type="Orthogonal", name="2"), dict(type=nn.init.uniform_, name="1.*", params="bias")]
    report = initialize(model, cfg, seed=0)
    initialize(usual, cfg, seed=0)
    assert report.outcomes == {"filled": len(report)}
    assert_equal(state(model), state(usual))
    assert all(param.is_inference() for param in part.parameters()) and not model[0].weight.is_inference()
    assert model[0].weight._version == usual[0].weight._version > 0


def test_a_checkpoint_is_loaded_into_parameters_made_in_inference_mode(tmp_path: Path) -> None:
    model, _ = mixed()
    torch.save({name: torch.full_like(tensor, 3.0) for name, tensor in state(model).items()}, tmp_path / "all.pth")
    initialize(model, dict(type="Pretrained", checkpoint=str(tmp_path / "all.pth")))
    assert all((tensor == 3).all() for tensor in state(model).values())


def test_an_initializer_of_modules_reaches_parameters_made_in_inference_mode() -> None:
    class Ones(BaseInit):
        def __call__(self, module: nn.Module) -> None:
            for param in module.parameters():
                nn.init.ones_(param)

    model, _ = mixed()
    report = initialize(model, dict(type=Ones))
    assert report.outcomes == {"filled": len(report)}
    assert all((param == 1).all() for param in model.parameters())


def test_a_fake_parameter_is_no_target_and_nothing_is_written() -> None:
    with FakeTensorMode():
        fake = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), fake)
    before = state(model[0])
    with pytest.raises(StateError, match="1.weight is a FakeTensor and has no memory"):
        initialize(model, CFG[0], seed=0)
    assert_equal(state(model[0]), before)
    decided = plan(model, CFG[0])
    assert decided["1.weight"].rule is not None
    with pytest.raises(StateError, match="FakeTensor"):
        decided.apply(model)
    assert initialize(model, dict(type="Normal", name="0"), seed=0)["1.weight"].outcome == "kept"


def test_writes_of_a_part_inside_of_a_modules_own_code_are_seen() -> None:
    class Ones(BaseInit):
        def __call__(self, module: nn.Module) -> None:
            initialize(module[1], dict(type="Constant", val=1, layer="Linear"))

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    report = initialize(model, dict(type=Ones))
    assert [report[name].outcome for name in ("0.weight", "1.weight")] == ["kept", "filled"]


def test_autocast_and_inference_mode_end_inside_and_grad_mode_does_not() -> None:
    with torch.autocast("cpu"), torch.inference_mode(), without_modes():
        made = X @ X
        assert made.dtype == torch.float32 and not made.is_inference() and not torch.is_grad_enabled()
    with without_modes():
        assert torch.is_grad_enabled()
    with torch.no_grad(), without_modes():
        assert not torch.is_grad_enabled()
