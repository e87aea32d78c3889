"""Lazy layers of other libraries: filled when they get their shape, or pending with a warning; never a crash."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import UninitializedParameter

from autoinit import AutoInitWarning, Report, ShapeError, autoinit, initialize, plan
from tests.unit.applying.test_lazy import IMAGE, lazy, ready
from tests.unit.applying.test_lazy import no_trace as no_trace

X = torch.ones(2, 6)
WARNING = "Call initialize\\(model, init_cfg\\) after the first call"


class Hooked(nn.Module):
    """As torch_geometric's Linear: a pre-hook that the constructor binds gives the shape, and resets everything."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.bias = nn.Parameter(torch.empty(outputs))
        if inputs > 0:
            self.weight = nn.Parameter(torch.empty(outputs, inputs))
        else:
            self.weight = UninitializedParameter()
            self._hook = self.register_forward_pre_hook(self.initialize_parameters)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self.reset_parameters()

    def __deepcopy__(self, memo: dict[int, Any]) -> Hooked:
        made = Hooked(self.inputs, self.outputs)
        if self.inputs > 0:
            made.weight = copy.deepcopy(self.weight, memo)
        made.bias = copy.deepcopy(self.bias, memo)
        return made

    def reset_parameters(self) -> None:
        if self.inputs > 0:
            bound = 1 / math.sqrt(self.inputs)
            self.weight.data.uniform_(-bound, bound)
            self.bias.data.uniform_(-bound, bound)

    @torch.no_grad()
    def initialize_parameters(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if nn.parameter.is_lazy(self.weight):
            self.inputs = args[0].size(-1)
            self.weight.materialize((self.outputs, self.inputs))
            self.reset_parameters()
        self._hook.remove()
        del self._hook

    def _lazy_load_hook(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        if nn.parameter.is_lazy(self.weight):
            self.inputs = state[prefix + "weight"].size(-1)
            self.weight.materialize((self.outputs, self.inputs))
            self._hook.remove()
            del self._hook

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class InForward(nn.Module):
    """A layer whose forward gives its weight the shape, and may write to it."""

    def __init__(self, reset: Callable[[InForward], object] = lambda layer: None) -> None:
        super().__init__()
        self.reset = reset
        self.weight = UninitializedParameter()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if nn.parameter.is_lazy(self.weight):
            self.weight.materialize((4, x.size(-1)))
            self.reset(self)
        return F.linear(x, self.weight, self.bias)


def ones(layer: InForward) -> None:
    nn.init.ones_(layer.weight)


def all_ones(layer: InForward) -> None:
    for param in layer.parameters():
        nn.init.ones_(param)


class NotYet(nn.Parameter):
    """As in pytorch-pfn-extras: an empty parameter that stands for one that has no shape yet."""


class Replacing(nn.Linear):
    """As the lazy Linear of pytorch-pfn-extras: forward, or a pre-hook, puts another parameter in its place."""

    def __init__(self, *, hooked: bool) -> None:
        super().__init__(1, 4)
        self.weight = NotYet()
        if hooked:
            self.register_forward_pre_hook(Replacing.replace)

    def replace(self, args: tuple[Tensor, ...]) -> None:
        if isinstance(self.weight, NotYet):
            self.weight = nn.Parameter(self.weight.new_empty(4, args[0].size(-1)).as_subclass(Tensor))
            nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        self.replace((x,))
        return super().forward(x)


HALF = dict(type="Constant", layer=["Hooked", "InForward", "Replacing"], val=0.5)


def outcomes(report: Report) -> list[str]:
    return [entry.outcome for entry in report.values()]


def built(make: Callable[[], nn.Module]) -> tuple[nn.Module, Report]:
    with autoinit(HALF) as run:
        model = make()
    return model, run.report


@pytest.mark.parametrize(
    "make", [lambda: Hooked(-1, 4), InForward, lambda: Replacing(hooked=True)], ids=["hook", "forward", "replaced"]
)
def test_fills_are_written_before_they_are_used(make: Callable[[], nn.Module]) -> None:
    model, report = built(make)
    assert report["weight"].outcome == "pending"
    assert torch.equal(model(X), torch.full((2, 4), 3.0)), "the result is computed with the fills"
    assert model.weight.eq(0.5).all() and model.bias.eq(0).all(), "what a hook wrote to the bias is put back"
    assert outcomes(report) == ["filled", "filled"] and report["weight"].shape == (4, 6)
    assert not hasattr(model, "_hook")


def other_bias(layer: InForward) -> None:
    layer.bias = nn.Parameter(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("make", "lost", "output"),
    [
        (lambda: InForward(all_ones), ["weight", "bias"], 7),
        (lambda: InForward(other_bias), ["bias"], 3),
        (lambda: Replacing(hooked=False), ["weight"], 6),
    ],
    ids=["all", "bias of another shape", "another weight"],
)
def test_what_forward_writes_stays_and_a_warning_says_so(
    make: Callable[[], nn.Module], lost: list[str], output: float
) -> None:
    model, report = built(make)
    names = ", ".join(rf"{name} \(init_cfg\)" for name in lost)
    with pytest.warns(AutoInitWarning, match=rf"^{names}: pending.*{WARNING}") as caught:
        result = model(X)
    assert [warning.filename for warning in caught] == [__file__]
    assert result.eq(output).all()
    assert {name for name, entry in report.items() if entry.outcome == "pending"} == {*lost}
    result.sum().backward()
    model(X)
    assert set(initialize(model, HALF).outcomes) == {"filled"} and model.weight.eq(0.5).all()


def test_one_warning_for_all_layers_of_a_model() -> None:
    model, report = built(lambda: nn.Sequential(*(InForward(ones) for _ in range(7))))
    with pytest.warns(AutoInitWarning, match=rf"4\.weight \(init_cfg\) and 2 others.*{WARNING}") as caught:
        model(X)
    assert len(caught) == 1 and report.outcomes == {"pending": 7, "filled": 7}


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], Tensor]] = {
    "torch": (lazy, ready, IMAGE),
    "hooked": (lambda: nn.Sequential(Hooked(-1, 4)), lambda: nn.Sequential(Hooked(6, 4)), X),
}
kinds = pytest.mark.parametrize(("make", "make_ready", "x"), KINDS.values(), ids=KINDS)
LECUN = [
    dict(type="LeCun", layer=["Hooked", "Linear", "_ConvNd"], distribution="normal", bias=0.25),
    dict(type="Constant", params="*", name="1", val=0.5),
]


