"""Schemes against the formulas of torch.nn.init, Keras and mmengine; their checks; the registry."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.model import weight_init as theirs
from scipy import stats
from torch import Tensor, nn

from autoinit import fills, initialize, plan, verify
from autoinit import initializers as schemes
from autoinit.errors import ConfigError, ConfigTypeError, ShapeError
from autoinit.fans import Fans, torch_fans
from autoinit.fills import Fill, TensorSpec
from autoinit.initializers import Initializer, canonical_name, register_initializer, registered
from autoinit.initializers.variance import NONLINEARITIES
from autoinit.sampling import Sampler, derive_key

INF = math.inf


def spec(*shape: int, dtype: torch.dtype = torch.float32) -> TensorSpec:
    return TensorSpec(shape=shape, dtype=dtype, fans=torch_fans(shape))


def drawn(fill: Fill, *shape: int) -> Tensor:
    tensor = torch.full(shape, math.nan)
    fill.write(tensor, lambda stream: derive_key(0, 0, "w", stream), Sampler(torch.device("cpu")))
    return tensor


shapes = st.lists(st.integers(1, 12), min_size=2, max_size=5)


# The formulas of torch.nn.init


def asked_of_torch(function: Callable[..., Tensor], shape: list[int], **arguments: object) -> tuple[str, float, float]:
    """The name and arguments of the one random fill that a function of torch asks a tensor for."""
    calls: list[tuple[str, float, float]] = []
    with (
        mock.patch.object(Tensor, "normal_", lambda self, mean, std, **_: calls.append(("normal", mean, std))),
        mock.patch.object(Tensor, "uniform_", lambda self, low, high, **_: calls.append(("uniform", low, high))),
    ):
        function(torch.empty(shape, device="meta"), **arguments)
    [only] = calls
    return only


def asked_of(fill: Fill) -> tuple[str, float, float]:
    if isinstance(fill, fills.Normal):
        return "normal", fill.mean, fill.std
    assert isinstance(fill, fills.Uniform)
    return "uniform", fill.low, fill.high


def same(one: tuple[str, float, float], other: tuple[str, float, float]) -> bool:
    return one[0] == other[0] and one[1:] == pytest.approx(other[1:], rel=1e-14)


@given(
    shape=shapes,
    a=st.floats(-2, 2),
    gain=st.floats(0.01, 10),
    mode=st.sampled_from(["fan_in", "fan_out"]),
    nonlinearity=st.sampled_from(NONLINEARITIES),
    distribution=st.sampled_from(["normal", "uniform"]),
)
def test_formulas_of_torch(
    shape: list[int], a: float, gain: float, mode: str, nonlinearity: str, distribution: str
) -> None:
    kaiming = dict(a=a, mode=mode, nonlinearity=nonlinearity)
    caffe2 = dict(a=1, mode="fan_in", nonlinearity="leaky_relu")
    fill = schemes.Kaiming(distribution=distribution, **kaiming).fill(spec(*shape))
    assert same(asked_of(fill), asked_of_torch(getattr(nn.init, f"kaiming_{distribution}_"), shape, **kaiming))
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    expected = nn.init.calculate_gain(nonlinearity, a) / math.sqrt(fan_in if mode == "fan_in" else fan_out)
    assert fill.std == pytest.approx(expected, rel=1e-12)
    fill = schemes.Xavier(gain=gain, distribution=distribution).fill(spec(*shape))
    assert same(asked_of(fill), asked_of_torch(getattr(nn.init, f"xavier_{distribution}_"), shape, gain=gain))
    fill = schemes.Caffe2Xavier().fill(spec(*shape))
    assert same(asked_of(fill), asked_of_torch(nn.init.kaiming_uniform_, shape, **caffe2))
    assert asked_of(schemes.Normal(mean=a, std=gain).fill(spec(*shape))) == ("normal", a, gain)
    assert asked_of(schemes.Uniform(a=a, b=a + gain).fill(spec(*shape))) == ("uniform", a, a + gain)


def test_every_gain_of_torch_is_known() -> None:
    listed = inspect.getsource(nn.init.calculate_gain)
    assert all(f'"{name}"' in listed for name in NONLINEARITIES)
    assert {*NONLINEARITIES} == {*nn.init._NonlinearityType.__args__}


# The formulas of Keras and JAX


@given(
    shape=shapes,
    scale=st.floats(0.01, 10),
    mode=st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]),
    distribution=st.sampled_from(["truncated_normal", "normal", "uniform"]),
)
def test_variance_scaling(shape: list[int], scale: float, mode: str, distribution: str) -> None:
    fill = schemes.VarianceScaling(scale=scale, mode=mode, distribution=distribution).fill(spec(*shape))
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    # jax.nn.initializers.variance_scaling; keras.initializers.VarianceScaling has the same lines.
    averages = {"fan_avg": (fan_in + fan_out) / 2, "fan_geo_avg": (fan_in * fan_out) ** 0.5}
    variance = scale / {"fan_in": fan_in, "fan_out": fan_out, **averages}[mode]
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
        assert asked_of(fill) == pytest.approx(("uniform", -limit, limit))
    elif distribution == "normal":
        assert asked_of(fill) == pytest.approx(("normal", 0.0, math.sqrt(variance)))
    else:
        stddev = math.sqrt(variance) / 0.87962566103423978
        assert isinstance(fill, fills.TruncNormal)
        assert (fill.loc, fill.scale, fill.low, fill.high) == pytest.approx((0, stddev, -2 * stddev, 2 * stddev))
        assert fill.std**2 == pytest.approx(stats.truncnorm.var(-2, 2, scale=stddev), rel=1e-9)
    assert fill.std**2 == pytest.approx(variance, rel=1e-9)


@given(shape=shapes, distribution=st.sampled_from(["truncated_normal", "normal", "uniform"]))
def test_lecun_is_the_default_of_variance_scaling(shape: list[int], distribution: str) -> None:
    scheme, general = (cls(distribution=distribution) for cls in (schemes.LeCun, schemes.VarianceScaling))
    assert scheme.fill(spec(*shape)) == general.fill(spec(*shape))
    assert schemes.LeCun() == schemes.LeCun(distribution="truncated_normal")


def test_fans_may_be_others_than_those_of_the_shape() -> None:
    described = TensorSpec(shape=(8, 64, 128), fans=Fans(fan_in=64, fan_out=128, convention="expert,in,out"))
    assert schemes.Kaiming(mode="fan_in").fill(described).std == pytest.approx(math.sqrt(2 / 64))
    assert schemes.Kaiming(mode="fan_out").fill(described).std == pytest.approx(math.sqrt(2 / 128))
    one_dimensional = TensorSpec(shape=(8,), fans=Fans(fan_in=4, fan_out=2, convention="numbers"))
    assert schemes.LeCun(distribution="normal").fill(one_dimensional).std == 0.5


# Parity of names, arguments and defaults with mmengine

ORIGINALS = ["Constant", "Xavier", "Normal", "TruncNormal", "Uniform", "Kaiming", "Caffe2Xavier", "Pretrained"]


@pytest.mark.parametrize("name", ORIGINALS)
def test_arguments_and_defaults_are_those_of_mmengine(name: str) -> None:
    original = inspect.signature(getattr(theirs, f"{name}Init"))
    required = inspect.Parameter.empty
    wanted = {key: p.default for key, p in original.parameters.items() if p.kind is not p.VAR_KEYWORD}
    ours = inspect.signature(getattr(schemes, name)).parameters
    given = {key: ours[key].default for key in wanted}
    assert given == wanted
    extra = set(ours) - set(wanted)
    # Arguments that the original has not do nothing by default.
    assert extra == ({"strict", "key", "revise_keys", "sha256"} if name == "Pretrained" else {"cut"} & extra)
    assert all(ours[key].default is not required for key in extra)


def test_bounds_are_values_and_a_cut_is_in_standard_deviations() -> None:
    assert schemes.TruncNormal(std=0.02).fill(spec(3)) == fills.TruncNormal(0.0, 0.02, -2.0, 2.0)
    assert schemes.TruncNormal(mean=1, std=0.5, cut=2).fill(spec(3)) == fills.TruncNormal(1.0, 0.5, 0.0, 2.0)
    assert str(schemes.TruncNormal(std=0.02, cut=2)) == "TruncNormal(std=0.02, cut=2.0)"


def test_a_delta_orthogonal_convolution_preserves_norms() -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular", bias=False)
    report = initialize(conv, dict(type="DeltaOrthogonal", gain=2, layer="Conv2d"), seed=0)
    image = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(conv(image).norm(dim=1), 2 * image.norm(dim=1))
    weight = conv.weight.detach().clone()
    # As in jax.nn.initializers.delta_orthogonal: the entry (k - 1) // 2 of each kernel axis.
    assert report["weight"].fill.std == pytest.approx(float(weight.square().mean().sqrt()), rel=1e-5)
    centre = weight[:, :, 1, 1]
    torch.testing.assert_close(centre.T @ centre, 4 * torch.eye(3), atol=1e-5, rtol=0)
    weight[:, :, 1, 1] = 0
    assert not weight.any()
    assert verify(conv, report).ok
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 1
    assert not verify(conv, report).ok
    [even] = plan(nn.Conv1d(2, 4, 4, bias=False), dict(type="DeltaOrthogonal", layer="Conv1d")).values()
    assert drawn(even.fill, 4, 2, 4).any(0).any(0).tolist() == [False, True, False, False]
    conv = nn.Conv2d(6, 6, 3, groups=3, bias=False)  # Each group is a convolution of its own.
    initialize(conv, dict(type="DeltaOrthogonal", layer="Conv2d"), seed=0)
    for group in conv.weight.detach()[:, :, 1, 1].chunk(3):
        torch.testing.assert_close(group @ group.T, torch.eye(2), atol=1e-5, rtol=0)


def test_the_identity_times_a_gain() -> None:
    layer = nn.Linear(3, 2)
    report = initialize(layer, dict(type="Eye", gain=0.5, layer="Linear"), seed=0)
    assert layer.weight.tolist() == [[0.5, 0, 0], [0, 0.5, 0]]
    assert str(report["weight"].fill) == "Eye(gain=0.5)" and verify(layer, report).ok
    assert repr(schemes.Eye().fill(spec(3, 3))) == str(schemes.Eye().fill(spec(3, 3))) == "Eye()"


# Degenerate cases


@pytest.mark.parametrize(
    ("scheme", "fill"),
    [
        (schemes.Normal(mean=0.3, std=0), fills.Constant(0.3)),
        (schemes.Uniform(a=0.5, b=0.5), fills.Constant(0.5)),
        (schemes.TruncNormal(mean=1, std=0), fills.Constant(1.0)),
        (schemes.TruncNormal(mean=1, std=0, cut=2), fills.Constant(1.0)),
        (schemes.TruncNormal(mean=3, std=0), fills.Constant(2.0)),
        (schemes.TruncNormal(mean=-3, std=0), fills.Constant(-2.0)),
        (schemes.TruncNormal(a=0.5, b=0.5), fills.Constant(0.5)),
        (schemes.Xavier(gain=0), fills.Constant(0.0)),
        (schemes.VarianceScaling(scale=0), fills.Constant(0.0)),
        (schemes.TruncNormal(std=1e-300, a=1, b=2), fills.Constant(1.0)),
        (schemes.TruncNormal(std=1e-160, a=-INF, b=-2), fills.Constant(-2.0)),
        (schemes.TruncNormal(std=5e-324, a=1, b=2), fills.Constant(1.0)),
        (schemes.TruncNormal(mean=1e30), fills.Constant(2.0)),
        (schemes.Constant(val=INF), fills.Constant(INF)),
        (schemes.Constant(val=1e300), fills.Constant(1e300)),
        # Over an interval in which it is flat a truncated normal is uniform.
        (schemes.TruncNormal(std=3e38, a=-1, b=1), fills.Uniform(-1.0, 1.0)),
        (schemes.TruncNormal(std=1, a=0, b=1e-30), fills.Uniform(0.0, 1e-30)),
        (schemes.TruncNormal(std=1, a=0.5, b=0.5 + 1e-12), fills.Uniform(0.5, 0.5 + 1e-12)),
    ],
    ids=str,
)
def test_degenerate_distributions(scheme: Initializer, fill: Fill) -> None:
    assert scheme.fill(spec(3, 4)) == fill


@given(
    mean=st.floats(-1e3, 1e3),
    std=st.floats(0, 1e3) | st.sampled_from([1e-300, 1e-30, 1e30, 3e38]),
    a=st.floats(-1e3, 1e3) | st.sampled_from([-INF, -3e38]),
    b=st.floats(-1e3, 1e3) | st.sampled_from([INF, 3e38]),
)
def test_every_truncated_normal_can_be_drawn(mean: float, std: float, a: float, b: float) -> None:
    a, b = min(a, b), max(a, b)
    fill = schemes.TruncNormal(mean=mean, std=std, a=a, b=b).fill(spec(20))
    values = drawn(fill, 20)
    assert not values.isnan().any()
    assert np.float32(a) <= values.min() <= values.max() <= np.float32(b)
    assert not math.isnan(fill.mean + fill.std)
    assert fill.cdf(torch.tensor([a, b], dtype=torch.float64)).isfinite().all()


EMPTY = [(0, 3), (3, 0), (0, 0), (2, 0, 3), (0, 2, 3, 3), (2, 2, 0)]
CLASSES = [
    scheme
    for scheme in registered.values()
    if isinstance(scheme, type) and issubclass(scheme, Initializer) and scheme.__module__.startswith("autoinit.")
]
EXAMPLES = {"Constant": dict(val=1), "Sparse": dict(sparsity=0.5)}


@pytest.mark.parametrize("shape", EMPTY, ids=str)
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_tensors_without_elements(cls: type[Initializer], shape: tuple[int, ...]) -> None:
    scheme = cls(**EXAMPLES.get(cls.__name__, {}))
    # `Default` is given by a layer, not by a shape.
    dimensions = {"Eye": (2,), "Sparse": (2,), "Dirac": (3, 4, 5), "DeltaOrthogonal": (3, 4, 5), "Default": ()}.get(
        cls.__name__, (2, 3, 4)
    )
    if len(shape) not in dimensions:
        with pytest.raises(ShapeError):
            scheme.fill(spec(*shape))
        return
    fill = scheme.fill(spec(*shape))
    assert cls is schemes.Keep if fill is None else drawn(fill, *shape).shape == shape


# Schemes are values


SCHEMES = {
    "Constant(val=0.5)": schemes.Constant(val=0.5),
    "Normal(std=0.02)": schemes.Normal(std=0.02),
    "TruncNormal(a=-1.0)": schemes.TruncNormal(a=-1),
    "Uniform(b=2.0)": schemes.Uniform(b=2),
    "Xavier(gain=2.0)": schemes.Xavier(gain=2),
    "Kaiming(mode='fan_in')": schemes.Kaiming(mode="fan_in"),
    "Caffe2Xavier()": schemes.Caffe2Xavier(),
    "LeCun()": schemes.LeCun(),
    "VarianceScaling(scale=2.0)": schemes.VarianceScaling(scale=2),
    "Orthogonal(gain=2.0)": schemes.Orthogonal(gain=2),
    "Dirac(groups=2)": schemes.Dirac(groups=2),
    "Eye()": schemes.Eye(),
    "Sparse(sparsity=0.1)": schemes.Sparse(sparsity=0.1),
    "Pretrained(a.pth, prefix=backbone)": schemes.Pretrained(checkpoint="a.pth", prefix="backbone"),
    "normal_(std=2.0)": schemes.Function(function=nn.init.normal_, arguments={"std": 2.0}),
    "zero_()": schemes.Function(function=torch.Tensor.zero_),  # A builtin has no signature to ask.
}


@pytest.mark.parametrize(("text", "scheme"), SCHEMES.items(), ids=str)
def test_schemes_are_values(text: str, scheme: Initializer) -> None:
    assert str(scheme) == text
    assert pickle.loads(pickle.dumps(scheme)) == scheme
    assert copy.deepcopy(scheme) == scheme
    assert [other for other in SCHEMES.values() if other == scheme] == [scheme]
    with pytest.raises(FrozenInstanceError):
        scheme.gain = 1
    if not isinstance(scheme, schemes.Function):
        assert eval(repr(scheme), vars(schemes)) == scheme
    with pytest.raises(TypeError):
        type(scheme)(1)


@pytest.mark.parametrize("number", [2, np.float32(2), np.float64(2), np.int64(2), Fraction(2)], ids=repr)
def test_any_real_number_is_stored_as_a_float(number: object) -> None:
    scheme = schemes.Normal(std=number)
    assert scheme == schemes.Normal(std=2.0)
    assert type(scheme.std) is float


# Checks

NUMBERS = {
    "Constant": ["val"],
    "Normal": ["mean", "std"],
    "TruncNormal": ["mean", "std", "a", "b"],
    "Uniform": ["a", "b"],
    "Xavier": ["gain"],
    "Kaiming": ["a"],
    "VarianceScaling": ["scale"],
    "Orthogonal": ["gain"],
    "DeltaOrthogonal": ["gain"],
    "Eye": ["gain"],
    "Sparse": ["sparsity", "std"],
}
INFINITE = {("Constant", "val"), ("TruncNormal", "a"), ("TruncNormal", "b")}
NOT_NEGATIVE = {("Normal", "std"), ("TruncNormal", "std"), ("Xavier", "gain"), ("VarianceScaling", "scale")}
NOT_NEGATIVE |= {("Sparse", "std"), ("Sparse", "sparsity")}
CHOICES = {
    "Xavier": ["distribution"],
    "Kaiming": ["mode", "nonlinearity", "distribution"],
    "LeCun": ["distribution"],
    "VarianceScaling": ["mode", "distribution"],
}


def made(name: str, **arguments: object) -> Initializer:
    return getattr(schemes, name)(**{**EXAMPLES.get(name, {}), **arguments})


def test_the_tables_of_checks_are_complete() -> None:
    for cls in CLASSES:
        checked = {*NUMBERS.get(cls.__name__, []), *CHOICES.get(cls.__name__, [])}
        assert {field.name for field in fields(cls)} - {"groups", "cut"} == checked
    assert {*NUMBERS, *CHOICES, "Dirac", "Caffe2Xavier"} <= {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize(("name", "argument"), [(name, x) for name, all_of in NUMBERS.items() for x in all_of])
def test_numbers(name: str, argument: str) -> None:
    where = rf"^{name}: {argument}="
    for wrong in ("1", "1e-2", None, True, [[1]], torch.tensor(1j), Decimal("sNaN")):
        with pytest.raises(ConfigTypeError, match=where):
            made(name, **{argument: wrong})
    for one in (torch.tensor(1), np.float32(1), np.array(1.0), Decimal(1)):
        assert made(name, **{argument: one}) == made(name, **{argument: 1})
    with pytest.raises(ConfigError, match=where + "nan (must be a finite number|is not a value)") as caught:
        made(name, **{argument: math.nan})
    assert not isinstance(caught.value, ConfigTypeError)
    with pytest.raises(ConfigError, match=rf"{where}1000*\d* is beyond any float\."):
        made(name, **{argument: 10**400})
    if (name, argument) not in INFINITE:
        for infinite in (INF, -INF):
            with pytest.raises(ConfigError, match=where + "-?inf must be a finite number"):
                made(name, **{argument: infinite})
    if name != "Constant":
        with pytest.raises(ConfigError, match=where + r"1e\+39 is beyond float32"):
            made(name, **{argument: 1e39})
    if (name, argument) in NOT_NEGATIVE:
        with pytest.raises(ConfigError, match=where + "-0.1 must be (at least 0|between 0 and 1)"):
            made(name, **{argument: -0.1})


@pytest.mark.parametrize(("name", "argument"), [(name, x) for name, all_of in CHOICES.items() for x in all_of])
def test_choices(name: str, argument: str) -> None:
    for wrong in (1, None, True, ["normal"], b"normal"):
        with pytest.raises(ConfigTypeError, match=rf"^{name}: {argument}=.* must be a string, not "):
            made(name, **{argument: wrong})
    near = {"distribution": ("unifrom", "uniform"), "mode": ("fan-in", "fan_in"), "nonlinearity": ("Relu", "relu")}
    typo, meant = near[argument]
    with pytest.raises(
        ConfigError, match=rf"^{name}: {argument}='{typo}' .*Did you mean '{meant}'\? Known: "
    ) as caught:
        made(name, **{argument: typo})
    assert not isinstance(caught.value, ConfigTypeError)
    with pytest.raises(ConfigError, match="Known: "):
        made(name, **{argument: ""})


CUT_AND_BOUNDS = "Give cut, in standard deviations, or a and b, which are values"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *(("Dirac", dict(groups=wrong), "must be an integer, not ") for wrong in (1.5, "2", True, None, 2.0)),
        *(("Dirac", dict(groups=wrong), f"groups={wrong} must be at least 1") for wrong in (0, -1)),
        *((name, dict(a=1, b=0.5), "a=1.0 is above b=0.5. Swap them.") for name in ("Uniform", "TruncNormal")),
        *(("TruncNormal", dict(a=end, b=end), "no number lies between") for end in (INF, -INF)),
        *(("TruncNormal", dict(cut=2, **ends), CUT_AND_BOUNDS) for ends in (dict(a=-1), dict(b=3), dict(a=-1, b=1))),
        ("TruncNormal", dict(cut=0), "allows only the mean"),
        ("TruncNormal", dict(cut=-1), "at least 0"),
        ("TruncNormal", dict(cut=INF), "finite"),
        *(("Pretrained", dict(checkpoint=wrong), f"checkpoint={wrong} must be a path") for wrong in (None, 5)),
        ("Pretrained", dict(checkpoint="a", prefix=5), "prefix=5 must be a string"),
        ("Pretrained", dict(checkpoint="a", map_location=0), "map_location=0 must be the name of a device"),
        *(("Pretrained", dict(checkpoint="a", strict=wrong), f"strict={wrong!r} must be ") for wrong in ("yes", 1)),
        ("Function", dict(function=nn.init.normal_, arguments={"sdt": 1}), "tensor and {'sdt': 1}: got an unexpected"),
        ("Function", dict(function=lambda: None), "cannot be called with a tensor and {}"),
    ],
)
def test_mistakes(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        made(name, **arguments)
    is_of_type = name in ("Pretrained", "Function") or "integer" in message
    assert isinstance(caught.value, ConfigTypeError) == is_of_type
    assert str(caught.value).startswith(name if name != "Function" else ("normal_", "<lambda>"))


def test_pretrained_takes_any_path_and_device() -> None:
    assert schemes.Pretrained(checkpoint=Path("a/b.pth")).checkpoint == str(Path("a/b.pth"))
    schemes.Pretrained(checkpoint="a", map_location=torch.device("cpu"))
    schemes.Pretrained(checkpoint="a", map_location=None)


# Shapes that a scheme is not for


FANLESS = [schemes.Kaiming(), schemes.Xavier(), schemes.LeCun(), schemes.Caffe2Xavier(), schemes.VarianceScaling()]


@pytest.mark.parametrize(
    ("scheme", "shape", "message"),
    [
        *((scheme, (3,), " needs fan_in and fan_out, and shape (3,) has none") for scheme in FANLESS),
        (schemes.Xavier(), (), " needs fan_in and fan_out, and shape () has none"),
        (schemes.Orthogonal(), (3,), " needs at least 2 dimensions, and shape (3,) has 1"),
        (schemes.Dirac(), (3, 3), " needs 3 or 4 or 5 dimensions, and shape (3, 3) has 2"),
        (schemes.Dirac(), (2,) * 6, " needs 3 or 4 or 5 dimensions"),
        (schemes.Eye(), (3, 3, 3), " needs 2 dimensions, and shape (3, 3, 3) has 3"),
        (schemes.Sparse(sparsity=0.5), (3,), " needs 2 dimensions"),
        (schemes.Dirac(groups=2), (3, 3, 3), ": 3 output channels do not divide into groups=2."),
        (
            schemes.DeltaOrthogonal(),
            (2, 4, 3, 3),
            " needs at least as many output channels as input channels, and shape ",
        ),
    ],
    ids=str,
)
def test_shapes(scheme: Initializer, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        scheme.fill(spec(*shape))
    assert str(caught.value).startswith(type(scheme).__name__ + message)
    remedy = "Use Orthogonal for it." if len(shape) == 4 else "narrow the rule with layer=, name= or params="
    assert "divide" in message or remedy in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(torch.float16, 7e4), (torch.float32, 1e39), (torch.float8_e4m3fn, 500.0), (torch.complex64, -1e39)],
    ids=str,
)
def test_a_constant_beyond_the_dtype(dtype: torch.dtype, value: float) -> None:
    with pytest.raises(ShapeError, match=rf"^Constant: val={value!r} is beyond torch\.".replace("+", r"\+")):
        schemes.resolve(schemes.Constant(val=value), (2,), dtype)
    small = schemes.resolve(schemes.Constant(val=value / 1e30), (2,), dtype)
    assert small.fill == fills.Constant(value / 1e30)


# Functions


def test_a_function_keeps_arguments_of_its_own() -> None:
    arguments = {"std": 2.0}
    scheme = schemes.Function(function=nn.init.normal_, arguments=arguments)
    arguments["std"] = 3.0
    assert scheme.fill(spec(2)) == fills.Custom(nn.init.normal_, {"std": 2.0})


# The registry


def test_registered_classes_and_functions_are_types() -> None:
    @register_initializer("Ramp")
    @dataclass(frozen=True, kw_only=True)
    class RampScheme(Initializer):
        top: float = 1.0

        def fill(self, spec: TensorSpec) -> Fill:
            return fills.Uniform(0.0, self.top * spec.shape[0])

    @register_initializer("StripesInit")
    def stripes_(tensor: Tensor, *, high: float = 1.0) -> None:
        tensor.zero_()[::2] = high

    layer = nn.Linear(2, 4)
    for name in ("Ramp", "RampInit", "mine.Ramp"):
        report = initialize(layer, dict(type=name, layer="Linear", top=2))
        assert report["weight"].fill == fills.Uniform(0.0, 8.0)
        assert str(report["weight"].rule.initializer) == "RampScheme(top=2)"
    initialize(layer, dict(type="Stripes", layer="Linear", high=2.0))
    assert layer.weight.tolist() == [[2, 2], [0, 0], [2, 2], [0, 0]]
    with pytest.raises(ConfigTypeError, match=r"cannot be called with a tensor and .*'hihg'"):
        initialize(layer, dict(type="Stripes", layer="Linear", hihg=2.0))


def test_a_taken_name_is_refused() -> None:
    for taken in ("Kaiming", "KaimingInit"):
        with pytest.raises(
            ConfigError, match=r"'Kaiming' is the name of autoinit\.initializers\.variance\.Kaiming alr"
        ):
            register_initializer(taken)(lambda tensor: None)
    assert registered["Kaiming"] is schemes.Kaiming
    mine = lambda tensor: None  # noqa: E731
    register_initializer("Kaiming", force=True)(mine)
    assert registered["Kaiming"] is mine


def test_the_same_code_may_be_registered_again() -> None:
    def define() -> object:
        @register_initializer("Again")
        def again_(tensor: Tensor) -> None: ...

        return again_

    first, second = define(), define()
    assert first is not second and registered["Again"] is second
    with pytest.raises(ConfigError, match=r"'Again' is the name of .*again_ already"):
        register_initializer("Again")(functools.partial(nn.init.normal_, std=2))
    small = functools.partial(nn.init.constant_, val=3.0)
    for _ in range(2):
        register_initializer("Small")(small)
    initialize(layer := nn.Linear(1, 1), dict(type="Small", layer="Linear"))
    assert layer.weight.item() == 3.0
    with pytest.raises(ConfigError, match=r"'Small' is the name of functools\.partial"):
        register_initializer("Small")(functools.partial(nn.init.constant_, val=4.0))


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        *((f"{scope}{name}{end}", name) for name in ORIGINALS for scope in ("", "mmcv.cnn.") for end in ("", "Init")),
        *(("Init", "Init"), ("a.Init", "Init"), ("InitSomething", "InitSomething"), ("", "")),
    ],
)
def test_canonical_names(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    assert canonical not in ORIGINALS or registered[canonical] is getattr(schemes, canonical)


def test_what_cannot_be_registered() -> None:
    for name in ("", "a.b", 5, None):
        with pytest.raises(ConfigTypeError, match="must be a string without dots"):
            register_initializer(name)
    with pytest.raises(ConfigTypeError, match="5 is neither a class nor a function"):
        register_initializer("Five")(5)
    with pytest.raises(TypeError):
        registered["Five"] = schemes.Normal
    assert "Five" not in registered
