"""`assert_initialized` and `assert_same_init`: what passes, what fails, and the text of the failure."""

from __future__ import annotations

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
from autoinit.testing import assert_initialized, assert_same_init

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


def test_a_model_that_is_right_gives_its_verdict() -> None:
    model = Net()
    decided = plan(model, CFG)
    report = decided.apply(model, seed=3)
    for what in (CFG, decided, report):
        verdict = assert_initialized(model, what)
        assert verdict.ok and verdict.alpha == 1e-3
        assert list(verdict.untested) == ["scale"]


def test_a_failure_names_the_parameter_the_rule_the_expected_and_the_found_values() -> None:
    model = initialized()
    with torch.no_grad():
        model.fc.weight.mul_(1.035)  # About 4.5 standard errors.
    assert assert_initialized(model, CFG, alpha=1e-9).ok
    with pytest.raises(VerificationError) as caught:
        assert_initialized(model, CFG, alpha=0.01)
    says = r"fc\.weight: std 0\.02\d*, not 0\.02: off by \+\S+ % .*init_cfg\[0\] asks for Normal\(mean=0, std=0\.02\)"
    assert re.search(says, str(caught.value))
    assert caught.value.fqn == "fc.weight" and caught.value.verdict.failures  # type: ignore[attr-defined]


def test_untested_parameters_that_are_not_allowed_fail() -> None:
    for allowed in (True, "scale", ["sca*"], ["**"]):
        assert assert_initialized(initialized(), CFG, allow_untested=allowed).ok
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
    nn.init.constant_(layer.bias, float("nan"))
    with pytest.raises(VerificationError, match="bias: 2 of 2 values are NaN"):
        assert_initialized(layer, None)


@pytest.mark.parametrize(
    ("written", "error", "text"),
    [
        (["scal"], MatchError, "allow_untested: 'scal' is no parameter of Net. Did you mean 'scale'?"),
        (3, ConfigTypeError, "allow_untested=3 must be a list of names or globs."),
        ([3], ConfigTypeError, "allow_untested=[3] must be a list of names or globs."),
    ],
)
def test_bad_exemptions_are_errors(written: Any, error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error) as caught:
        assert_initialized(initialized(), CFG, allow_untested=written)
    assert str(caught.value) == text


ONE = nn.Linear(2, 2)


def with_bias(value: Callable[[], float]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = Net()
        nn.init.constant_(model.fc.bias, value())
        return model

    return build


@autoinit(CFG)
def by_autoinit() -> nn.Module:
    return Net()


def by_another_seed() -> nn.Module:
    random.seed(3)
    return with_bias(random.random)()


@pytest.mark.parametrize("factory", [Net, by_autoinit, by_another_seed])
@pytest.mark.parametrize("seed", [0, 7, -1, np.int64(-3)])
def test_a_seed_that_decides_every_value_passes(factory: Callable[[], nn.Module], seed: int) -> None:
    assert_same_init(factory, seed)


CAUSES = {
    "Python's `random`, which torch.manual_seed does not seed, decides fc.bias.": random.random,
    "NumPy's generator, which torch.manual_seed does not seed, decides fc.bias.": np.random.random,
    "The number of threads decides fc.bias.": lambda: float(torch.get_num_threads()),
    "With all else the same, too, it is another fc.bias: drawn from a generator that is not seeded": (
        lambda: float(np.random.default_rng().random())
    ),
}


@pytest.mark.parametrize(("cause", "value"), CAUSES.items(), ids=[*map(str, range(len(CAUSES)))])
def test_only_the_cause_is_named(cause: str, value: Callable[[], float]) -> None:
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
    *_, one, other = str(caught.value).splitlines()
    assert one.startswith("Python's `random`,") and other.startswith("NumPy's generator,")


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
    def build() -> nn.Module:
        made = values()
        is_parameter = isinstance(made, nn.UninitializedParameter)
        return nn.ParameterList([made if is_parameter else nn.Parameter(made, requires_grad=False)])

    return build


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
        nn.UninitializedParameter,
    ],
    ids=["nan", "float8", "complex", "strided", "scalar", "bool", "sparse", "empty", "quantized", "lazy"],
)
def test_tensors_of_every_kind_are_compared(values: Callable[[], Tensor]) -> None:
    assert_same_init(parameter(values))


def test_zeros_of_different_sign_differ() -> None:
    signs = iter((0.0, -0.0) * 3)
    with pytest.raises(VerificationError, match="1 of 1 values differ, by 0 at most"):
        assert_same_init(parameter(lambda: torch.tensor([next(signs)])))


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
def test_bad_factories_are_errors(factory: Any, error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        assert_same_init(factory)
    for seed in (None, 1.5, "3"):
        with pytest.raises(ConfigTypeError, match="seed"):
            assert_same_init(Net, seed)  # type: ignore[arg-type]