@kinds
def test_values_fans_and_report_are_those_of_a_model_that_is_not_lazy(
    make: Callable[[], nn.Module], make_ready: Callable[[], nn.Module], x: Tensor
) -> None:
    model, other = make(), make_ready()
    report, expected = (initialize(each, LECUN, seed=3, unmatched="ignore") for each in (model, other))
    model(x)
    assert report == expected and report["0.weight"].fans == expected["0.weight"].fans != ()
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


@kinds
def test_what_was_loaded_before_the_first_call_is_kept(
    make: Callable[[], nn.Module], make_ready: Callable[[], nn.Module], x: Tensor
) -> None:
    source, model = make_ready(), make()
    report = initialize(model, LECUN, seed=0, unmatched="ignore")
    model.load_state_dict(source.state_dict())
    model(x)
    assert report["0.weight"].outcome == "kept: loaded" and report["0.weight"].shape == source[0].weight.shape
    for one, two in zip(model.parameters(), source.parameters(), strict=True):
        assert torch.equal(one, two)


@kinds
def test_a_scheme_that_is_not_defined_for_the_shape_is_an_error_of_the_first_call(
    make: Callable[[], nn.Module], make_ready: Callable[[], nn.Module], x: Tensor
) -> None:
    model = make()
    initialize(model, dict(type="Dirac" if x is X else "Eye", name="0", params="weight"))
    with pytest.raises(ShapeError, match=r"^init_cfg: 0\.weight: ") as caught:
        model(x)
    assert (caught.value.origin, caught.value.fqn) == ("init_cfg", "0.weight")


def test_a_bias_that_was_changed_before_the_first_call_keeps_the_change() -> None:
    model, _ = built(lambda: Hooked(-1, 4))
    with torch.no_grad():
        model.bias.fill_(7.0)
    model(X)
    assert model.bias.eq(7).all() and model.weight.eq(0.5).all()


