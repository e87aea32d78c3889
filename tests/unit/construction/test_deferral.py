"""Constructors' own fills, deferred: nobody can tell, but by the clock (D1 to D4, I6)."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autoinit import autoinit
from autoinit.interception import Block
from tests.processes import Interpreter

SIZE = 96
"""Of layers whose weights are large enough to be deferred."""

NOTHING = dict(type="Constant", name="no_such_module", val=0.0)
"""A rule that matches nothing: a block with rules watches constructions and defers fills, one without does neither."""


def watched(*, defer: bool = True) -> Block:
    """A block that defers and fills nothing."""
    return autoinit(NOTHING, unmatched="ignore", defer=defer)


def linear() -> nn.Linear:
    return nn.Linear(SIZE, SIZE)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "layers": lambda: nn.Sequential(
        linear(), nn.Conv2d(SIZE, SIZE, 3), nn.BatchNorm2d(SIZE), nn.Embedding(SIZE, SIZE), nn.LSTM(SIZE, SIZE)
    ),
    "copied_layers": lambda: nn.Transformer(SIZE, 4, 2, 2, 4 * SIZE),
    "an_embedding_with_padding": lambda: nn.Sequential(
        nn.Embedding(SIZE, SIZE, padding_idx=3), nn.EmbeddingBag(SIZE, SIZE, padding_idx=-1), linear()
    ),
    "computed_weights": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(linear()),
        nn.utils.parametrizations.spectral_norm(linear()),
        nn.utils.parametrizations.orthogonal(linear()),
        linear(),
    ),
}


def model(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Enter a way to build a model into the table of those that everything is tried with."""
    MODELS[build.__name__] = build
    return build


@model
def library_schemes() -> nn.Module:
    whole = nn.Sequential(*(linear() for _ in range(9)))
    nn.init.trunc_normal_(whole[0].weight, std=0.02)
    nn.init.trunc_normal_(whole[1].weight, 1.0, 2.0, -1.0, 0.5)
    nn.init.orthogonal_(whole[2].weight)
    nn.init.xavier_normal_(whole[3].weight)
    nn.init.sparse_(whole[4].weight, 0.5)
    nn.init.eye_(whole[5].weight)
    nn.init.kaiming_normal_(whole[6].weight, mode="fan_out")
    nn.init.uniform_(tensor=whole[7].weight, a=-1.0, b=2.0)
    nn.init.constant_(whole[8].bias, val=3)
    return whole


@model
def older_truncation() -> nn.Module:
    """As timm has it: one in-place operation after the other."""
    layer = linear()
    with torch.no_grad():
        layer.weight.uniform_(-0.9, 0.9).erfinv_().mul_(0.02 * 2**0.5).add_(0.1).clamp_(min=-2.0, max=2.0)
    return nn.Sequential(layer, linear())


@model
def shared_memory() -> nn.Module:
    memory = torch.zeros(2 * SIZE, SIZE)
    first, second = linear(), linear()
    first.weight, second.weight = nn.Parameter(memory[:SIZE]), nn.Parameter(memory[SIZE:])
    nn.init.normal_(first.weight)
    nn.init.ones_(second.weight)
    memory.mul_(2)
    nn.init.uniform_(first.weight)
    return nn.Sequential(first, second)


@model
def other_dtypes_and_formats() -> nn.Module:
    whole = nn.Sequential(nn.Conv2d(SIZE, SIZE, 3), linear().double(), nn.Linear(SIZE, SIZE, dtype=torch.bfloat16))
    whole[0] = whole[0].to(memory_format=torch.channels_last)
    nn.init.normal_(whole[0].weight)
    nn.init.trunc_normal_(whole[2].weight, std=0.1)
    return whole.append(linear().half())


@model
def a_forward_to_find_a_size() -> nn.Module:
    whole = nn.Sequential(nn.Conv2d(3, 64, 7), nn.BatchNorm2d(64), nn.Flatten())
    width = whole(torch.ones(2, 3, 8, 8)).shape[1]
    return whole.append(nn.Linear(width, SIZE))


