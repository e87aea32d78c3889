"""The signal through deep networks against theory, its flags, and inputs and outputs of every form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from autoinit import Bounds, ConfigTypeError, InputError, Propagation, StateError, initialize, propagate
from tests.batches import batch, measured
from tests.models import Calls

WIDTH, DEPTH = 1024, 10
# The squared length of the signal after a ReLU layer of n units is a product of independent factors, each with a mean
# of 1 and a relative variance of 5/n (Hanin and Rolnick 2018); std goes with its root. Five standard deviations after
# the last layer: a false alarm in fewer than 1 of 10^6 choices of the seed.
RELU = math.exp(5 * math.sqrt(5 * DEPTH / WIDTH) / 2)
# Without a ReLU the relative variance is 2/n.
LINEAR = math.exp(5 * math.sqrt(2 * DEPTH / WIDTH) / 2)
KAIMING = dict(type="Kaiming", layer="Linear", mode="fan_in")


def deep(*between: Callable[[], nn.Module], width: int = WIDTH, depth: int = DEPTH) -> nn.Sequential:
    return nn.Sequential(*(part() for _ in range(depth) for part in (lambda: nn.Linear(width, width), *between)))


def run(model: nn.Module, cfg: Any, **options: Any) -> Propagation:
    initialize(model, cfg, seed=0)
    return measured(model, seed=0, **options)


kinds = Propagation.flags_by_fqn


def values(found: Propagation, name: str, layer: str = "Linear") -> list[float]:
    return [getattr(signal, name) for signal in found.values() if signal.layer == layer]


def test_kaiming_keeps_signal_and_gradient_through_a_deep_stack_of_relus() -> None:
    found = run(deep(nn.ReLU), KAIMING)
    # The input is standard normal, not what comes out of a ReLU: E[x^2] = 1 in both cases, and the gain is sqrt(2).
    assert all(math.sqrt(2) / RELU < std < math.sqrt(2) * RELU for std in values(found, "std"))
    # Of max(z, 0) with z ~ N(0, 2): E[x^2] = 1 and E[x] = 1 / sqrt(pi).
    after = math.sqrt(1 - 1 / math.pi)
    assert all(after / RELU < std < after * RELU for std in values(found, "std", "ReLU"))
    # The last ReLU lets through half of the squares of what is 1 in size.
    assert all(math.sqrt(0.5) / RELU < size < math.sqrt(0.5) * RELU for size in values(found, "gradient"))
    assert list(found.values())[-1].gradient == pytest.approx(1.0)
    assert found.ok


def test_the_gradient_of_a_weight_is_what_backward_would_give() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    inputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    found = propagate(model, inputs, seed=11)
    signs = torch.randint(2, (6, 3), dtype=torch.int8, generator=torch.Generator().manual_seed(11)) * 2 - 1
    (model(inputs) * signs).sum().backward()
    expected = {name: param.grad.norm().item() for name, param in model.named_parameters() if param.grad is not None}
    assert len(expected) == 4
    assert found.gradients == pytest.approx(expected, rel=1e-5)
    assert found["2"].gradient_norm == pytest.approx(math.hypot(expected["2.weight"], expected["2.bias"]))


def tanh_stds(gain: float, depth: int) -> list[float]:
    """std before each tanh of an infinitely wide stack, by numerical integration: s' = gain * sqrt(E[tanh(s z)^2])."""
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    found = [gain]
    for _ in range(depth - 1):
        found.append(gain * math.sqrt(torch.trapezoid(torch.tanh(found[-1] * z) ** 2 * density, z).item()))
    return found


@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_xavier_through_a_deep_stack_of_tanhs(gain: float) -> None:
    found = run(deep(nn.Tanh), dict(type="Xavier", layer="Linear", gain=gain))
    for std, expected in zip(values(found, "std"), tanh_stds(gain, DEPTH), strict=True):
        assert expected / LINEAR < std < expected * LINEAR
    assert found.ok


@pytest.mark.parametrize(("mode", "gains"), [("fan_in", (1.0, 1.0)), ("fan_out", (0.5, 2.0))])
def test_the_mode_decides_which_way_the_signal_keeps_its_size(mode: str, gains: tuple[float, float]) -> None:
    model = nn.Sequential(*(nn.Linear(one, other) for one, other in pairwise((256, 1024, 256))))
    found = run(model, dict(type="Kaiming", layer="Linear", mode=mode, nonlinearity="linear"), size=64)
    assert [signal.gain for signal in found.values()] == pytest.approx(gains, rel=0.25)
    # Backward through the second layer, of 1024 inputs and 256 outputs.
    assert found["0"].gradient == pytest.approx(0.5 if mode == "fan_in" else 1.0, rel=0.25)


