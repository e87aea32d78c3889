"""One module at a time: what is touched, as with mmengine's functions; what is drawn; what is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from mmengine.model import weight_init as theirs
from torch import Tensor, nn

import autoinit
from autoinit.errors import ConfigError, ConfigTypeError, ShapeError
from autoinit.fills import Elementwise, Normal, TruncNormal, Uniform
from tests.closed_form import pvalues

NAMES = ["constant_init", "xavier_init", "normal_init", "trunc_normal_init", "uniform_init", "kaiming_init"]
NAMES += ["caffe2_xavier_init"]
REQUIRED = {"constant_init": dict(val=0.5)}
NEED_A_MATRIX = {"xavier_init", "kaiming_init", "caffe2_xavier_init"}
UNTOUCHED = 7.0


def ours(name: str) -> Callable[..., None]:
    return getattr(autoinit, name)


class Odd(nn.Module):
    """Names that mean something else here."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = None
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_g = nn.Parameter(torch.zeros(3, 3))
        self.inner = nn.Linear(3, 3)


class Empty(nn.Module): ...


MODULES = {
    "linear": lambda: nn.Linear(4, 5),
    "no bias": lambda: nn.Linear(4, 5, bias=False),
    "convolution": lambda: nn.Conv2d(2, 4, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose1d(2, 4, 3),
    "embedding": lambda: nn.Embedding(5, 4, padding_idx=0),
    "norm": lambda: nn.BatchNorm2d(4),
    "plain norm": lambda: nn.LayerNorm(4, elementwise_affine=False),
    "container": lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 4)),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "odd": Odd,
    "empty": Empty,
    "half": lambda: nn.Linear(4, 5).bfloat16(),
    "frozen": lambda: nn.Linear(4, 5).requires_grad_(False),
}


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def prepared(kind: str) -> nn.Module:
    module = MODULES[kind]()
    with torch.no_grad():
        for tensor in tensors(module).values():
            tensor.fill_(UNTOUCHED)
    return module


def touched(module: nn.Module) -> set[str]:
    return {name for name, tensor in tensors(module).items() if bool((tensor != UNTOUCHED).any())}


def test_bias_init_with_prob_is_that_of_mmengine() -> None:
    for probability in (0.01, 0.5, 0.9):
        assert autoinit.bias_init_with_prob(probability) == pytest.approx(theirs.bias_init_with_prob(probability))


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_touched_is_what_mmengine_touches(name: str, kind: str) -> None:
    mine, other = prepared(kind), prepared(kind)
    arguments = {**REQUIRED.get(name, {}), "bias": 0.25}
    if name in NEED_A_MATRIX and kind == "norm":
        with pytest.raises(ValueError, match="fewer than 2 dimensions"):
            getattr(theirs, name)(other, **arguments)
        with pytest.raises(ShapeError):
            ours(name)(mine, **arguments)
        assert touched(mine) == set()
        return
    getattr(theirs, name)(other, **arguments)
    ours(name)(mine, **arguments)
    assert touched(mine) == touched(other)
    for tensor_name, tensor in tensors(mine).items():
        if tensor_name.endswith("bias") or name == "constant_init":
            assert torch.equal(tensor, tensors(other)[tensor_name])


DRAWS = [
    ("xavier_init", {}, Normal(0.0, math.sqrt(2 / 500))),
    ("xavier_init", dict(gain=2, distribution="uniform"), Uniform(-2 * math.sqrt(6 / 500), 2 * math.sqrt(6 / 500))),
    ("normal_init", dict(mean=0.1, std=0.02), Normal(0.1, 0.02)),
    ("trunc_normal_init", dict(std=0.02, a=-0.04, b=0.04), TruncNormal(0.0, 0.02, -0.04, 0.04)),
    ("uniform_init", dict(a=-0.5), Uniform(-0.5, 1.0)),
    ("kaiming_init", {}, Normal(0.0, math.sqrt(2 / 200))),
    ("kaiming_init", dict(a=1, nonlinearity="leaky_relu", mode="fan_in"), Normal(0.0, math.sqrt(1 / 300))),
    ("caffe2_xavier_init", {}, Uniform(-math.sqrt(3 / 300), math.sqrt(3 / 300))),
]


