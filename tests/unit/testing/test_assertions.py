"""The assertions of `autoinit.testing`: what passes, what fails, and what the failure says."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoinit import (
    AutoInitError,
    ConfigTypeError,
    MatchError,
    StateError,
    VerificationError,
    autoinit,
    initialize,
    plan,
)
from autoinit.testing import assert_initialized, assert_no_duplicates, assert_same_init

CFG = [dict(type="Normal", layer="Linear", std=0.02), dict(type="Constant", layer="LayerNorm", val=1)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 128)
        self.norm = nn.LayerNorm(128)
        self.scale = nn.Parameter(torch.ones(3))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def initialized() -> Net:
    model = Net()
    initialize(model, CFG, seed=0)
    return model


# assert_initialized


def test_what_is_as_asked_gives_its_verdict() -> None:
    verdict = assert_initialized(initialized(), CFG)
    assert verdict.ok and verdict.alpha == 1e-3
    assert list(verdict.untested) == ["scale"]


def test_a_plan_and_a_report_say_it_too() -> None:
    model = Net()
    decided = plan(model, CFG)
    report = decided.apply(model, seed=3)
    assert assert_initialized(model, decided).ok
    assert assert_initialized(model, report).ok


def test_a_failure_names_the_layer_the_rule_what_was_asked_for_and_what_was_found() -> None:
    model = initialized()
    nn.init.normal_(model.fc.weight, std=0.03)
    with pytest.raises(VerificationError) as caught:
        assert_initialized(model, CFG)
    assert re.search(
        r"fc\.weight: std 0\.03\d*, not 0\.02: off by \+\S+ % .*init_cfg\[0\] asks for Normal\(mean=0, std=0\.02\)",
        str(caught.value),
    )
    assert caught.value.fqn == "fc.weight"
    assert caught.value.verdict.failures  # type: ignore[attr-defined]


def test_the_rate_of_false_alarms_decides() -> None:
    model = initialized()
    with torch.no_grad():
        model.fc.weight.mul_(1.035)  # About 4.5 standard errors.
    with pytest.raises(VerificationError):
        assert_initialized(model, CFG, alpha=0.01)
    assert assert_initialized(model, CFG, alpha=1e-9).ok


@pytest.mark.parametrize("allowed", [True, "scale", ["sca*"], ["**"]])
def test_untested_parameters_that_are_allowed(allowed: Any) -> None:
    assert assert_initialized(initialized(), CFG, allow_untested=allowed).ok


def test_untested_parameters_that_are_not() -> None:
    with pytest.raises(VerificationError) as caught:
        assert_initialized(initialized(), CFG[:1], allow_untested=["norm.weight"])
    assert str(caught.value) == (
        "2 parameters of Net not tested, of 5:\n  scale: no rule\n  norm.bias: no rule\n"
        "Add rules for them, or allow it: allow_untested=[...]."
    )
    assert caught.value.fqn == "scale"


def test_a_test_of_nothing_fails() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(VerificationError, match="2 parameters of Linear not tested, of 2"):
        assert_initialized(layer, dict(type="Keep", layer="Linear"))
    assert not assert_initialized(layer, None).failures  # An audit is what was asked for.


def test_an_audit_finds_what_is_no_value() -> None:
    model = Net()
    with torch.no_grad():
        model.fc.weight[0, 0] = float("nan")
    with pytest.raises(VerificationError, match=r"fc\.weight: 1 of 8,192 values are NaN"):
        assert_initialized(model, None)


@pytest.mark.parametrize(
    ("written", "error", "text"),
    [
        (["scal"], MatchError, "allow_untested: 'scal' is no parameter of Net. Did you mean 'scale'?"),
        (3, ConfigTypeError, "allow_untested=3 must be a list of names or globs."),
        ([3], ConfigTypeError, "allow_untested=[3] must be a list of names or globs."),
    ],
)
def test_exemptions_that_cannot_be_meant(written: Any, error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error) as caught:
        assert_initialized(initialized(), CFG, allow_untested=written)
    assert str(caught.value) == text


# assert_same_init

ONE = nn.Linear(2, 2)


def with_bias(value: Callable[[], float]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = Net()
        nn.init.constant_(model.fc.bias, value())
        return model

    return build


def test_what_torch_draws_is_the_same() -> None:
    assert_same_init(Net)
    assert_same_init(Net, seed=-1)


def test_what_autoinit_draws_without_a_seed_is_the_same() -> None:
    @autoinit(CFG)
    def build() -> nn.Module:
        return Net()

    assert_same_init(build, seed=7)


CAUSES = {
    "Python's `random`, which torch.manual_seed does not seed, decides fc.bias.": random.random,
    "NumPy's generator, which torch.manual_seed does not seed, decides fc.bias.": np.random.random,
    "The number of threads decides fc.bias.": lambda: float(torch.get_num_threads()),
    "With all else the same, too, it is another fc.bias: drawn from a generator that nobody seeds": (
        lambda: float(np.random.default_rng().random())
    ),
}


@pytest.mark.parametrize(("cause", "value"), CAUSES.items(), ids=[*map(str, range(len(CAUSES)))])
def test_what_else_decides_is_named_and_nothing_else(cause: str, value: Callable[[], float]) -> None:
    with pytest.raises(VerificationError) as caught:
        assert_same_init(with_bias(value), seed=5)
    first, where, *causes = str(caught.value).splitlines()
    assert first == "Two builds of Net under torch.manual_seed(5) differ in 1 of 5 parameters and buffers:"
    assert re.fullmatch(r"  fc\.bias \(Linear\): 128 of 128 values differ, by \S+ at most", where)
    assert len(causes) == 1 and causes[0].startswith(cause)
    assert caught.value.fqn == "fc.bias"


def test_generators_do_not_fall_into_step_again() -> None:
    # `choice` draws until a number fits, so one that starts a draw later may end at the same place.
    for state in range(20):
        random.seed(state)
        with pytest.raises(VerificationError):
            assert_same_init(with_bias(lambda: random.choice([0.0, 1.0, 2.0, 3.0]) + random.random()))


def test_two_causes_are_both_named() -> None:
    def build() -> nn.Module:
        model = with_bias(random.random)()
        nn.init.constant_(model.scale, np.random.random())
        return model

    with pytest.raises(VerificationError) as caught:
        assert_same_init(build)
    assert [line.split(",")[0] for line in str(caught.value).splitlines()[-2:]] == [
        "Python's `random`",
        "NumPy's generator",
    ]


def test_a_factory_that_seeds_its_other_generators_passes() -> None:
    def value() -> float:
        random.seed(3)
        return random.random()

    assert_same_init(with_bias(value))


def test_generators_and_threads_are_left_as_they_were() -> None:
    def state() -> list[object]:
        _, keys, *rest = np.random.get_state()
        return [torch.get_rng_state().tolist(), random.getstate(), keys.tolist(), *rest, torch.get_num_threads()]

    before = state()
    assert_same_init(Net, seed=1)
    with pytest.raises(VerificationError):
        assert_same_init(with_bias(lambda: random.random() + np.random.random()))

    def fails() -> nn.Module:
        raise KeyError(np.random.random())

    with pytest.raises(KeyError):
        assert_same_init(fails)
    assert state() == before


def test_buffers_count_and_so_do_shapes_and_names() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            size = 3 + int(random.random() * 1e6)
            self.register_buffer("mask", torch.zeros(size), persistent=False)
            setattr(self, f"w{size}", nn.Parameter(torch.zeros(1)))

    with pytest.raises(VerificationError) as caught:
        assert_same_init(Odd)
    assert re.search(r"mask \(Odd\): its shape is \d+ or \d+\n", str(caught.value))
    assert len(re.findall(r"w\d+ \(Odd\): only one build has it", str(caught.value))) == 2


def parameter(values: Callable[[], Tensor]) -> Callable[[], nn.Module]:
    return lambda: nn.ParameterList([nn.Parameter(values(), requires_grad=False)])


@pytest.mark.parametrize(
    "values",
    [
        lambda: torch.tensor([float("nan"), -0.0]),
        lambda: torch.randn(4, 4).to(torch.float8_e4m3fn),
        lambda: torch.randn(4, dtype=torch.complex64).conj(),
        lambda: torch.randn(4, 4).t(),
        lambda: torch.tensor(3),
        lambda: torch.tensor([True, False]),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.zeros(0, 3),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ],
    ids=["nan", "float8", "complex", "strided", "scalar", "bool", "sparse", "empty", "quantized"],
)
def test_tensors_of_every_kind_are_compared(values: Callable[[], Tensor]) -> None:
    assert_same_init(parameter(values))


def test_zeros_of_different_sign_differ() -> None:
    signs = iter((0.0, -0.0) * 3)
    with pytest.raises(VerificationError, match="1 of 1 values differ, by 0 at most"):
        assert_same_init(parameter(lambda: torch.tensor([next(signs)])))


def test_a_lazy_parameter_has_no_values_to_compare() -> None:
    assert_same_init(lambda: nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3)))


@pytest.mark.parametrize(
    ("factory", "error", "text"),
    [
        (nn.Linear(2, 2), ConfigTypeError, "assert_same_init(): Linear is not what builds a model. Give a function"),
        (3, ConfigTypeError, "assert_same_init(): int is not what builds a model"),
        (lambda: 3, ConfigTypeError, "assert_same_init(): 3 is a int, not a torch.nn.Module"),
        (lambda: ONE, StateError, "the factory gave the same Linear twice"),
        (lambda: nn.Linear(2, 2, device="meta"), StateError, "weight is on the meta device and has no values"),
    ],
)
def test_factories_that_cannot_be_tested(factory: Any, error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error) as caught:
        assert_same_init(factory)
    assert text in str(caught.value)


@pytest.mark.parametrize("seed", [None, 1.5, "3"])
def test_a_seed_is_an_integer(seed: Any) -> None:
    with pytest.raises(ConfigTypeError, match="seed"):
        assert_same_init(Net, seed)


# assert_no_duplicates


def transformer(layers: int = 3) -> nn.Module:
    return nn.ModuleList([nn.TransformerEncoderLayer(32, 4, 64, batch_first=True) for _ in range(layers)])


class Holder(nn.Module):
    def __init__(self, *values: Tensor) -> None:
        super().__init__()
        self.values = nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in values])


def tables() -> nn.Module:
    """What models have that is the same in each layer, by a formula."""
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
def test_constants_tables_and_independent_values_are_no_duplicates(
    build: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    model = build()
    assert_no_duplicates(model if next(model.parameters()).is_complex() else model.to(dtype))


def test_what_is_shared_is_no_duplicate() -> None:
    model = nn.ModuleDict({"emb": nn.Embedding(50, 16), "head": nn.Linear(16, 50, bias=False), "view": nn.Linear(4, 4)})
    model["head"].weight = model["emb"].weight
    model["view"].weight = nn.Parameter(model["emb"].weight.detach()[:16])
    model["view"].weight.data = model["emb"].weight.data
    assert_no_duplicates(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_copied_layers_are_found(dtype: torch.dtype) -> None:
    layers = transformer(1)
    layers.append(copy.deepcopy(layers[0]))
    with pytest.raises(VerificationError) as caught:
        assert_no_duplicates(layers.to(dtype))
    lines = str(caught.value).splitlines()
    assert lines[0] == "Random values of ModuleList occur twice, in 6 parameters:"
    assert lines[3] == "  1.linear1.weight (Linear): is a copy of 0.linear1.weight"
    assert lines[-1].startswith("Draw them anew")
    assert caught.value.fqn == "1.self_attn.in_proj_weight"
    # Norms and zero biases are alike, and none of them is named.
    assert not [line for line in lines if "norm" in line or "in_proj_bias" in line]


def test_copies_in_eight_bits_are_found() -> None:
    one, other = (torch.randn(64, 64).to(torch.float8_e4m3fn) for _ in range(2))
    assert_no_duplicates(Holder(one, other))
    with pytest.raises(VerificationError, match=r"values\.2 \(Holder\): is a copy of values\.0"):
        assert_no_duplicates(Holder(one, other, one.clone()))


def test_copies_with_rows_for_padding_are_found() -> None:
    emb = nn.Embedding(50, 16, padding_idx=0)
    with pytest.raises(VerificationError, match=r"1\.weight \(Embedding\): is a copy of 0\.weight"):
        assert_no_duplicates(nn.ModuleList([emb, copy.deepcopy(emb)]))


def test_layers_under_one_seed_are_found_whatever_their_scale() -> None:
    layers = []
    for size in (64, 128):
        torch.manual_seed(3)
        layers.append(nn.Linear(size, size))
    with pytest.raises(VerificationError, match=r"1\.weight \(Linear\): correlates with 0\.weight.*another scale"):
        assert_no_duplicates(nn.Sequential(*layers))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("how", ["repeat", "interleave"])
def test_shards_and_experts_that_repeat_are_found(axis: int, how: str) -> None:
    layer = nn.Linear(64, 64, bias=False)
    part = layer.weight.detach().chunk(4, axis)[0].clone()
    times = [4 if other == axis else 1 for other in range(2)]
    layer.weight.data = part.repeat(times) if how == "repeat" else part.repeat_interleave(4, axis)
    with pytest.raises(VerificationError, match=f"48 of 64 slices along axis {axis} repeat an earlier one"):
        assert_no_duplicates(layer)


def test_computed_weights_are_compared_as_forward_uses_them() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(32, 32, bias=False))
    with pytest.raises(VerificationError, match=r"1\.weight \(Linear\): is a copy of 0\.weight"):
        assert_no_duplicates(nn.Sequential(layer, copy.deepcopy(layer)))


def test_what_is_ignored_is_left_out() -> None:
    layers = transformer(1)
    layers.append(copy.deepcopy(layers[0]))
    assert_no_duplicates(layers, ignore="1.**")
    with pytest.raises(VerificationError, match="in 4 parameters"):
        assert_no_duplicates(layers, ignore=["1.self_attn.**", "*.norm?.*"])
    with pytest.raises(
        MatchError, match="ignore: '0.norm3.weight' is no parameter of ModuleList. Did you mean '0.norm"
    ):
        assert_no_duplicates(layers, ignore=["0.norm3.weight"])


def test_a_model_without_values_is_an_error() -> None:
    with pytest.raises(StateError, match="weight is on the meta device"):
        assert_no_duplicates(nn.Linear(2, 2, device="meta"))
    with pytest.raises(ConfigTypeError, match="assert_no_duplicates"):
        assert_no_duplicates(3)  # type: ignore[arg-type]


def test_looking_changes_nothing() -> None:
    model = transformer()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert_no_duplicates(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)