@model
def modes_around() -> nn.Module:
    first = linear()
    with torch.inference_mode():
        second = linear()
    with torch.device("meta"):
        third = linear()
    with FakeTensorMode():
        linear()
    with torch.device("cpu"):
        fourth = linear()
    whole = nn.Sequential(first, fourth, linear())
    whole.register_buffer("beside", second.weight.clone())
    return whole.append(third.to_empty(device="cpu").apply(lambda layer: layer.reset_parameters()))  # type: ignore[operator]


@model
def errors_on_the_way() -> nn.Module:
    layer = linear()
    for attempt in (
        lambda: layer.weight.fill_(1),
        lambda: nn.init.constant_(layer.weight, "x"),  # type: ignore[arg-type]
        lambda: layer.weight.data.normal_(0, -1),
        lambda: layer.weight.data[SIZE].zero_(),
        lambda: nn.init.eye_(layer.bias),
        lambda: nn.init.kaiming_normal_(layer.bias),
        lambda: nn.init.kaiming_uniform_(layer.weight, mode="fan"),  # type: ignore[arg-type]
        lambda: nn.init.kaiming_normal_(layer.weight, nonlinearity="mish"),  # type: ignore[arg-type]
        lambda: nn.init.kaiming_normal_(layer.weight, "x"),  # type: ignore[arg-type]
    ):
        with pytest.raises((RuntimeError, TypeError, ValueError, IndexError)):
            attempt()
    return nn.Sequential(layer, linear())


@model
def compiled() -> nn.Module:
    whole = nn.Sequential(linear(), linear())
    whole[1].bias.data.copy_(torch.compile(lambda x: x.sum(0), backend="eager")(whole[0].weight.data))
    whole.append(linear())
    doubled = torch.compile(lambda x: x * 2, backend="eager", fullgraph=True)(whole[0].weight.data)
    chosen = torch.cond(doubled.sum() > 0, lambda x: x + 1, lambda x: x - 1, (whole[2].weight.data,))
    whole.register_buffer("chosen", chosen)
    return whole.append(linear())