@pytest.mark.parametrize(("name", "arguments", "fill"), DRAWS, ids=lambda value: str(value))
def test_what_is_drawn(name: str, arguments: dict, fill: Elementwise) -> None:
    layer = nn.Linear(300, 200)
    torch.manual_seed(3)
    ours(name)(layer, **arguments)
    # Eight cases of four tests at 2e-5: some fails with probability 6e-4.
    found = pvalues(layer.weight.detach(), fill)
    assert min(found.values()) > 2e-5, found
    assert layer.bias.eq(0).all()


def test_a_constant_draws_nothing_and_a_bias_of_none_is_left_alone() -> None:
    layer, state = prepared("linear"), torch.get_rng_state()
    weight, version = layer.weight, layer.weight._version
    assert autoinit.constant_init(layer, 1, bias=None) is None
    assert touched(layer) == {"weight"} and layer.weight is weight and weight._version == version + 1
    assert torch.equal(torch.get_rng_state(), state)


def test_values_follow_torchs_seed_and_two_calls_differ() -> None:
    first, second, again = (nn.Linear(8, 8) for _ in range(3))
    torch.manual_seed(5)
    autoinit.normal_init(first)
    autoinit.normal_init(second)
    torch.manual_seed(5)
    autoinit.normal_init(again)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: autoinit.constant_init(5, 1),
            ConfigTypeError,
            "constant_init(): 5 must be a torch.nn.Module, not int.",
        ),
        (lambda m: autoinit.constant_init(m, "1"), ConfigTypeError, "Constant: val='1' must be a number, not str."),
        (
            lambda m: autoinit.normal_init(m, bias="1"),
            ConfigTypeError,
            "normal_init.bias: '1' must be a number, or None to leave the bias alone.",
        ),
        (lambda m: autoinit.normal_init(m, std=-1), ConfigError, "Normal: std=-1 must be at least 0."),
        (lambda m: autoinit.uniform_init(m, a=2), ConfigError, "Uniform: a=2.0 is above b=1.0. Swap them."),
        (
            lambda m: autoinit.xavier_init(m, distribution="unifrom"),
            ConfigError,
            "Xavier: distribution='unifrom' is unknown. Did you mean 'uniform'? Known: normal, uniform.",
        ),
        (
            lambda m: autoinit.kaiming_init(nn.LayerNorm(4)),
            ShapeError,
            "kaiming_init (layer='LayerNorm'): weight of LayerNorm: Kaiming needs fan_in and fan_out, and shape (4,) "
            "has none: narrow the rule with layer=, name= or params=, or use Constant, Normal or Uniform for this "
            "parameter.",
        ),
    ],
)
def test_what_is_refused(call: Callable[[nn.Module], None], error: type[Exception], message: str) -> None:
    layer = prepared("linear")
    with pytest.raises(error) as caught:
        call(layer)
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert touched(layer) == set()


def test_an_lstm_has_neither_weight_nor_bias() -> None:
    # Its `bias` is a flag, on which mmengine stumbles.
    lstm = nn.LSTM(4, 3)
    before = copy.deepcopy(lstm.state_dict())
    with pytest.raises(AttributeError, match="'bool' object has no attribute 'fill_'"):
        theirs.constant_init(lstm, 1)
    autoinit.constant_init(lstm, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lstm.state_dict().items())


def test_buffers_are_left_alone() -> None:
    # mmengine writes to whatever is called `weight`: a frozen batch norm keeps its statistics' scale there.
    layer = Empty()
    layer.register_buffer("weight", torch.full((3,), UNTOUCHED))
    layer.register_parameter("bias", nn.Parameter(torch.full((3,), UNTOUCHED)))
    autoinit.constant_init(layer, 1)
    assert touched(layer) == {"bias"}