@pytest.mark.parametrize(("scale", "kind", "at"), [(0.1, "vanishing", 8), (10.0, "exploding", 2), (1.0, "", 0)])
def test_a_std_that_is_ten_times_off_is_flagged(scale: float, kind: str, at: int) -> None:
    found = run(deep(nn.ReLU, width=256), dict(type="Normal", layer="Linear", std=scale * math.sqrt(2 / 256)))
    assert found.ok == (not kind)
    # sqrt(2) * scale^layers leaves the default bounds, 1e-8 and 1e3, at this layer.
    assert not kind or (found.flags[0].kind, found.flags[0].fqn) in ((kind, str(2 * at)), (kind, str(2 * at - 1)))
    assert not kind or kind in kinds(found)[str(2 * DEPTH - 2)]


@pytest.mark.parametrize(("scale", "kind"), [(0.1, "vanishing gradient"), (10.0, "exploding gradient")])
def test_a_gradient_that_vanishes_or_explodes_is_flagged_from_the_end(scale: float, kind: str) -> None:
    found = run(deep(depth=14, width=128), dict(type="Normal", layer="Linear", std=scale / math.sqrt(128)))
    flagged = [flag.fqn for flag in found.flags if flag.kind == kind]
    assert flagged == sorted(flagged, key=int, reverse=True)
    assert flagged[-1] == "0"


def test_units_that_a_bias_kills_or_saturates_are_dead() -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    initialize(model, KAIMING, seed=0)
    nn.init.constant_(model[2].bias[:60], -100)
    found = measured(model, size=64)
    assert found["3"].dead == pytest.approx(60 / 64) and found["1"].dead == 0
    assert kinds(found) == {"3": ["dead"]}
    text = "3 (ReLU): 0.938 of its units have one value over the whole batch, more than 0.75 (dead)."
    assert found.flags[0].message == text
    assert found.gradients["2.weight"] != 0
    nn.init.constant_(model[0].bias, 100)
    assert measured(nn.Sequential(model[0], nn.Tanh()), size=64)["1"].dead == 1
    # All dead, they leave no gradient.
    nn.init.constant_(model[0].bias, -100)
    found = measured(nn.Sequential(model[0], nn.ReLU(), model[4]))
    flags = {"1": ["vanishing", "dead"], "0": ["vanishing gradient", "zero gradient"], "2": ["zero gradient"]}
    assert kinds(found) == flags and found.gradients["0.weight"] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_flagged_where_it_arises(value: float) -> None:
    model = deep(nn.ReLU, width=16, depth=4)
    initialize(model, KAIMING, seed=0)
    with torch.no_grad():
        model[4].weight[0, 0] = value
    found = measured(model)
    assert found["2"].nonfinite == 0
    assert found["4"].nonfinite == pytest.approx(1 / 16, abs=1 / 16)
    assert found["6"].nonfinite > 0
    [made] = [flag for flag in found.flags if flag.kind == "nonfinite"]
    assert made.fqn == "4" and found.flags[0] == made
    assert made.message.startswith("4 (Linear): 0.0625 of its output is NaN or infinite, and its input is not")


def test_a_value_that_arises_between_modules_is_flagged_where_it_is_first_seen() -> None:
    model = Calls(lambda net, x: net.three(net.two(net.one(x) / 0)), "one", "two", "three")
    (flag,) = (flag for flag in measured(model, backward=False).flags if flag.kind == "nonfinite")
    assert flag.fqn == "two" and "and so was its input, which no module before it made" in flag.message
    found = measured(Calls(lambda net, x: (net.one(x) * 0).sqrt(), "one"))
    assert math.isnan(found.gradients["one.weight"] or 0)
    assert "nonfinite gradient" in kinds(found)["one"]


def test_a_parameter_without_a_gradient_is_flagged_unless_its_module_is_not_called() -> None:
    model = Calls(lambda net, x: net.after(net.before(x).detach()), "before", "after", "unused")
    found = measured(model)
    assert found.uncalled == ("unused",)
    assert found.unreached == ("before.weight", "before.bias", "unused.weight", "unused.bias")
    assert kinds(found) == {"before": ["zero gradient"]}
    text = "before.weight: no gradient comes to it, though its module was called (zero gradient)."
    assert found.flags[0].message == text
    assert measured(model, bounds=Bounds(zero_gradient=False)).ok