class Notes:
    """Writes down what is called, or what reaches the kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def note(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.called.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Noting(Notes, TorchFunctionMode):
    __torch_function__ = Notes.note


class NotingOperators(Notes, TorchDispatchMode):
    __torch_dispatch__ = Notes.note


@model
def modes_that_look_on() -> nn.Module:
    first = linear()
    with Noting() as functions:
        second = linear()
    with NotingOperators() as operators:
        third = linear()
        nn.init.normal_(first.weight)
    whole = nn.Sequential(first, second, third, linear())
    called = "".join(functions.called + operators.called)
    whole.register_buffer("called", torch.tensor(list(called.encode())))
    return whole


@model
def transforms_of_functions() -> nn.Module:
    first, second = linear(), linear()
    first.bias.data.copy_(torch.func.vmap(lambda row: row.sum())(first.weight.data))
    second.bias.data.copy_(torch.func.grad(lambda weight: (weight**2).sum())(second.weight.data)[0])
    torch.func.vmap(lambda row: row.fill_(2))(second.weight.data)
    return nn.Sequential(first, second, linear())


@model
def attributes_of_parameters() -> nn.Module:
    layer = linear()
    layer.weight.requires_grad_(False).fill_(3)
    layer.weight.is_special = True  # type: ignore[attr-defined]
    nn.init.uniform_(layer.weight)
    layer.weight.add_(1).mul_(2)
    with torch.no_grad():
        layer.weight[3] = 0
        layer.weight[:, 3:5] *= 2
    assert layer.weight.is_special  # type: ignore[attr-defined]
    return layer


@model
def empty_weights() -> nn.Module:
    """As accelerate has it: every parameter is moved to the meta device as soon as a module has it."""
    original = nn.Module.register_parameter

    def register(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        original(module, name, param)
        if param is not None:
            module._parameters[name] = nn.Parameter(param.to("meta"))

    first = linear()
    with mock.patch.object(nn.Module, "register_parameter", register):
        second = linear()
    assert second.weight.is_meta
    return nn.Sequential(first, second.to_empty(device="cpu").apply(lambda layer: layer.reset_parameters()), linear())  # type: ignore[operator]


@model
def lazy_layers() -> nn.Module:
    whole = nn.Sequential(linear(), nn.LazyLinear(SIZE), linear())
    whole(torch.ones(2, SIZE))
    return whole


@model
def hooks_that_look() -> nn.Module:
    """Code of others that torch calls in the middle of one of its functions, where a mode for functions is off."""
    whole = nn.Sequential(*(linear() for _ in range(4)))
    seen: list[float] = []

    def look(number: int) -> None:
        seen.append(whole[number].weight.detach().numpy().sum())

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        look(1)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = (whole[0].weight * whole[0].weight).sum()
    loss.register_hook(lambda gradient: look(2))
    loss.backward()
    torch.zeros(1).apply_(lambda _: look(3) or 0.0)
    whole.register_buffer("seen", torch.tensor(seen))
    return whole


@torch.library.custom_op("autoinit_tests::look", mutates_args=())
def look_at_both(one: torch.Tensor) -> torch.Tensor:
    return torch.tensor(float(one.numpy().sum() + LOOKED_AT[0].detach().numpy().sum()))


LOOKED_AT: list[torch.Tensor] = []


@model
def an_operator_of_another_library() -> nn.Module:
    whole = nn.Sequential(linear(), linear())
    LOOKED_AT[:] = [whole[0].weight]
    whole.register_buffer("seen", look_at_both(whole[1].weight.detach()))
    return whole


@model
def scripted() -> nn.Module:
    whole = nn.Sequential(linear(), torch.jit.script(linear()), linear())
    whole.register_buffer("seen", whole[1](torch.ones(2, SIZE)).detach())
    return whole


@model
def blocks_inside() -> nn.Module:
    first = linear()
    with watched():
        second = linear()
        with watched(defer=False):
            third = linear()
        fourth = linear()
    return nn.Sequential(first, second, third, fourth, linear())


def built(build: Callable[[], nn.Module], *, deferred: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What is in a model, and where it leaves the generator."""
    torch.manual_seed(11)
    if deferred:
        with watched():
            whole = build()
    else:
        whole = build()
    tensors = {name: tensor.detach().clone() for name, tensor in (*whole.named_parameters(), *whole.named_buffers())}
    return tensors, torch.get_rng_state()


# The first torch.compile of a process patches nn.Module for good: that one gets a process of its own.
EVERY_MODEL = pytest.mark.parametrize(
    "build", [pytest.param(build, id=name) for name, build in MODELS.items() if build is not compiled]
)


@EVERY_MODEL
def test_without_rules_everything_is_bitwise_as_without_a_block(build: Callable[[], nn.Module]) -> None:
    (plain, before), (deferred, after) = built(build, deferred=False), built(build, deferred=True)
    assert plain.keys() == deferred.keys()
    for name, tensor in plain.items():
        assert torch.equal(tensor, deferred[name]), name
    assert torch.equal(before, after)


def test_torch_compile_in_a_constructor(interpreter: Interpreter) -> None:
    code = """
        import torch
        from tests.unit.construction.test_deferral import built, compiled
        (plain, before), (deferred, after) = built(compiled, deferred=False), built(compiled, deferred=True)
        assert plain.keys() == deferred.keys()
        assert all(torch.equal(tensor, deferred[name]) for name, tensor in plain.items())
        assert torch.equal(before, after)
    """
    interpreter.check(code)


@pytest.mark.parametrize("mean", [-3.2, 3.2])
def test_what_torch_has_to_say_of_a_truncated_normal_it_says_at_once(mean: float) -> None:
    """It warns of a mean that is more than two standard deviations outside of the bounds, here of 3."""
    with watched():
        layer = linear()
        with pytest.warns(UserWarning, match="mean is more than 2 std from"):
            nn.init.trunc_normal_(layer.weight, mean=mean, std=0.5)
