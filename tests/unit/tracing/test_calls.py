"""`trace()`: function, numbers, line and module of every call that filled a parameter."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autoinit import ModuleGraphError, StateError, Trace, autoinit, initialize, paused, trace
from autoinit.initializers import Constant, Eye, Kaiming, Normal, Orthogonal, TruncNormal, Uniform, Xavier
from autoinit.tracing import Call
from tests.models import Around


def texts(calls: tuple[Call, ...]) -> list[str]:
    return [str(call) for call in calls]


def traced(build: Callable[[], nn.Module]) -> Trace:
    with trace() as t:
        model = build()  # noqa: F841  It has to live until the block ends.
    return t


def my_init_(tensor: Tensor, scale: float = 1.0, kind: str = "x") -> Tensor:
    nn.init.normal_(tensor)
    with torch.no_grad():
        return tensor.mul_(scale)


def deep() -> Tensor:
    value = torch.randn(2)
    for _ in range(20):
        value = (value + torch.rand(2)) * 2
    return value


def test_a_constructor_is_traced_to_its_line() -> None:
    t = traced(lambda: nn.Sequential(nn.Linear(4, 3)))
    (weight,), (bias,) = t["0.weight"], t["0.bias"]
    lines, start = inspect.getsourcelines(nn.Linear.reset_parameters)
    assert weight.text == "kaiming_uniform_(a=2.236)"
    assert weight.function == "kaiming_uniform_"
    assert weight.arguments == {"a": 5**0.5}
    assert weight.file == inspect.getsourcefile(nn.Linear)
    assert weight.source == lines[weight.line - start].strip() == "init.kaiming_uniform_(self.weight, a=math.sqrt(5))"
    assert (weight.module, weight.layer, weight.part, weight.overwritten) == ("0", "Linear", "", False)
    assert weight.where == f"linear.py:{weight.line}"
    assert bias.text == "uniform_(a=-0.5, b=0.5)"
    assert t.fills == {
        "0.weight": Kaiming(a=5**0.5, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform"),
        "0.bias": Uniform(a=-0.5, b=0.5),
    }


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.xavier_normal_(self.fc.weight)
        self.fc.bias.data.normal_(mean=0.0, std=0.02)


def test_later_calls_overwrite_earlier_ones_and_name_their_module() -> None:
    weight, bias = traced(Net).values()
    assert texts(weight) == ["kaiming_uniform_(a=2.236)", "xavier_normal_()"]
    assert [call.overwritten for call in weight] == [True, False]
    assert [(call.module, call.layer) for call in weight] == [("fc", "Linear"), ("", "Net")]
    assert weight[1].source == "nn.init.xavier_normal_(self.fc.weight)"
    assert texts(bias)[1] == "normal_(mean=0, std=0.02)"
    assert bias[1].arguments == {"mean": 0.0, "std": 0.02}
    assert bias[1].file == __file__


def test_a_function_that_is_applied_is_traced_to_its_lines() -> None:
    def init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    t = traced(lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).apply(init))
    assert texts(t["1.weight"])[-1] == "trunc_normal_(std=0.02)"
    assert t["1.weight"][-1].source == "nn.init.trunc_normal_(module.weight, std=0.02)"
    assert t["1.weight"][-1].module is None
    assert t.fills["1.weight"] == TruncNormal(std=0.02)
    assert t.fills["1.bias"] == Constant(val=0)


@pytest.mark.parametrize(
    ("make", "text", "initializer"),
    [
        (lambda: torch.randn(5) * 0.02, "randn() * 0.02", Normal(std=0.02)),
        (lambda: 0.02 * torch.randn(5), "randn() * 0.02", Normal(std=0.02)),
        (lambda: torch.randn(5) / 50, "randn() / 50", Normal(std=0.02)),
        (lambda: torch.randn(5) * -3 + 1, "randn() * -3 + 1", Normal(mean=1, std=3)),
        (lambda: torch.randn(5) * 1e300, "randn() * 1e+300", None),
        (lambda: torch.rand(5) * math.inf, "rand() * inf", None),
        (lambda: torch.randn(5).mul_(0.5) + 1, "randn() * 0.5 + 1", Normal(mean=1, std=0.5)),
        (lambda: torch.normal(0.0, 0.02, (5,)), "normal(mean=0, std=0.02)", Normal(std=0.02)),
        (lambda: torch.rand(5) * 2 - 1, "rand() * 2 - 1", Uniform(a=-1, b=1)),
        (lambda: (torch.rand(5) - 0.5) * 2, "(rand() - 0.5) * 2", Uniform(a=-1, b=1)),
        (lambda: 1 - torch.rand(5), "1 - rand()", Uniform(a=0, b=1)),
        (
            lambda: torch.empty(5).uniform_(-1, 1).mul_(0.1),
            "uniform_(from=-1, to=1), then mul_(0.1)",
            Uniform(a=-0.1, b=0.1),
        ),
        (lambda: my_init_(torch.empty(4, 4), scale=0.3), "my_init_(scale=0.3)", Normal(std=0.3)),
        (deep, "(((... * 2 + rand()) * 2 + rand()) * 2 + rand()) * 2", None),
        (lambda: torch.cat([torch.randn(2) for _ in range(50)]), f"{'cat(' + 'randn(), ' * 50:.97}...", Normal()),
        (lambda: torch.zeros(5), "zeros()", Constant(val=0)),
        (lambda: torch.ones(0), "ones()", Constant(val=1)),
        (lambda: torch.ones(5) * 0.1, "ones() * 0.1", Constant(val=0.1)),
        (lambda: torch.full((5,), 2.5), "full(fill_value=2.5)", Constant(val=2.5)),
        (lambda: torch.tensor(0.1), "tensor(0.1)", Constant(val=0.1)),
        (lambda: torch.tensor([1.0, 2.0]), "tensor([1, 2])", None),
        (lambda: torch.ones(5) * torch.tensor(0.1), "ones() * 0.1", Constant(val=0.1)),
        (lambda: torch.full((), 4.0).log(), "log(full(fill_value=4))", Constant(val=1.3862943611198906)),
        (lambda: torch.empty(5).uniform_(-2, 1), "uniform_(from=-2, to=1)", Uniform(a=-2, b=1)),
        (lambda: torch.empty(200, 200).normal_(std=3), "normal_(mean=0, std=3)", Normal(std=3)),
        (lambda: nn.init.orthogonal_(torch.empty(4, 4), gain=2), "orthogonal_(gain=2)", Orthogonal(gain=2)),
        (lambda: nn.init.orthogonal_(torch.empty(4, 4), gain=2) * -1, "orthogonal_(gain=2) * -1", Orthogonal(gain=-2)),
        (lambda: nn.init.xavier_normal_(torch.empty(4, 4), gain=2) * 3, "xavier_normal_(gain=2) * 3", Xavier(gain=6)),
        (lambda: nn.init.xavier_normal_(torch.empty(4, 4)) + 1, "xavier_normal_() + 1", None),
        (lambda: nn.init.trunc_normal_(torch.empty(5), a=-1) * -1, "trunc_normal_(a=-1) * -1", TruncNormal(a=-2, b=1)),
        (lambda: torch.empty(5).exponential_(), "exponential_()", None),
        (lambda: nn.functional.pad(torch.zeros(3), (0, 2)), "constant_pad_nd(zeros(), 0)", Constant(val=0)),
        (lambda: nn.functional.pad(torch.zeros(3), (0, 2), value=1), "constant_pad_nd(zeros(), 1)", None),
        (lambda: torch.rand(5) + -2, "rand() - 2", Uniform(a=-2, b=-1)),
        (lambda: torch.cat([torch.randn(2), torch.randn(3)]), "cat(randn(), randn())", Normal()),
        (lambda: torch.cat([torch.zeros(2), torch.ones(2)]), "cat(zeros(), ones())", None),
        (lambda: torch.stack([torch.zeros(2), torch.zeros(2)]), "stack(zeros(), zeros())", Constant(val=0)),
        (lambda: torch.ones(2).repeat(3), "repeat(ones())", Constant(val=1)),
        (lambda: torch.randn(2).repeat(3), "repeat(randn())", None),
        (lambda: torch.eye(5), "eye(5)", Eye()),
        (lambda: torch.arange(5.0), "arange(5)", None),
        (lambda: torch.randn(5) * torch.randn(5), "randn() * randn()", None),
        (lambda: torch.randn(5).to(torch.bfloat16), "copy of randn()", Normal()),
    ],
)
def test_calls_with_their_distribution(make: Callable[[], Tensor], text: str, initializer: object) -> None:
    t = traced(lambda: Around(p=make()))
    assert [row[2] for row in t.table().rows] == [text]
    assert t.fills["p"] == t["p"][-1].initializer == initializer
    assert not any(call.overwritten for call in t["p"])


def test_a_padding_row_and_other_parts_are_calls() -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Embedding(5, 3, padding_idx=1), nn.Linear(3, 4))
        with torch.no_grad():
            model[1].weight[1:3].zero_()
            model[1].bias[2] = 3
        return model

    t = traced(build)
    assert texts(t["0.weight"]) == ["normal_()", "[1] fill_(value=0)"]
    assert t.fills["0.weight"] == Normal()
    assert texts(t["1.weight"]) == ["kaiming_uniform_(a=2.236)", "[1:3] zero_()"]
    assert not t["1.weight"][0].overwritten
    assert t.fills["1.weight"] is None
    assert texts(t["1.bias"])[-1] == "[2] fill_(3)"


def test_copies_say_of_what() -> None:
    def build() -> nn.Module:
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.load_state_dict(first.state_dict())
        third = copy.deepcopy(first)
        with torch.no_grad():
            third.bias.copy_(torch.randn(3) * 0.1)
        return nn.ModuleDict({"first": first, "second": second, "third": third})

    t = traced(build)
    assert texts(t["first.weight"]) == ["kaiming_uniform_(a=2.236)"]
    assert t.fills["first.weight"] is not None
    assert texts(t["second.weight"]) == ["kaiming_uniform_(a=2.236)", "copy of first.weight"]
    assert t["second.weight"][1].source == "second.load_state_dict(first.state_dict())"
    assert texts(t["third.weight"]) == ["copy of first.weight"]
    assert t.fills["third.weight"] == t.fills["first.weight"]
    assert texts(t["third.bias"]) == ["copy of first.bias", "copy of randn() * 0.1"]
    assert t.fills["third.bias"] == Normal(std=0.1)


def test_a_copy_in_another_model_names_the_model() -> None:
    with trace() as t:
        models = [Net()]
        models += copy.deepcopy(models)
    assert [each.model for each in t.traces] == ["Net", "Net"]
    assert texts(t.traces[1]["fc.weight"]) == ["copy of fc.weight of Net"]


def test_loads_say_from_which_line(tmp_path: Path) -> None:
    state = nn.Linear(3, 3).state_dict()
    torch.save(state, tmp_path / "state.pth")

    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
        model[0].load_state_dict(state)
        model[1].load_state_dict(torch.load(tmp_path / "state.pth"))
        with torch.no_grad():
            model[2].weight.copy_(state["weight"])
        return model

    t = traced(build)
    for number in (0, 1):
        call = t[f"{number}.weight"][-1]
        assert call.function == "load_state_dict"
        assert call.text.startswith("data (load_state_dict, test_calls.py:")
        assert call.source.startswith(f"model[{number}].load_state_dict(")
        assert t.fills[f"{number}.weight"] is None
        assert t[f"{number}.weight"][0].overwritten
    assert t["2.weight"][-1].source == 'model[2].weight.copy_(state["weight"])'
    t = traced(lambda: nn.Embedding.from_pretrained(torch.randn(3, 2)))  # Data by declaration.
    assert [call.function for call in t["weight"]] == ["randn", "from_pretrained"]
    assert t.fills["weight"] is None


@pytest.mark.parametrize(("size", "by_thread"), [(3, False), (200, False), (200, True)])
def test_a_write_that_nothing_shows_is_said_to_be_one(size: int, by_thread: bool) -> None:
    def build() -> nn.Module:
        model = nn.Linear(size, size)
        thread = threading.Thread(target=model.weight.detach().numpy().fill, args=(3.0,))
        if by_thread:
            thread.start()
            thread.join()
        else:
            thread.run()
        return model

    t = traced(build)
    assert t["weight"][-1].text == "data (written by code that autoinit does not see)"
    assert t["weight"][0].overwritten
    assert t.fills["weight"] is None


def test_replaced_data_and_tied_weights() -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        model[0].bias.data = torch.randn(3) * 2
        return model

    t = traced(build)
    assert list(t) == ["0.weight", "0.bias", "1.bias"]
    assert t.parameters["0.weight"].aliases == ("1.weight",)
    assert t["1.weight"] == t["0.weight"]
    assert t.fills["0.bias"] == Normal(std=2)


def test_parametrized_weights_by_what_is_stored_for_them() -> None:
    t = traced(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    weight = t.parameters["weight"]
    assert weight.through == "weight_norm"
    assert [call.part for call in weight.calls] == ["original0", "original1"]
    assert weight.initializer == Kaiming(a=5**0.5, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform")
    assert t["parametrizations.weight.original1"] == weight.calls


def test_lazy_layers_have_calls_once_they_have_a_shape() -> None:
    with trace() as t:
        model = nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(2))
        model[0](torch.zeros(2, 5))
    first, second = t.traces[0].parameters["0.weight"], t.traces[0].parameters["1.weight"]
    assert first.shape == (3, 5)
    assert texts(first.calls) == ["kaiming_uniform_(a=2.236)"]
    assert (second.shape, second.calls) == (None, ())


def test_a_model_on_the_meta_device_is_traced_too() -> None:
    with torch.device("meta"):
        t = traced(Net)
    real = traced(Net)
    assert [texts(calls) for calls in t.values()] == [texts(calls) for calls in real.values()]
    assert t.fills == real.fills


CFG = [dict(type="Xavier", layer="Linear", bias=0)]


def test_around_a_block_with_rules_their_fills_come_last() -> None:
    with trace() as t, autoinit(CFG, seed=0):
        model = nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100))
    assert texts(t["0.weight"]) == ["kaiming_uniform_(a=2.236)", "autoinit: Xavier() of init_cfg[0]"]
    assert [call.overwritten for call in t["0.weight"]] == [True, False]
    assert texts(t["0.bias"])[1] == "autoinit: Constant(val=0.0) of init_cfg[0]"
    assert (t.fills["0.weight"], t.fills["0.bias"]) == (Xavier(), Constant(val=0))
    assert texts(t["1.weight"]) == ["ones_()"]
    assert model[0].bias.eq(0).all()


def test_in_a_block_with_rules_it_shows_what_the_constructor_would_have_done() -> None:
    with autoinit(CFG, seed=0) as run, trace() as t:
        model = nn.Sequential(nn.Linear(100, 100))
    assert texts(t["0.weight"]) == ["kaiming_uniform_(a=2.236)"]
    assert model is t.root and run.report["0.weight"].outcome == "filled"


@pytest.mark.parametrize("cfg", [dict(type="Xavier", layer="Linear"), dict(type="Orthogonal", layer="Linear")])
def test_a_model_that_is_initialized_in_the_block_by_one_call(cfg: dict[str, str]) -> None:
    with trace() as t:
        model = Net()
        initialize(model, cfg, seed=0)
    assert texts(t["fc.weight"])[1:] == ["xavier_normal_()", f"autoinit: {cfg['type']}() of init_cfg"]
    assert t["fc.weight"][-1].source == "initialize(model, cfg, seed=0)"


def test_a_layer_that_was_made_before_an_inner_block_with_rules() -> None:
    with trace() as t:
        model = nn.Sequential(nn.Linear(3, 3))
        with autoinit(CFG):
            other = nn.Linear(3, 3)
            nn.init.ones_(model[0].weight)
        model.append(other)
    assert texts(t["0.weight"]) == ["kaiming_uniform_(a=2.236)", "ones_()"]
    assert texts(t["1.weight"]) == ["kaiming_uniform_(a=2.236)", "autoinit: Xavier() of init_cfg[0]"]


def test_blocks_inside_each_other_and_what_is_built_in_a_pause() -> None:
    with trace() as outer:
        with trace() as inner:
            model = nn.Linear(2, 2)
        with paused():
            other = nn.Linear(2, 2)
        nn.init.zeros_(model.weight)
    assert [each.root for each in outer.traces] == [model] != [other]
    assert texts(inner["weight"]) == ["kaiming_uniform_(a=2.236)"]
    assert texts(outer["weight"]) == ["kaiming_uniform_(a=2.236)", "zeros_()"]


def test_threads_and_tasks_have_blocks_of_their_own() -> None:
    found: dict[int, list[str]] = {}

    async def work(number: int) -> None:
        with trace() as t:
            model = nn.Linear(3, 3)
            await asyncio.sleep(0)
            nn.init.constant_(model.weight, number)
            await asyncio.sleep(0)
        found[number] = texts(t["weight"])

    async def both(number: int) -> None:
        await asyncio.gather(work(number), work(number + 1))

    threads = [threading.Thread(target=asyncio.run, args=(both(number),)) for number in (0, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: ["kaiming_uniform_(a=2.236)", f"constant_(val={n})"] for n in range(6)}


def test_after_an_exception_there_is_a_trace_of_what_was_built() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            nn.init.zeros_(self.fc.weight)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as error, trace() as t:
        Broken()
    assert texts(t["fc.weight"]) == ["kaiming_uniform_(a=2.236)", "zeros_()"]
    assert error.value.__traceback__ is not None


def test_a_model_that_cannot_be_walked_hides_no_exception() -> None:
    with pytest.raises(ZeroDivisionError), trace() as t:
        model = nn.Sequential(nn.Linear(2, 2))
        model.append(model)
        _ = 1 / 0
    assert t.traces == ()
    with pytest.raises(ModuleGraphError, match="contains itself"), trace():
        model = nn.Sequential(nn.Linear(2, 2))
        model[0].child = model
        holder = nn.Sequential(model)
    assert holder is not None


def test_several_models_and_none() -> None:
    with trace() as t:
        one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert [each.root for each in t.traces] == [one, other]
    with pytest.raises(StateError, match=r"The block has 2 root modules \(Linear, Linear\), not one. Use t.traces."):
        t["weight"]
    assert str(t).count("Trace of Linear") == t._repr_html_().count("Trace of Linear") == 2
    with trace() as empty:
        pass
    assert empty._repr_html_() == "<pre>&lt;trace: no model was built in the block&gt;</pre>"
    assert repr(empty) == "<trace: no model was built in the block>"
    with pytest.raises(StateError, match="0 root modules"):
        empty.table()


def test_before_the_block_has_ended_there_is_nothing_to_read() -> None:
    t = trace()
    assert repr(t) == "<trace: a block that was not entered>"
    with pytest.raises(StateError, match="not open"):
        t.__exit__(None, None, None)
    with t:
        model = nn.Linear(2, 2)
        assert str(t) == "<trace: an open block>"
        with pytest.raises(StateError, match="has not ended"):
            t.fills  # noqa: B018
        with pytest.raises(StateError, match=r"call trace\(\) again"), t:
            pass
    assert t.root is model


def test_a_model_that_is_dropped_has_no_trace_and_is_not_kept_alive() -> None:
    with trace() as t:
        nn.Linear(3, 3)
        model = nn.Linear(4, 4)
    assert t.parameters["weight"].shape == (4, 4)
    del model
    assert t.root is None
    with trace() as t:
        nn.Linear(3, 3)
    assert repr(t) == "<trace: the models that were built in the block are gone>"
    with pytest.raises(StateError, match=r"0 root modules \(all are gone\), not one"):
        t.table()


@pytest.mark.parametrize("width", [60, 72, 80, 100])
def test_calls_are_whole_on_a_narrow_terminal(width: int) -> None:
    def build() -> nn.Module:
        model = nn.ModuleDict({"a_layer_with_a_long_name": nn.Linear(4, 4)})
        nn.init.kaiming_normal_(model["a_layer_with_a_long_name"].weight, mode="fan_out", nonlinearity="relu")
        return model

    table = traced(build).table()
    lines = table.text(width).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert all(word in words for row in table.rows for word in row[2].split())


def test_a_long_training_keeps_the_first_and_the_last_calls() -> None:
    with trace() as t:
        model = nn.Linear(2, 2)
        for _ in range(200):
            with torch.no_grad():
                model.weight.mul_(0.5)
    assert len(t["weight"]) == 64
    assert str(t["weight"][0]) == "kaiming_uniform_(a=2.236)"
    assert t.table().rows[0][2] == "kaiming_uniform_(a=2.236), then mul_(0.5) x63"


def test_the_table_json_and_pickle() -> None:
    t = traced(Net)
    assert str(t).splitlines()[:4] == [
        "Trace of Net",
        "parameter  shape  calls                      overwritten                line",
        "---------  -----  -------------------------  -------------------------  " + "-" * len(t["fc.bias"][-1].where),
        f"fc.weight  4 x 4  xavier_normal_()           kaiming_uniform_(a=2.236)  {t['fc.weight'][-1].where}",
    ]
    assert t.caption == "2 parameters; 4 calls, 2 of them overwritten"
    found = json.loads(t.to_json())["parameters"]["fc.weight"]
    assert (found["shape"], found["layer"], found["initializer"]) == ([4, 4], "Linear", "Xavier()")
    assert found["calls"][1]["call"] == "xavier_normal_()"
    again = pickle.loads(pickle.dumps(t))
    assert again == t
    assert again.root is None
    assert t != traced(lambda: nn.Linear(4, 4))
