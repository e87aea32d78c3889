"""`Trace.to_cfg()` and `to_yaml()`: the config that does what a model's own code does."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from autoinit import StateError, Trace, plan, trace
from autoinit.tracing.written_initializers import TracedTensor, is_same_fill
from tests.models import Around
from tests.processes import Interpreter

DATA = torch.arange(16.0).view(4, 4)


def traced(build: Callable[[], nn.Module]) -> tuple[nn.Module, Trace]:
    with trace() as found:
        model = build()
    return model, found


def config_of(build: Callable[[], nn.Module]) -> list[dict[str, Any]]:
    """The config of a model, after a check that it fills the parameters with an initializer as the model does."""
    model, found = traced(build)
    cfg = found.to_cfg()
    assert differing(model, found, cfg) == []
    return cfg


def differing(model: nn.Module, found: Trace, cfg: object) -> list[str]:
    """The parameters with an initializer that a config fills otherwise, and those without that it fills at all."""
    planned = plan(model, cfg, unmatched="error")  # type: ignore[arg-type]
    wrong = []
    for fqn, parameter in found.parameters.items():
        wanted = None
        if parameter.initializer is not None and parameter.shape is not None:
            wanted = TracedTensor(shape=parameter.shape, dtype=parameter.dtype).fill(parameter.initializer)
        if not is_same_fill(planned[fqn].fill, wanted):
            wrong.append(f"{fqn}: {planned[fqn].fill}, not {wanted}")
    return wrong


class Layers(nn.ModuleList):
    """Like layers, whose weights a function fills by their number."""

    def __init__(self, fill: Callable[[int, torch.Tensor], object], sizes: Sequence[int] = (4,) * 7) -> None:
        super().__init__(nn.Linear(n, m) for n, m in pairwise(sizes))
        for index, layer in enumerate(self.children(), 1):
            fill(index, layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def filled(**constants: float) -> nn.Module:
    """Two layers of which some parameters are constant."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    for layer in model:
        for name, value in constants.items():
            nn.init.constant_(getattr(layer, name), value)
    return model


def like_linear(size: int) -> nn.Module:
    layer = Around(weight=torch.empty(4, size), bias=torch.empty(4))
    nn.init.kaiming_uniform_(layer.weight, a=5**0.5)
    nn.init.uniform_(layer.bias, -(size**-0.5), size**-0.5)
    return layer


def with_exceptions() -> nn.Module:
    model = nn.ModuleDict({"first": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    blocks = (nn.ModuleDict({"up": nn.Linear(4, 8), "down": nn.Linear(8, 4)}) for _ in range(3))
    model["blocks"] = nn.ModuleList(blocks)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01 if name.endswith("down") else 0.02)
            nn.init.zeros_(layer.bias)
    nn.init.zeros_(model["head"].weight)
    nn.init.constant_(model["head"].bias, -4.5)
    return model


def other_names() -> nn.Module:
    model = Around(pos_embed=torch.randn(4) * 0.02, cls_token=torch.randn(2) * 0.02)
    model.scales = nn.ParameterList([nn.Parameter(torch.full((3,), 0.1)) for _ in range(3)])
    return model


def tied() -> nn.Module:
    model = nn.ModuleDict({"embed": nn.Embedding(10, 4, padding_idx=0), "head": nn.Linear(4, 10, bias=False)})
    model["head"].weight = model["embed"].weight
    return model


def wildcards() -> nn.Module:
    model = Around({name: nn.Linear(2, 2) for name in ("a*", "ab", "a[0]", "ac")})
    nn.init.constant_(model.get_submodule("a*").weight, 1.0)
    nn.init.constant_(model.get_submodule("a[0]").weight, 2.0)
    return model


def depthwise() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 8, 3, groups=8, bias=False))
    for layer, fan_out in zip(model, (8, 9), strict=True):
        nn.init.normal_(layer.weight, std=(2 / fan_out) ** 0.5)
    return model


def by_hand(weight: torch.Tensor, scale: float, fan: int) -> None:
    nn.init.uniform_(weight, -((3 * scale / fan) ** 0.5), (3 * scale / fan) ** 0.5)


def rescaled(index: int, weight: torch.Tensor) -> None:
    nn.init.trunc_normal_(weight, std=0.02)
    weight.data.div_((2 * index) ** 0.5)


def normal(std: Callable[[int, torch.Tensor], float], sizes: Sequence[int] = (4,) * 7) -> Callable[[], nn.Module]:
    return lambda: Layers(lambda index, weight: nn.init.normal_(weight, 0, std(index, weight)), sizes)