def test_what_no_rule_fills_is_reset_by_the_hook() -> None:
    with autoinit(dict(type="Constant", layer="Hooked", params="weight", val=0.5, bias=None)):
        model = Hooked(-1, 4)
        nn.init.constant_(model.bias, 9.0)
    model(X)
    assert model.weight.eq(0.5).all() and model.bias.abs().max() < 1


@pytest.mark.parametrize("make", [lambda: Hooked(-1, 4), lambda: InForward(), lambda: Replacing(hooked=True)])
def test_in_a_second_block_hooks_are_plain_methods_and_layers_can_be_copied(make: Callable[[], nn.Module]) -> None:
    models = []
    for _ in range(2):
        with autoinit(HALF):
            models.append(copy.deepcopy(nn.Sequential(make(), make())))
    plain = nn.Sequential(make(), make())
    for model in (*models, copy.deepcopy(models[0])):
        for layer, other in zip(model.modules(), plain.modules(), strict=True):
            assert vars(layer).keys() == vars(other).keys()
            hooks, others = list(layer._forward_pre_hooks.values()), list(other._forward_pre_hooks.values())
            assert list(map(type, hooks)) == list(map(type, others))
            for hook, its in zip(hooks, others, strict=True):
                assert getattr(hook, "__func__", hook) is getattr(its, "__func__", its)
        model[0](X)
        assert model[0].weight.eq(0.5).all()


def test_a_copy_of_a_class_that_copies_itself_waits() -> None:
    model, report = built(lambda: nn.Sequential(Hooked(-1, 4)))
    copied = copy.deepcopy(model)
    copied(X)
    assert copied[0].weight.eq(0.5).all() and report["0.weight"].outcome == "pending"
    model(X)
    assert report["0.weight"].outcome == "filled"


def test_a_parameter_class_of_another_library_is_planned_as_lazy() -> None:
    decided = plan(Replacing(hooked=False), HALF)
    assert decided["weight"].shape is None and decided["weight"].gets == "Constant(val=0.5)"
    empty = nn.Linear(1, 4)
    empty.weight = nn.Parameter(torch.empty(0))
    assert plan(empty, dict(type="Constant", layer="Linear", val=1))["weight"].shape == (0,)


def test_a_list_of_lazy_parameters() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = nn.ParameterList([UninitializedParameter(), UninitializedParameter()])

        def forward(self, x: Tensor) -> Tensor:
            for scale in self.scales:
                if nn.parameter.is_lazy(scale):
                    scale.materialize((x.size(-1),))
            return x * self.scales[0] * self.scales[1]

    with autoinit(dict(type="Constant", layer="Net", params="*", val=0.5)) as run:
        model = Net()
    copied = copy.deepcopy(model)
    assert model(X).eq(0.25).all() and outcomes(run.report) == ["filled", "filled"]
    assert copied(X).eq(0.25).all()


def test_called_in_the_block() -> None:
    with autoinit(HALF) as run:
        model = nn.Sequential(Hooked(-1, 4), InForward())
        model(X)
    assert set(run.report.outcomes) == {"filled"} and model[1].weight.eq(0.5).all()


@pytest.mark.parametrize("make", [lambda: Hooked(-1, 4), lambda: InForward(all_ones)])
def test_the_call_that_made_the_plan_is_noticed(make: Callable[[], nn.Module]) -> None:
    with autoinit(HALF) as run:
        layer = make()
        with pytest.warns(AutoInitWarning, match=WARNING):
            layer(X)
        assert not layer._forward_hooks
    assert set(run.report.outcomes) == {"pending"}


@pytest.mark.compiles
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_first_call_in_compiled_code_is_noticed(is_wrapped: bool) -> None:
    model, report = built(lambda: nn.Sequential(Hooked(-1, 4)))
    compiled = torch.compile(model, backend="eager") if is_wrapped else model
    if not is_wrapped:
        model.compile(backend="eager")
    with pytest.warns(AutoInitWarning, match=r"0\.weight.*0\.bias"):
        compiled(X)
    assert set(report.outcomes) == {"pending"}