def test_frozen_parameters_have_no_gradient_and_no_flag_and_without_backward_none_has() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    found = measured(model)
    assert list(found.gradients) == ["1.weight", "1.bias"]
    assert found["0"].gradient is None and found.ok
    assert measured(model.requires_grad_(False)).gradients == {}
    found = measured(model.requires_grad_(True), backward=False)
    assert found.gradients == {}
    assert found["1"].gradient is None and found["1"].gradient_norm is None and found["1"].std is not None


def test_a_branch_that_starts_closed_is_flagged_once_and_can_be_ignored() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Tanh())
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    found = kinds(measured(model))
    assert found["1"] == ["vanishing", "dead"] and "2" not in found, "modules after it have no signal to lose"
    assert measured(model, bounds=Bounds(ignore=("1", "0"))).ok


def test_a_gain_can_be_held_to_bounds() -> None:
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    nn.init.orthogonal_(model[0].weight)
    nn.init.orthogonal_(model[1].weight, gain=3)
    found = measured(model, bounds=Bounds(gain=(0.5, 2)))
    assert kinds(found) == {"1": ["exploding"]}
    assert re.fullmatch(r"1 \(Linear\): gain (3|3\.0\d|2\.9\d), more than 2 \(exploding\)\.", found.flags[0].message)


def test_a_module_that_is_called_several_times_counts_once_with_all_its_values() -> None:
    model = Calls(lambda net, x: net.layer(net.layer(x)), layer=nn.Linear(3, 3, bias=False))
    nn.init.orthogonal_(model.layer.weight, gain=2)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = propagate(model, x)["layer"]
    both = torch.cat([model.layer(x), model(x)])
    assert found.calls == 2
    assert found.std == pytest.approx(both.std(correction=0).item(), rel=1e-5)
    assert found.mean == pytest.approx(both.mean().item(), rel=1e-4)
    assert found.gain == pytest.approx(2, rel=0.05)
    # 1 at the second output and 2 at the first.
    assert found.gradient == pytest.approx(math.sqrt((1 + 4) / 2))


def test_a_shared_module_and_a_tied_parameter_have_their_first_name() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 4))
    model[3].weight = layer.weight
    found = measured(model)
    assert list(found) == ["0", "1", "3"]
    assert list(found.gradients) == ["0.weight", "0.bias", "3.bias"]
    assert found["0"].calls == 2


@pytest.mark.parametrize("backward", [True, False])
def test_dropout_and_everything_else_is_the_same_for_the_same_seed(backward: bool) -> None:
    model = nn.Sequential(nn.Linear(16, 64), nn.Dropout(0.5), nn.Linear(64, 4))
    one, other = (measured(model, seed=3, backward=backward) for _ in range(2))
    assert one == other != measured(model, seed=4, backward=backward)


def test_the_model_keeps_its_mode() -> None:
    model = nn.Sequential(nn.Linear(16, 512), nn.Dropout(0.5))
    assert measured(model)["1"].gain == pytest.approx(math.sqrt(2), rel=0.1)
    assert measured(model.eval())["1"].gain == 1


def test_a_constant_input_shows_no_dead_units() -> None:
    embedding = nn.Embedding(4, 8)
    assert propagate(embedding, torch.zeros(8, 3, dtype=torch.int64))[""].dead is None
    assert propagate(embedding, torch.arange(4).expand(8, 4))[""].dead == 0
    assert propagate(nn.Linear(4, 4), torch.randn(1, 4))[""].dead is None


def test_the_default_device_does_not_matter() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    inputs = batch(model)
    expected = propagate(model, inputs)
    with torch.device("meta"):
        assert propagate(model, inputs) == expected


X, SCALE = torch.ones(2, 3), torch.tensor(2.0)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, scale: Tensor, *, shift: float = 0.0) -> Tensor:
        return self.layer(x) * scale + shift


