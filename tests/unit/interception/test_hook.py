"""What an open block notices: loads, first calls, own `init_weights`; and torch.compile around it (I2-I5)."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from autoinit import AutoInitWarning, autoinit, initialize
from tests.processes import Interpreter

from . import NORMAL, SEVEN, X, is_seven

# --- first calls -------------------------------------------------------------------------------------------------


def test_a_model_that_is_called_inside_has_its_values_then_and_keeps_what_it_learns() -> None:
    with autoinit(SEVEN) as run:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        other = nn.Linear(2, 2)
        output = model(X)
        assert is_seven(model[0])
        assert not is_seven(other), "it has not been called"
        torch.optim.SGD(model.parameters(), lr=0.5).zero_grad()
        output.sum().backward()
        with torch.no_grad():
            for param in model.parameters():
                param.sub_(param.grad)
        trained = copy.deepcopy(model.state_dict())
    assert all(torch.equal(trained[name], value) for name, value in model.state_dict().items())
    assert is_seven(other)
    assert len(run.reports) == 2


@pytest.mark.parametrize("cfg", [[], dict(type="Normal", layer="Conv2d"), SEVEN])
@pytest.mark.filterwarnings("ignore:.*matches no module:autoinit.AutoInitWarning")
def test_a_model_that_is_called_has_one_report_whether_rules_reach_it_or_not(cfg: object) -> None:
    with autoinit(cfg) as run:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        for _ in range(2):
            model(X)
        whole = nn.Sequential(model, nn.Linear(2, 2))
    assert [list(report) for report in run.reports] == [
        ["0.weight", "0.bias", "1.weight", "1.bias"],
        ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "1.weight", "1.bias"],
    ]
    assert whole[0] is model


def test_a_forward_pass_in_a_constructor_is_no_first_call() -> None:
    class Probing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Linear(3, 5)
            size = self.features(torch.zeros(1, 3)).shape[1]
            self.head = nn.Linear(size, 2)

    with autoinit(NORMAL, seed=2) as run:
        model = Probing()
    with autoinit(NORMAL, seed=2):
        plain = nn.Module()
        plain.features, plain.head = nn.Linear(3, 5), nn.Linear(5, 2)
    assert len(run.reports) == 1
    assert torch.equal(model.features.weight, plain.features.weight), "values go by the name in the whole model"


def test_a_head_that_replaces_another_after_the_first_call() -> None:
    with autoinit(SEVEN):
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[0](X)
        assert is_seven(*model), "calling a part initializes the whole model"
        with torch.no_grad():
            model[0].weight.zero_()
        model[1] = nn.Linear(2, 3)
    assert (model[0].weight == 0).all()
    assert is_seven(model[1])


def test_a_part_that_was_trained_and_then_put_into_a_larger_model() -> None:
    with autoinit(SEVEN) as run:
        backbone = nn.Linear(2, 2)
        backbone(X)
        with torch.no_grad():
            backbone.weight.fill_(3)
        model = nn.Sequential(backbone, nn.Linear(2, 2))
    assert (backbone.weight == 3).all()
    assert is_seven(model[1])
    assert run.reports[1]["0.weight"].kept == "final since its first call"


def test_values_do_not_depend_on_whether_a_root_was_called_early() -> None:
    def build(call: bool) -> list[torch.Tensor]:
        with autoinit(NORMAL, seed=4):
            models = [nn.Linear(2, 2) for _ in range(3)]
            if call:
                models[1](X)
        return [model.weight.detach() for model in models]

    assert all(torch.equal(a, b) for a, b in zip(build(False), build(True), strict=True))


def test_a_copy_of_what_was_called_is_final_too() -> None:
    with autoinit(SEVEN):
        waiting, called = nn.Linear(2, 2), nn.Linear(2, 2)
        called(X)
        with torch.no_grad():
            called.weight.fill_(300)
        clone = copy.deepcopy(called)
    assert is_seven(waiting)
    assert (called.weight == 300).all() and (clone.weight == 300).all()


def test_the_call_hook_is_there_only_while_something_waits_for_its_values() -> None:
    hooks = torch_module._global_forward_pre_hooks
    with autoinit(SEVEN):
        assert not hooks
        model = nn.Linear(2, 2)
        assert len(hooks) == 1
        model(X)
        assert not hooks
        second = nn.Linear(2, 2)
        assert len(hooks) == 1
    assert not hooks
    assert is_seven(second)


def test_a_call_of_all_that_an_inner_block_has_built_ends_nothing_for_the_outer() -> None:
    with autoinit([dict(type="Constant", layer="Linear", val=11)]):
        first = nn.Linear(2, 2)
        with autoinit([dict(type="Constant", layer="LayerNorm", val=3)]):
            called = nn.LayerNorm(2)
            called(torch.zeros(1, 2))
            second = copy.deepcopy(first)
    assert second.weight.unique().tolist() == first.weight.unique().tolist() == [11]


def test_no_values_in_nested_blocks_are_lost_by_a_call() -> None:
    with autoinit([SEVEN, dict(type="Constant", val=2, layer="Conv2d")]):
        with autoinit(dict(type="Constant", val=3, layer="Linear")):
            model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 1, 1))
            model(torch.ones(1, 4))
            assert (model[1].weight == 3).all()
            assert model[3].weight.item() == 2
    assert (model[1].weight == 3).all()


# --- init_weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normed", [weight_norm, spectral_norm])
def test_giving_a_computed_weight_its_value_is_no_use_of_it(normed: Any) -> None:
    with autoinit(dict(type="Constant", val=2, layer="Linear"), seed=0) as outer:
        model = nn.Sequential(normed(nn.Linear(3, 3)))
        with autoinit(dict(type="Constant", val=1, layer="Linear", bias=4)):
            inner = normed(nn.Linear(3, 3))
        initialize(model[0], dict(type="Orthogonal", layer="Linear", bias=5))
        assert not outer.reports, "a call would have ended the outer block's part in it"
        model.append(nn.Linear(3, 3))
    assert (inner.bias == 4).all()
    assert (model[0].bias == 5).all() and (model[1].weight == 2).all()


class Own(nn.Module):
    """Has an `init_weights` that its constructor calls or not."""

    def __init__(self, *, call: bool) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = nn.Linear(2, 2)
        if call:
            self.init_weights()

    def init_weights(self) -> None:
        self.a.weight.data.fill_(1)
        nn.init.constant_(self.a.bias, 1)


def test_own_init_weights_beats_rules_and_is_credited_with_what_it_wrote() -> None:
    method = Own.__dict__["init_weights"]
    with pytest.warns(AutoInitWarning, match=r"Own.init_weights\(\) runs after the rules"), autoinit(SEVEN) as run:
        model = Own(call=False)
    assert (model.a.weight == 1).all() and (model.a.bias == 1).all()
    assert is_seven(model.b)
    outcomes = {fqn: entry.outcome for fqn, entry in run.report.items()}
    assert outcomes == {
        "a.weight": "own init_weights",
        "a.bias": "own init_weights",
        "b.weight": "filled",
        "b.bias": "filled",
    }
    assert Own.__dict__["init_weights"] is method


@pytest.mark.parametrize("by_constructor", [True, False])
def test_an_init_weights_that_ran_in_the_block_is_not_run_again(by_constructor: bool) -> None:
    with autoinit(SEVEN) as run:
        model = Own(call=by_constructor)
        if not by_constructor:
            model.init_weights()
    assert is_seven(model.a, model.b)
    assert set(run.report.outcomes) == {"filled"}


def test_an_option_called_init_weights_is_no_method() -> None:
    class Option(nn.Module):
        init_weights = True

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            assert self.init_weights is True

    with autoinit(SEVEN):
        model = Option()
    assert is_seven(model.layer)
    assert Option.init_weights is True


# --- other libraries' patches ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torch_compile(interpreter: Interpreter) -> None:
    # The first torch.compile of a process patches nn.Module for good, so each order needs a process of its own.
    script = """
    import os, torch, torch._dynamo
    from torch import nn
    from torch.nn.modules import module as torch_module
    from autoinit import autoinit

    def compiled():
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        return model, torch.compile(model, backend="eager", fullgraph=True)

    for when in ("before", "inside", "after"):
        if not (child := os.fork()):
            break
        assert os.waitpid(child, 0)[1] == 0, when
    else:
        raise SystemExit

    original = nn.Module.__init__
    x = torch.ones(1, 2)
    if when == "before":
        compiled()[1](x)
        patched = nn.Module.__init__
    with autoinit(dict(type="Constant", val=7, layer="Linear")) as run:
        model, fast = compiled()
        if when == "inside":
            result = fast(x)
            assert (model[0].weight == 7).all()
            assert torch.equal(result, model(x))
    assert (model[0].weight == 7).all() and (model[2].weight == 7).all(), model[0].weight
    assert list(run.report) == ["0.weight", "0.bias", "2.weight", "2.bias"], list(run.report)
    if when == "before":
        assert nn.Module.__init__ is patched
    if when == "after":
        assert nn.Module.__init__ is original
        compiled()
    assert torch.equal(fast(x), model(x))
    after = nn.Module.__init__
    for _ in range(3):
        with autoinit(dict(type="Constant", val=5, layer="Linear")) as run:
            layer = nn.Linear(2, 2)
        assert (layer.weight == 5).all() and len(run.reports) == 1
    assert nn.Module.__init__ is after, "blocks after a torch.compile leave its patch alone"
    assert not torch_module._global_forward_pre_hooks and "__reduce_ex__" not in nn.Module.__dict__
    outside = nn.Linear(2, 2)
    assert (outside.weight != 5).all()
    assert torch.equal(compiled()[1](x).detach() * 0, torch.zeros(1, 2))
    """
    interpreter.check(script)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*jit.*:FutureWarning")
def test_script_export_and_fx_afterwards() -> None:
    with autoinit(SEVEN):
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = torch.ones(1, 2)
    assert torch.equal(torch.jit.script(model)(x), model(x))
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))
    exported = torch.export.export(model, (x,))
    assert torch.equal(exported.module()(x), model(x))


def test_a_patch_that_another_library_put_on_meanwhile_survives() -> None:
    original = nn.Module.__init__
    calls = []
    try:
        with autoinit(SEVEN):
            ours = nn.Module.__init__

            def theirs(self: nn.Module, *args: object, **kwargs: object) -> None:
                calls.append(type(self).__name__)
                ours(self, *args, **kwargs)

            nn.Module.__init__ = theirs  # type: ignore[method-assign]
            inside = nn.Linear(2, 2)
        assert nn.Module.__init__ is theirs
        outside = nn.Linear(2, 2)
        with autoinit(SEVEN) as run:
            again = nn.Linear(2, 2)
        assert nn.Module.__init__ is theirs
    finally:
        nn.Module.__init__ = original  # type: ignore[method-assign]
    assert is_seven(inside, again) and not is_seven(outside)
    assert len(run.reports) == 1
    assert calls == ["Linear"] * 3


def test_copies_are_no_loads_under_a_patch_that_was_put_around_ours() -> None:
    """As `torch.compile` does in its first call: our wrapper is inside its own for good."""
    original = nn.Module.__setstate__
    try:
        for _ in range(2):
            with autoinit(SEVEN):
                ours = nn.Module.__setstate__

                def patched_setstate(self: nn.Module, state: object, ours: Any = ours) -> None:
                    ours(self, state)

                nn.Module.__setstate__ = patched_setstate  # type: ignore[method-assign, assignment]
                layer = nn.Linear(2, 2)
                clone = copy.deepcopy(layer)
                read = pickle.loads(pickle.dumps(layer))
            assert is_seven(clone)
            assert not is_seven(read), "what is read from a file was loaded"
    finally:
        nn.Module.__setstate__ = original  # type: ignore[method-assign]


# --- copies ------------------------------------------------------------------------------------------------------


def test_copies_made_in_their_own_ways() -> None:
    class OwnDeepcopy(nn.Linear):
        def __deepcopy__(self, memo: dict[int, object]) -> OwnDeepcopy:
            new = type(self)(self.in_features, self.out_features)
            new.load_state_dict(self.state_dict())
            return new

    class OwnState(nn.Linear):
        def __getstate__(self) -> dict[str, object]:
            return dict(self.__dict__, extra=1)

        def __setstate__(self, state: dict[str, object]) -> None:
            self.__dict__.update(state)

    with autoinit(SEVEN):
        first, second = OwnDeepcopy(2, 2), OwnState(2, 2)
        copies = copy.deepcopy(first), copy.deepcopy(second)
        shallow = copy.copy(second)
    assert is_seven(first) and is_seven(second)
    assert is_seven(copies[1]), "a copy without a constructor"
    assert is_seven(copies[0]), "a copy by way of a state dict"
    assert shallow.weight is second.weight