@pytest.mark.compiles
def test_a_compiled_layer_that_is_lazy_itself_is_noticed() -> None:
    model, report = built(lambda: Hooked(-1, 4))
    model.compile(backend="eager")
    with pytest.warns(AutoInitWarning, match=WARNING):
        model(X)
    assert set(report.outcomes) == {"pending"} and not model._forward_pre_hooks


class Failing(InForward):
    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        if x.size(0) == 2:
            raise RuntimeError("two rows")
        return output


def test_a_first_call_that_fails_after_the_fill() -> None:
    with autoinit(dict(type="Constant", layer="Failing", val=0.5)) as run:
        model = Failing()
    with pytest.raises(RuntimeError, match="two rows"):
        model(X)
    assert model(X[:1]).eq(3).all() and outcomes(run.report) == ["filled", "filled"]


def test_a_call_that_made_the_plan_and_fails_leaves_nothing_on_the_layer() -> None:
    with autoinit(dict(type="Constant", layer="Failing", val=0.5)):
        model = Failing()
        with pytest.warns(AutoInitWarning, match=WARNING), pytest.raises(RuntimeError, match="two rows"):
            model(X)
    assert not model._forward_hooks


def test_forward_sees_no_hook_of_ours() -> None:
    model, _ = built(lambda: InForward(lambda layer: seen.extend(layer._forward_pre_hooks.values())))
    seen: list[object] = []
    model(X)
    assert not seen


def test_a_first_call_that_fails_before_there_is_a_shape_is_none() -> None:
    model, report = built(lambda: Hooked(-1, 4))
    with pytest.raises(AttributeError):
        model("no tensor")
    assert report["weight"].outcome == "pending"
    assert model(X).eq(3).all() and outcomes(report) == ["filled", "filled"]


def test_a_hook_that_fails_after_it_gave_the_shape() -> None:
    model, report = built(lambda: Hooked(-1, 4))

    def fail(module: nn.Module, args: object) -> None:
        handle.remove()
        raise RuntimeError("a later hook")

    handle = model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="a later hook"):
        model(X)
    assert not model._forward_pre_hooks
    assert outcomes(report) == ["filled", "filled"] and model(X).eq(3).all()


def test_a_call_without_a_shape_before_the_one_that_gives_it() -> None:
    class Late(Hooked):
        def initialize_parameters(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if args[0].dim() == 2:
                super().initialize_parameters(module, args)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.dim() == 2 else x

    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](self[0](x[0]).expand(2, 6))

    with autoinit(dict(type="Constant", layer="Late", val=0.5)) as run:
        model = Net(Late(-1, 4))
    assert model(X).eq(3).all() and outcomes(run.report) == ["filled", "filled"]


def test_a_layer_that_calls_itself() -> None:
    class Twice(InForward):
        def forward(self, x: Tensor) -> Tensor:
            return self(x[:1]) if len(x) > 1 else super().forward(x)

    with autoinit(dict(type="Constant", layer="Twice", val=0.5)) as run:
        model = Twice()
    assert model(X).eq(3).all() and outcomes(run.report) == ["filled", "filled"]


@pytest.fixture(params=[torch.no_grad, torch.inference_mode])
def mode(request: pytest.FixtureRequest) -> Iterator[None]:
    with request.param():
        yield


@pytest.mark.usefixtures("mode")
def test_a_first_call_without_gradients() -> None:
    model, report = built(lambda: nn.Sequential(Hooked(-1, 4), InForward()))
    model(X)
    assert set(report.outcomes) == {"filled"} and all(layer.weight.eq(0.5).all() for layer in model)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True])
def test_another_model_can_be_traced_by_torch_jit_while_fills_are_pending(inside: bool) -> None:
    pending, _ = built(InForward)
    with autoinit(dict(type="Constant", layer="Linear", val=0.5)) if inside else nullcontext():
        other = nn.Linear(3, 3)
        graph = torch.jit.trace(other, torch.ones(1, 3)).inlined_graph
    assert [node.kind() for node in graph.nodes() if node.kind().startswith("aten::")] == ["aten::linear"]
    pending(X)
    assert pending.weight.eq(0.5).all()
