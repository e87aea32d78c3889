"""`assert_no_duplicates`: repeated random values, and values that are alike on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from autoinit import ConfigTypeError, MatchError, StateError, VerificationError
from autoinit.testing import assert_no_duplicates


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def transformer(layers: int = 3) -> nn.Module:
    return nn.ModuleList([nn.TransformerEncoderLayer(32, 4, 64, batch_first=True) for _ in range(layers)])


class Holder(nn.Module):
    def __init__(self, *values: Tensor) -> None:
        super().__init__()
        self.values = nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in values])


def tables() -> nn.Module:
    """Tables that follow a formula and are the same in each layer."""
    places = torch.arange(64.0)[:, None] / 10000 ** (torch.arange(0, 64, 2.0) / 64)
    made = [
        torch.arange(1.0, 17.0).log().repeat(64, 1),
        torch.stack([places.sin(), places.cos()], -1).flatten(1),
        torch.cat([places.sin(), places.cos()], 1),
        torch.eye(32),
        torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])).expand(8, 1, 3, 3).contiguous(),
        torch.linspace(0, 1, 64),
        torch.cat([torch.zeros(32), torch.ones(32), torch.zeros(64)]),
        2.0 ** -torch.arange(1.0, 9.0),
    ]
    return Holder(*(table.clone() for table in made for _ in range(2)))


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "transformer": transformer,
    "tables": tables,
    "recurrent": lambda: nn.ModuleList([nn.LSTM(32, 32, 2, bidirectional=True), nn.GRU(32, 32, 2)]),
    "convolutions": lambda: nn.Sequential(*[m for _ in range(3) for m in (nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))]),
    "depthwise": lambda: nn.Sequential(*[nn.Conv2d(64, 64, 3, groups=64) for _ in range(2)]),
    "padded": lambda: nn.ModuleList([nn.Embedding(50, 16, padding_idx=0) for _ in range(2)]),
    "tiny": lambda: nn.Sequential(*[nn.Linear(2, 2) for _ in range(50)]),
    "complex": lambda: nn.Sequential(*[nn.Linear(16, 16, dtype=torch.complex64) for _ in range(2)]),
}


@pytest.mark.parametrize("build", RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_constants_tables_and_independent_values_are_none(build: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    model = build()
    assert_no_duplicates(model if next(model.parameters()).is_complex() else model.to(dtype))


def test_tied_parameters_are_not_duplicates() -> None:
    model = nn.ModuleDict({"emb": nn.Embedding(50, 16), "head": nn.Linear(16, 50, bias=False), "view": nn.Linear(4, 4)})
    model["head"].weight = model["emb"].weight
    model["view"].weight = nn.Parameter(model["emb"].weight.detach()[:16])
    model["view"].weight.data = model["emb"].weight.data
    assert_no_duplicates(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_copied_layers_are_found_unless_they_are_ignored(dtype: torch.dtype) -> None:
    layers = transformer(1)
    layers.append(copy.deepcopy(layers[0])).to(dtype)
    with pytest.raises(VerificationError) as caught:
        assert_no_duplicates(layers)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Random values of ModuleList occur twice, in 6 parameters:"
    assert lines[3] == "  1.linear1.weight (Linear): is a copy of 0.linear1.weight"
    assert lines[-1].startswith("Draw them anew")
    assert caught.value.fqn == "1.self_attn.in_proj_weight"
    # Norms and zero biases are alike, and none of them is named.
    assert not [line for line in lines if "norm" in line or "in_proj_bias" in line]
    assert_no_duplicates(layers, ignore="1.**")
    with pytest.raises(VerificationError, match="in 4 parameters"):
        assert_no_duplicates(layers, ignore=["1.self_attn.**", "*.norm?.*"])
    with pytest.raises(
        MatchError, match="ignore: '0.norm3.weight' is no parameter of ModuleList. Did you mean '0.norm"
    ):
        assert_no_duplicates(layers, ignore=["0.norm3.weight"])


def twice(layer: nn.Module) -> nn.Module:
    return nn.ModuleList([layer, copy.deepcopy(layer)])


def eight_bits() -> nn.Module:
    one, other = (torch.randn(64, 64).to(torch.float8_e4m3fn) for _ in range(2))
    assert_no_duplicates(Holder(one, other))
    return Holder(one, other, one.clone())


def one_seed() -> nn.Module:
    layers = []
    for size in (64, 128):
        torch.manual_seed(3)
        layers.append(nn.Linear(size, size))
    return nn.Sequential(*layers)


def shards(axis: int, how: Callable[[Tensor, int], Tensor]) -> nn.Module:
    layer = nn.Linear(64, 64, bias=False)
    layer.weight.data = how(layer.weight.detach().chunk(4, axis)[0].clone(), axis)
    return layer


REPEAT: tuple[Callable[[Tensor, int], Tensor], ...] = (
    lambda part, axis: torch.cat([part] * 4, axis),
    lambda part, axis: part.repeat_interleave(4, axis),
)
WRONG: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "eight bits": (eight_bits, r"values\.2 \(Holder\): is a copy of values\.0"),
    "padding": (lambda: twice(nn.Embedding(50, 16, padding_idx=0)), r"1\.weight \(Embedding\): is a copy of 0\.weight"),
    "parametrized": (lambda: twice(weight_norm(nn.Linear(32, 32))), r"1\.weight \(Linear\): is a copy of 0\.weight"),
    "one seed": (one_seed, r"1\.weight \(Linear\): correlates with 0\.weight.*another scale"),
    **{
        f"shards {axis} {at}": (
            lambda axis=axis, how=how: shards(axis, how),  # type: ignore[misc]
            f"48 of 64 slices along axis {axis} repeat an earlier one",
        )
        for axis in (0, 1)
        for at, how in enumerate(REPEAT)
    },
}


@pytest.mark.parametrize(("build", "text"), WRONG.values(), ids=WRONG)
def test_repeated_values_are_found(build: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(VerificationError, match=text):
        assert_no_duplicates(build())


def test_a_model_without_values_is_an_error() -> None:
    with pytest.raises(StateError, match="weight is on the meta device"):
        assert_no_duplicates(nn.Linear(2, 2, device="meta"))
    with pytest.raises(ConfigTypeError, match="assert_no_duplicates"):
        assert_no_duplicates(3)  # type: ignore[arg-type]


def test_the_model_and_the_generators_do_not_change() -> None:
    model = transformer()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert_no_duplicates(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)