SIZES = (4, 7, 3, 11)
CASES: dict[str, tuple[Any, ...]] = {
    "torch's defaults": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)),
        "{type: Default, layer: [Linear, Conv2d]}",
        "{type: Constant, layer: BatchNorm2d, val: 1}",
    ),
    "default weights": (lambda: filled(bias=0), "{type: Default, layer: Linear, bias: 0}"),
    "default biases": (
        lambda: filled(weight=0),
        "{type: Constant, layer: Linear, val: 0, bias: null}",
        "{type: Default, layer: Linear, params: bias}",
    ),
    "the same by a layer without a default": (
        lambda: nn.Sequential(like_linear(7), like_linear(3)),
        "{type: Kaiming, layer: Around, a: sqrt(5), mode: fan_in, nonlinearity: leaky_relu, distribution: uniform, "
        "bias: null}",
        "{type: Uniform, layer: Around, params: bias, a: -1/sqrt(fan_in), b: 1/sqrt(fan_in)}",
    ),
    "a constant bias": (lambda: filled(weight=0.02, bias=0.5), "{type: Constant, layer: Linear, val: 0.02, bias: 0.5}"),
    "the formula of a number": (
        normal(lambda index, weight: (2 / weight.shape[0]) ** 0.5, SIZES),
        "{type: Kaiming, layer: Linear}",
    ),
    "a gain that has no name": (
        lambda: Layers(lambda index, weight: by_hand(weight, 0.041152, weight.shape[1]), SIZES),
        "{type: VarianceScaling, layer: Linear, scale: 0.041152, distribution: uniform}",
    ),
    "a depthwise convolution, by the fans of its layer": (
        depthwise,
        "{type: VarianceScaling, layer: Conv2d, scale: 2, mode: fan_out, distribution: normal}",
    ),
    # By the fans of these shapes this is a variance of 0.0016 / fan_in, too.
    "a number that a person wrote": (normal(lambda *_: 0.02), "{type: Normal, layer: Linear, std: 0.02}"),
    "by the layer's number": (
        normal(lambda index, _: 0.02 / (2 * index) ** 0.5),
        "{type: Normal, layer: Linear, std: 0.02/sqrt(2 * layer)}",
    ),
    "by its root": (
        normal(lambda index, _: 0.02 / index**0.5),
        "{type: Normal, layer: Linear, std: 0.02/sqrt(layer)}",
    ),
    "by the depth": (normal(lambda *_: 0.02 / 12**0.5), "{type: Normal, layer: Linear, std: 0.02/sqrt(2 * depth)}"),
    "rescaled by the layer's number": (
        lambda: Layers(rescaled),
        "{type: TruncNormal, layer: Linear, std: 0.02, a: -2, b: 2, scale: 1/sqrt(2 * layer)}",
    ),
    "exceptions by name, with numbers as globs": (
        with_exceptions,
        "{type: Normal, layer: Linear, std: 0.02}",
        "{type: Normal, name: '**.down', std: 0.01}",
        "{type: Constant, name: head, val: 0, bias: -4.5}",
    ),
    "one layer of many": (
        lambda: Layers(lambda index, weight: nn.init.constant_(weight, 0.0 if index == 5 else 1.0)),
        "{type: Constant, layer: Linear, val: 1}",
        "{type: Constant, name: '4', val: 0}",
    ),
    "parameters of other names": (
        other_names,
        "{type: Normal, params: [pos_embed, cls_token], std: 0.02}",
        "{type: Constant, params: scales.*, val: 0.1}",
    ),
    "tied and padded": (tied, "{type: Normal, layer: Embedding}"),
    "what no rule reaches needs none": (
        lambda: nn.Sequential(Around(table=DATA.clone()), filled(weight=1, bias=1)),
        "{type: Constant, layer: Linear, val: 1, bias: 1}",
    ),
    "names with wildcards are literal": (
        wildcards,
        "{type: Default, layer: Linear}",
        r"{type: Constant, name: 're:a\*', params: weight, val: 1}",
        r"{type: Constant, name: 're:a\[0\]', params: weight, val: 2}",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_shortest_config(case: str) -> None:
    build, *expected = CASES[case]
    model, found = traced(build)
    assert [line for line in found.to_yaml().splitlines() if line[0] != "#"] == [f"- {rule}" for rule in expected]
    assert found.to_cfg() == yaml.safe_load(found.to_yaml())
    assert differing(model, found, found.to_cfg()) == []


def test_a_class_is_qualified_if_another_has_its_name() -> None:
    class Linear(Around):
        pass

    class LayerNorm(nn.LayerNorm):
        pass

    cfg = config_of(lambda: nn.Sequential(nn.Linear(4, 4), Linear(weight=torch.zeros(4))))
    assert {rule["layer"] for rule in cfg if rule["type"] == "Constant"} == {f"{__name__}.{Linear.__qualname__}"}
    # One that has its name and is a subclass is meant as well.
    assert config_of(lambda: nn.Sequential(LayerNorm(4), nn.LayerNorm(4)))[0]["layer"] == "LayerNorm"


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.ConvTranspose2d(8, 4, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8)),
        lambda: Layers(lambda index, weight: nn.init.orthogonal_(weight, gain=2**0.5), (4, 7, 3)),
        lambda: nn.LSTM(4, 8, num_layers=2),
        lambda: nn.Transformer(16, 2, 2, 2, 32, batch_first=True),
    ],
)
def test_layers_whose_axes_autoinit_reads_otherwise_than_torch(build: Callable[[], nn.Module]) -> None:
    assert config_of(build)