class Encoding(Mapping[str, Tensor]):
    def __getitem__(self, key: str) -> Tensor:
        return {"input": X}[key]

    def __iter__(self) -> Any:
        return iter(["input"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("model", "inputs", "text"),
    [
        (nn.Linear(3, 3), X, "2 x 3"),
        (nn.Linear(3, 3), (X,), "2 x 3"),
        (nn.Linear(3, 3), dict(input=X), "input: 2 x 3"),
        (nn.Linear(3, 3), Encoding(), "input: 2 x 3"),
        (Two(), (X, SCALE), "2 x 3, scalar"),
        (Two(), dict(x=X, scale=SCALE, shift=1.0), "x: 2 x 3, scale: scalar"),
    ],
)
def test_inputs_have_the_forms_that_forward_takes(model: nn.Module, inputs: Any, text: str) -> None:
    found = propagate(model, inputs)
    assert found.inputs == f"{text} (given)"
    assert found.gradients


def test_a_list_is_one_argument() -> None:
    model = Calls(lambda net, images: {"boxes": [net.layer(image) for image in images]}, "layer")
    assert propagate(model, [torch.ones(2, 4), torch.ones(5, 4)])["layer"].calls == 2


class Named(NamedTuple):
    logits: Tensor


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None
    states: tuple[Tensor, ...] = ()


WRAPS: dict[str, Callable[[Tensor], object]] = {
    "tuple": lambda y: (y, None),
    "named tuple": Named,
    "list in a dict": lambda y: {"out": [y], "name": "x"},
    "dataclass": lambda y: Output(logits=y, loss=None),
    "with a loss": lambda y: Output(logits=y, loss=y.sum()),
    "with ids": lambda y: (y.argmax(-1), y),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_outputs_may_come_in_any_wrapping(wrap: Callable[[Tensor], object]) -> None:
    def found(wrap: Callable[[Tensor], object]) -> Propagation:
        inner = Calls(lambda net, x: wrap(x @ net.weight))
        inner.weight = nn.Parameter(torch.eye(3) * 2)
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        return propagate(Calls(lambda net, x: net.inner(x), inner=inner), inputs)

    assert found(wrap)["inner"].gain == pytest.approx(2)
    assert found(wrap)["inner"].gradient == pytest.approx(1)
    assert found(wrap).gradients == found(lambda y: y).gradients


def test_a_loss_alone_is_differentiated() -> None:
    model = Calls(lambda net, x: {"loss": net.layer(x)[:, 0].sum()}, "layer")
    assert propagate(model, torch.ones(2, 4)).gradients["layer.weight"] == pytest.approx(2 * 4**0.5)


class Optional(nn.Module):
    def forward(self, ids=None, mask=None):  # type: ignore[no-untyped-def]
        return ids


class Anything(nn.Module):
    def forward(self, *inputs):  # type: ignore[no-untyped-def]
        return inputs


NEEDS = "propagate needs inputs. Pass them: a tensor, a tuple of arguments, or a dict by name, as in propagate(model,"
SIGNATURE = "(x: 'Tensor', scale: 'Tensor', *, shift: 'float' = 0.0) -> 'Tensor'"
FIELDS = "Bounds(...), of: std, gain, gradient, dead, zero_gradient, ignore."
CALL = "Call the model once before calling propagate()."
FILL = "Propagate a model with memory, for example after to_empty(device=...) and initialize."
NOTHING = "forward called no module that could be watched."
USES = Calls(lambda net, x: x @ net.layer.weight, "layer")


@pytest.mark.parametrize(
    ("model", "options", "error", "text"),
    [
        (Two(), {}, InputError, f"Two.forward{SIGNATURE}: {NEEDS} dict(x=..., scale=...))."),
        (Optional(), {}, InputError, f"Optional.forward(ids=None, mask=None): {NEEDS} dict(ids=...))."),
        (Anything(), {}, InputError, f"Anything.forward(*inputs): {NEEDS} (..., ...))."),
        (3, {}, ConfigTypeError, "propagate(): 3 is a int, not a torch.nn.Module."),
        (nn.Linear(2, 2), dict(bounds={"std": 1}), ConfigTypeError, f"bounds={{'std': 1}} must be a {FIELDS}"),
        (nn.Sequential(nn.LazyLinear(2)), {}, StateError, f"0.weight is lazy and has no shape yet. {CALL}"),
        (nn.Linear(2, 2, device="meta"), {}, StateError, f"weight is on the meta device and has no values. {FILL}"),
        (nn.Sequential(USES), dict(inputs=torch.ones(2, 4)), InputError, f"Sequential: {NOTHING}"),
    ],
)
def test_errors_name_the_remedy(model: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        propagate(model, **options)
    assert str(caught.value) == text


def test_an_error_of_the_model_is_not_changed() -> None:
    with pytest.raises(KeyError, match="no such key"):
        propagate(Calls(lambda net, x: {}["no such key"], "layer"), X)
