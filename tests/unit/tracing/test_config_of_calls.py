"""`Trace.to_cfg()` and `to_yaml()`: the config that does what a model's own code does."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoinit import AutoInitWarning, StateError, Trace, plan, trace
from autoinit.fans import torch_fans
from autoinit.fills import TensorSpec
from autoinit.tracing.written_initializers import is_same_fill
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
            fans = torch_fans(parameter.shape)
            spec = TensorSpec(shape=parameter.shape, dtype=parameter.dtype, fans=fans)
            wanted = parameter.initializer.fill(spec)
        if not is_same_fill(planned[fqn].fill, wanted):
            wrong.append(f"{fqn}: {planned[fqn].fill}, not {wanted}")
    return wrong


class Layers(nn.Module):
    """Like layers, whose weights `weight_init` fills by their number."""

    def __init__(self, weight_init: Callable[[int, torch.Tensor], object], sizes: Sequence[int] = (4,) * 7) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        for index, layer in enumerate(self.layers):
            weight_init(index, layer.weight)
            nn.init.zeros_(layer.bias)


def test_torchs_defaults_are_rules_of_type_default() -> None:
    assert config_of(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    ) == [
        dict(type="Default", layer=["Linear", "Conv2d"]),
        dict(type="Constant", layer="BatchNorm2d", val=1),
    ]


def test_default_weights_with_constant_biases_and_the_reverse() -> None:
    def build(param: str) -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        for layer in model:
            nn.init.zeros_(getattr(layer, param))
        return model

    assert config_of(lambda: build("bias")) == [dict(type="Default", layer="Linear", bias=0)]
    assert config_of(lambda: build("weight")) == [
        dict(type="Constant", layer="Linear", val=0, bias=None),
        dict(type="Default", layer="Linear", params="bias"),
    ]


def test_the_same_by_a_layer_without_a_default_is_written_by_fan() -> None:
    class Layer(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.empty(4, size)), nn.Parameter(torch.empty(4))
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)
            nn.init.uniform_(self.bias, -(size**-0.5), size**-0.5)

    kaiming = dict(mode="fan_in", nonlinearity="leaky_relu", a="sqrt(5)", distribution="uniform")
    assert config_of(lambda: nn.Sequential(Layer(7), Layer(3))) == [
        dict(type="Kaiming", layer="Layer", bias=None, **kaiming),
        dict(type="Uniform", layer="Layer", params="bias", a="-1/sqrt(fan_in)", b="1/sqrt(fan_in)"),
    ]


def test_a_constant_bias_is_a_key_of_the_rule_of_its_weight() -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        for layer in model:
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.constant_(layer.bias, 0.5)
        return model

    assert config_of(build) == [dict(type="Normal", layer="Linear", std=0.02, bias=0.5)]


def test_the_formula_of_a_number_is_recognized() -> None:
    def by_hand(index: int, weight: torch.Tensor) -> None:
        nn.init.normal_(weight, 0, (2 / weight.shape[0]) ** 0.5)

    assert config_of(lambda: Layers(by_hand, (4, 7, 3, 11))) == [dict(type="Kaiming", layer="Linear")]


def test_a_gain_that_nobody_names_is_a_scale() -> None:
    def by_hand(index: int, weight: torch.Tensor) -> None:
        nn.init.uniform_(weight, -((0.123456 / weight.shape[1]) ** 0.5), (0.123456 / weight.shape[1]) ** 0.5)

    [rule] = config_of(lambda: Layers(by_hand, (4, 7, 3, 11)))
    assert rule == dict(type="VarianceScaling", layer="Linear", scale=0.041152, distribution="uniform")


def test_numbers_that_a_person_wrote_stay() -> None:
    # By the fans of these shapes this is a variance of 0.0016 / fan_in, too.
    assert config_of(lambda: Layers(lambda index, weight: nn.init.normal_(weight, std=0.02))) == [
        dict(type="Normal", layer="Linear", std=0.02)
    ]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (lambda layer: (2 * layer) ** 0.5, "0.02/sqrt(2 * layer)"),
        (lambda layer: layer**0.5, "0.02/sqrt(layer)"),
        (lambda layer: 12**0.5, "0.02/sqrt(2 * depth)"),
    ],
)
def test_a_std_that_falls_with_the_layer_is_one_rule(factor: Callable[[int], float], expected: str) -> None:
    build = lambda: Layers(lambda index, weight: nn.init.normal_(weight, std=0.02 / factor(index + 1)))  # noqa: E731
    assert config_of(build) == [dict(type="Normal", layer="Linear", std=expected)]


def test_weights_that_are_rescaled_by_their_layer_are_one_rule() -> None:
    def rescaled(index: int, weight: torch.Tensor) -> None:
        nn.init.trunc_normal_(weight, std=0.02)
        weight.data.div_((2 * (index + 1)) ** 0.5)

    rule = dict(type="TruncNormal", layer="Linear", std=0.02, a=-2, b=2, scale="1/sqrt(2 * layer)")
    assert config_of(lambda: Layers(rescaled)) == [rule]


def test_exceptions_are_rules_by_name_with_numbers_as_globs() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
            for layer in (self.up, self.down):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
            nn.init.normal_(self.down.weight, std=0.01)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(3))
            self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            for layer in (self.first, self.head):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
            nn.init.zeros_(self.head.weight)
            nn.init.constant_(self.head.bias, -4.5)

    assert config_of(Model) == [
        dict(type="Normal", layer="Linear", std=0.02),
        dict(type="Normal", name="**.down", std=0.01),
        dict(type="Constant", name="head", val=0, bias=-4.5),
    ]


def test_one_layer_of_many_is_named_by_its_number() -> None:
    def last(index: int, weight: torch.Tensor) -> None:
        nn.init.constant_(weight, 0.0 if index == 5 else 1.0)

    first, second = config_of(lambda: Layers(last))
    assert first == dict(type="Constant", layer="Linear", val=1)
    assert second == dict(type="Constant", name="**.5", val=0)


def test_parameters_of_other_names_have_rules_by_these() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pos_embed = nn.Parameter(torch.randn(4) * 0.02)
            self.cls_token = nn.Parameter(torch.randn(2) * 0.02)
            self.scales = nn.ParameterList([nn.Parameter(torch.full((3,), 0.1)) for _ in range(3)])

    assert config_of(Model) == [
        dict(type="Normal", params=["pos_embed", "cls_token"], std=0.02),
        dict(type="Constant", params="scales.*", val=0.1),
    ]


def test_tied_and_padded_parameters() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4, padding_idx=0)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.embed.weight

    assert config_of(Model) == [dict(type="Normal", layer="Embedding")]


def test_a_class_is_qualified_if_another_has_its_name() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4))

    cfg = config_of(lambda: nn.Sequential(nn.Linear(4, 4), Linear()))
    assert {rule["layer"] for rule in cfg if rule["type"] == "Constant"} == {f"{__name__}.{Linear.__qualname__}"}


def test_a_subclass_of_the_same_name_is_not() -> None:
    class LayerNorm(nn.LayerNorm):
        pass

    assert config_of(lambda: nn.Sequential(LayerNorm(4), LayerNorm(4)))[0]["layer"] == "LayerNorm"


def test_layers_whose_axes_autoinit_reads_otherwise_than_torch() -> None:
    config_of(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(8, 4, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8), nn.MultiheadAttention(8, 2)
        )
    )
    orthogonal = nn.init.orthogonal_
    config_of(lambda: Layers(lambda index, weight: orthogonal(weight, gain=2**0.5), (4, 7, 3)))


def test_recurrent_and_attention_layers() -> None:
    config_of(lambda: nn.LSTM(4, 8, num_layers=2))
    config_of(lambda: nn.Transformer(16, 2, 2, 2, 32, batch_first=True))


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
    assert comments[-2] == "# No rule says what these get:"
    assert comments[-1].startswith("#   1.weight: ") and f"{Path(__file__).name}:" in comments[-1]


def test_what_no_rule_reaches_needs_no_rule() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(DATA.clone())
            self.fc = nn.Linear(2, 2)
            nn.init.ones_(self.fc.weight)
            nn.init.ones_(self.fc.bias)

    assert config_of(Model) == [dict(type="Constant", layer="Linear", val=1, bias=1)]


def test_names_with_wildcards_are_literal() -> None:
    def build() -> nn.Module:
        model = nn.Module()
        for name in ("a*", "ab", "a[0]", "ac"):
            model.add_module(name, nn.Linear(2, 2))
        for name, val in (("a*", 1.0), ("a[0]", 2.0)):
            nn.init.constant_(model._modules[name].weight, val)  # type: ignore[union-attr, arg-type]
        return model

    names = [rule["name"] for rule in config_of(build) if "name" in rule]
    assert sorted(names) == [r"re:a\*", r"re:a\[0\]"]


def test_lazy_layers_have_no_rule() -> None:
    with trace() as found:
        model = nn.Sequential(nn.LazyLinear(4))
    assert model is not None
    assert found.to_cfg() == []
    assert "# No rule says what these get:" in found.to_yaml()


def test_a_model_that_is_gone() -> None:
    model, found = traced(lambda: nn.Linear(2, 2))
    found = found.traces[0]
    del model
    gc.collect()
    with pytest.raises(StateError, match="Keep a reference to the model"):
        found.to_cfg()


def test_the_yaml_is_the_config_and_names_calls_and_lines(tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4), nn.Embedding(4, 4))
        nn.init.trunc_normal_(model[0].weight, std=1e-3)
        return model

    model, found = traced(build)
    file = tmp_path / "init.yaml"
    file.write_text(found.to_yaml())
    assert _fills(model, file) == _fills(model, found.to_cfg())
    text = file.read_text()
    assert f"# trunc_normal_(std=0.001) at {Path(__file__).name}:" in text
    assert "kaiming_uniform_(a=2.236) at linear.py:" in text


def _fills(model: nn.Module, cfg: Any) -> dict[str, object]:
    return {fqn: (entry.fill, str(entry.rule and entry.rule.initializer)) for fqn, entry in plan(model, cfg).items()}


def test_a_config_draws_no_warning_when_it_is_read(recwarn: pytest.WarningsRecorder) -> None:
    model, found = traced(lambda: Layers(lambda index, weight: nn.init.trunc_normal_(weight, std=0.02)))
    plan(model, found.to_cfg())
    assert not [each for each in recwarn if issubclass(each.category, AutoInitWarning)]


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


def random_model(seed: int) -> nn.Module:
    """Nested layers, each filled by a random call."""
    rng = random.Random(seed)

    def part(depth: int) -> nn.Module:
        kind = rng.randrange(6 if depth else 5)
        n, m = rng.choice([2, 3, 4, 8]), rng.choice([2, 4, 6])
        if kind == 0:
            return nn.Linear(n, m, bias=rng.random() < 0.8)
        if kind == 1:
            return nn.Conv2d(n, m, 3, groups=2 if n % 2 == 0 else 1)
        if kind == 2:
            return nn.LayerNorm(n)
        if kind == 3:
            return nn.Embedding(n, m, padding_idx=rng.choice([None, 0]))
        if kind == 4:
            return nn.ConvTranspose2d(n, m, 3)
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
    texts = []
    for seed in range(3):
        with trace() as found:
            model = random_model(seed)
        assert model is not None
        texts.append(found.to_yaml())
    return "\n".join(texts)