def test_what_no_rule_says_is_kept_and_a_comment() -> None:
    def build() -> nn.Module:
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
        with torch.no_grad():
            model[1].weight.copy_(torch.arange(16.0).view(4, 4).sin())
        return model

    model, found = traced(build)
    cfg = found.to_cfg()
    assert cfg[-1] == dict(type="Keep", name="1", params="weight")
    assert differing(model, found, cfg) == []
    comments = found.to_yaml().splitlines()
    assert comments[0] == "# 5 of 6 parameters of Sequential get the same fills."
    assert comments[2].startswith("# kaiming_uniform_(a=2.236) at linear.py:") and comments[2].endswith("  x2")
    assert comments[-2] == "# No rule says what these get:"
    assert comments[-1].startswith("#   1.weight: ") and f"{Path(__file__).name}:" in comments[-1]


def test_a_model_inside_one_of_its_own_class_whose_data_no_rule_can_leave_alone() -> None:
    class Nested(Around):
        pass

    _, found = traced(lambda: Nested({name: Nested(weight=torch.ones(4)) for name in "ab"}, weight=DATA.clone()))
    assert found.to_cfg() == [dict(type="Constant", layer="Nested", val=1)]
    assert "# 2 of 3 parameters of Nested get the same fills." in found.to_yaml()


def test_lazy_layers_have_no_rule_and_a_model_that_is_gone_no_config() -> None:
    model, found = traced(lambda: nn.Sequential(nn.LazyLinear(4)))
    found = found.traces[0]
    assert found.to_cfg() == [] and "# No rule says what these get:" in found.to_yaml()
    del model
    gc.collect()
    with pytest.raises(StateError, match="Keep a reference to the model"):
        found.to_cfg()


INITS: tuple[Callable[[torch.Tensor], object], ...] = (
    lambda weight: nn.init.normal_(weight, std=0.02),
    lambda weight: nn.init.normal_(weight, std=0.0123456),
    lambda weight: nn.init.trunc_normal_(weight, std=0.5, a=-1, b=1),
    lambda weight: nn.init.uniform_(weight, -0.1, 0.3),
    nn.init.xavier_uniform_,
    lambda weight: nn.init.xavier_normal_(weight, gain=2**0.5),
    nn.init.kaiming_normal_,
    lambda weight: nn.init.kaiming_uniform_(weight, mode="fan_out", nonlinearity="relu"),
    nn.init.orthogonal_,
    nn.init.zeros_,
    lambda weight: None,
    lambda weight: weight.data.copy_(DATA.flatten()[: weight.numel()].view_as(weight)) if weight.numel() < 16 else None,
)


LAYERS: tuple[Callable[[random.Random, int, int], nn.Module], ...] = (
    lambda rng, n, m: nn.Linear(n, m, bias=rng.random() < 0.8),
    lambda rng, n, m: nn.Conv2d(n, m, 3, groups=2 if n % 2 == 0 else 1),
    lambda rng, n, m: nn.LayerNorm(n),
    lambda rng, n, m: nn.Embedding(n, m, padding_idx=rng.choice([None, 0])),
    lambda rng, n, m: nn.ConvTranspose2d(n, m, 3),
)


def random_model(seed: int) -> nn.Module:
    """Nested layers, each filled by a random call."""
    rng = random.Random(seed)

    def part(depth: int) -> nn.Module:
        kind = rng.randrange(6 if depth else 5)
        if kind < len(LAYERS):
            return LAYERS[kind](rng, rng.choice([2, 3, 4, 8]), rng.choice([2, 4, 6]))
        names = rng.sample(["attn", "mlp", "norm", "head", "fc1", "fc2", "q_proj"], 3)
        return nn.ModuleDict({name: part(depth - 1) for name in names})

    model = nn.ModuleList(part(2) for _ in range(8))
    usual, odd = rng.sample(INITS, 2)
    for param in model.parameters():
        if param.dim() > 1:
            rng.choices([usual, odd, rng.choice(INITS)], [8, 2, 1])[0](param)
        elif rng.random() < 0.1:
            nn.init.constant_(param, rng.choice([0.0, 0.5]))
    return model


@pytest.mark.parametrize("seed", range(15))
def test_random_models_get_the_fills_of_their_own_code(seed: int) -> None:
    torch.manual_seed(seed)
    config_of(lambda: random_model(seed))


def test_the_config_is_the_same_in_every_process(interpreter: Interpreter) -> None:
    # Strings have other hashes there.
    code = "from tests.unit.tracing.test_config_of_calls import random_yaml; print(random_yaml())"
    assert interpreter.check(code).strip() == random_yaml().strip()


def random_yaml() -> str:
    return "\n".join(found.to_yaml() for model, found in (traced(partial(random_model, seed)) for seed in range(3)))
