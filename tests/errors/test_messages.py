"""Messages about wrong configs: where, what, the nearest valid thing, and the remedy.

Each case is a config, planned on one small model, with the exact text.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from autoinit import (
    AutoInitError,
    AutoInitWarning,
    CheckpointError,
    ConfigError,
    ConfigTypeError,
    CoverageError,
    MatchError,
    ModuleGraphError,
    Rule,
    ShapeError,
    TargetError,
    initialize,
    plan,
)
from autoinit.initializers import Initializer, Normal, Pretrained


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.layer1 = nn.Sequential(Block())
        self.fc = nn.Linear(4, 2)
        self.pos_embed = nn.Parameter(torch.zeros(1, 4))
        self.scale = nn.Parameter(torch.ones(()))
        self.index = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
        self.width = 5


class Case(NamedTuple):
    """A config, and its error, whose origin is what the text begins with."""

    cfg: Any
    error: type[AutoInitError]
    text: str
    fqn: str | None = None

    @property
    def origin(self) -> str | None:
        where = re.match(r"[\w.\[\]]*[\w\]]", self.text)[0]
        return None if where == self.fqn else where


def normal(**keys: object) -> dict[str, object]:
    return {"type": "Normal", "layer": "Linear", **keys}


def increment_(tensor: torch.Tensor, by: float = 1.0) -> None:
    tensor.add_(by)


def config(cfg: object, text: str) -> Case:
    return Case(cfg, ConfigError, text)


def mistyped(cfg: object, text: str) -> Case:
    return Case(cfg, ConfigTypeError, text)


NARROW = "narrow the rule with layer=, name= or params=, or use Constant, Normal or Uniform for this parameter."
KNOWN_GAINS = (
    "linear, conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, sigmoid, tanh, relu, "
    "leaky_relu, selu"
)

CONFIGS = [
    # Not a config at all.
    mistyped(5, "init_cfg: a config is a dict, a list of dicts, or the path of a file, not int 5."),
    mistyped([5], "init_cfg[0]: 5 must be a dict, not int."),
    mistyped([normal(), "Normal"], "init_cfg[1]: 'Normal' must be a dict, not str."),
    mistyped({**normal(), 3: 1}, "init_cfg: key 3 must be a string."),
    config(
        "Normal",
        "init_cfg: 'Normal' is not the path of a config file. Use a dict, a list of dicts, or a file that ends in "
        ".yaml, .yml, .json, .toml.",
    ),
    config("nowhere.yaml", "nowhere.yaml: No such file or directory."),
    # The type.
    config(dict(layer="Linear"), "init_cfg: no 'type' in {'layer': 'Linear'}. Add one, such as type='Normal'."),
    config(
        [dict(type="Kaimming", layer="Conv2d")],
        "init_cfg[0].type: no initializer named 'Kaimming'. Did you mean 'Kaiming'?",
    ),
    config(
        dict(type="KaimmingInit", layer="Conv2d"),
        "init_cfg.type: no initializer named 'KaimmingInit'. Did you mean 'Kaiming'?",
    ),
    mistyped(
        dict(type=5),
        "init_cfg.type: 5 must be a name, an initializer, or a function that fills a tensor in place, not int.",
    ),
    mistyped(
        dict(type=None),
        "init_cfg.type: None must be a name, an initializer, or a function that fills a tensor in place, not NoneType.",
    ),
    mistyped(
        dict(type=nn.Linear),
        "init_cfg: class Linear is not an initializer. Subclass autoinit.initializers.Initializer, or pass a function "
        "that fills a tensor in place.",
    ),
    mistyped(dict(type=Initializer), "init_cfg: class Initializer is abstract. Use one of its subclasses."),
    # Arguments.
    mistyped(normal(sdt=1), "init_cfg.sdt: Normal has no argument 'sdt'. Did you mean 'std'? Normal takes: mean, std."),
    mistyped(
        normal(layers="x"),
        "init_cfg.layers: Normal has no argument 'layers'. Did you mean 'layer'? Normal takes: mean, std.",
    ),
    mistyped(
        dict(type="Caffe2Xavier", layer="Linear", gain=1),
        "init_cfg.gain: Caffe2Xavier has no argument 'gain'. Caffe2Xavier takes: no arguments of its own.",
    ),
    mistyped(
        dict(type=Normal(std=2), layer="Linear", std=1),
        "init_cfg.std: Normal has no argument 'std'. The object Normal(std=2.0) has its arguments already.",
    ),
    mistyped(
        dict(type=increment_, layer="Linear", yb=1),
        "init_cfg: increment_(tensor: 'torch.Tensor', by: 'float' = 1.0) -> 'None' cannot be called with a tensor and "
        "{'yb': 1}: got an unexpected keyword argument 'yb'.",
    ),
    mistyped(dict(type="Constant", layer="Linear"), "init_cfg: Constant needs 'val'. Add val=..."),
    mistyped(normal(std="1e-2"), "init_cfg: Normal: std='1e-2' must be a number, not str."),
    mistyped(normal(std=True), "init_cfg: Normal: std=True must be a number, not bool."),
    config(normal(std=-1), "init_cfg: Normal: std=-1 must be at least 0."),
    config(normal(std=float("nan")), "init_cfg: Normal: std=nan must be a finite number."),
    config(normal(std=1e39), "init_cfg: Normal: std=1e+39 is beyond float32, in which values are drawn."),
    config(
        dict(type="Constant", layer="Linear", val=float("nan")),
        "init_cfg: Constant: val=nan is not a value for a parameter.",
    ),
    config(
        dict(type="Sparse", layer="Linear", sparsity=1.5), "init_cfg: Sparse: sparsity=1.5 must be between 0 and 1."
    ),
    config(dict(type="Uniform", layer="Linear", a=1, b=0), "init_cfg: Uniform: a=1.0 is above b=0.0. Swap them."),
    config(
        dict(type="Kaiming", layer="Linear", mode="fan-in"),
        "init_cfg: Kaiming: mode='fan-in' is unknown. Did you mean 'fan_in'? Known: fan_in, fan_out.",
    ),
    mistyped(
        dict(type="Xavier", layer="Linear", distribution=1),
        "init_cfg: Xavier: distribution=1 must be a string, not int.",
    ),
    config(
        dict(type="Kaiming", layer="Linear", nonlinearity="reul"),
        f"init_cfg: Kaiming: nonlinearity='reul' has no known gain. Did you mean 'relu'? Known: {KNOWN_GAINS}.",
    ),
    mistyped(
        dict(type="Dirac", layer="Conv2d", groups=1.5), "init_cfg: Dirac: groups=1.5 must be an integer, not float."
    ),
    # Biases.
    mistyped(normal(bias="0"), "init_cfg.bias: '0' must be a number, or None to leave the bias alone."),
    config(normal(bias=float("nan")), "init_cfg.bias: NaN is not a value for a bias."),
    mistyped(normal(bias_prob=1), "init_cfg.bias_prob=1 must be a float, not int."),
    config(normal(bias_prob=1.5), "init_cfg.bias_prob=1.5 must lie strictly between 0 and 1."),
    config(
        normal(params="weight", bias=1),
        "init_cfg.bias: bias=1 has no effect, because params=('weight',) does not reach 'bias'. Add 'bias' to params, "
        "or remove the key.",
    ),
    config(
        normal(params="bias", bias=1),
        "init_cfg.bias: bias=1 has no effect, because params=('bias',) gives the bias what it gives a weight "
        "elsewhere. Remove the key, or use type='Constant'.",
    ),
    # Selectors.
    mistyped(normal(layer=5), "init_cfg.layer: 5 must be a string or a class, or a list of those."),
    mistyped(normal(layer=int), "init_cfg.layer: class int is not a torch.nn.Module."),
    mistyped(normal(name=[5]), "init_cfg.name: [5] must be a string, or a list of those. Put it in quotes: '5'."),
    config(
        normal(name="re:("),
        "init_cfg.name: 're:(' is not a regular expression: missing ), unterminated subpattern at position 0.",
    ),
    config(normal(params=[]), "init_cfg.params: an empty list reaches nothing. Name a parameter, or remove the key."),
    # Overrides.
    mistyped(normal(override="fc"), "init_cfg.override: 'fc' must be a dict or a list of dicts, not str."),
    mistyped(normal(override=["fc"]), "init_cfg.override[0]: 'fc' must be a dict, not str."),
    config(
        normal(override=dict(type="Normal")),
        "init_cfg.override: no 'name' in {'type': 'Normal'}. Say which submodule it is for.",
    ),
    config(
        normal(override=[dict(name="fc"), dict(name="fc", std=2, bias=1)]),
        "init_cfg.override[1]: 'bias', 'std' without a 'type'. Name the type (an override with one inherits nothing), "
        "or leave only 'name', with a 'scale' if wanted (then it inherits all).",
    ),
    config(
        normal(override=dict(type="Normall", name="fc")),
        "init_cfg.override.type: no initializer named 'Normall'. Did you mean 'Normal'?",
    ),
    config(
        normal(override=dict(type="Normal", name="fc", override=dict(name="a"))),
        "init_cfg.override.override: an override has none of its own. Write it beside this one.",
    ),
    mistyped(
        normal(override=dict(type="Normal", name="fc", std="a")),
        "init_cfg.override: Normal: std='a' must be a number, not str.",
    ),
    # Checkpoints.
    mistyped(dict(type="Pretrained"), "init_cfg: Pretrained needs 'checkpoint'. Add checkpoint=..."),
    mistyped(
        dict(type="Pretrained", checkpoint="a.pth", layer="Linear"),
        "init_cfg.layer: Pretrained has no argument 'layer'. "
        "Pretrained takes: checkpoint, prefix, map_location, strict, key, revise_keys, sha256.",
    ),
    mistyped(
        dict(type="Pretrained", checkpoint=5), "init_cfg: Pretrained: checkpoint=5 must be a path, a URL or a name."
    ),
    mistyped(
        dict(type="Pretrained", checkpoint="a.pth", revise_key=[]),
        "init_cfg.revise_key: Pretrained has no argument 'revise_key'. Did you mean 'revise_keys'? "
        "Pretrained takes: checkpoint, prefix, map_location, strict, key, revise_keys, sha256.",
    ),
]

CONV = "Did you mean 'Conv2d' (2 modules)?"
MATCHES = [
    ([normal(), normal(layer="Conv2D")], f"init_cfg[1] (layer='Conv2D') matches no module of ResNet. {CONV}"),
    (normal(layer=["Linear", "Conv2D"]), f"init_cfg (layer='Conv2D') matches no module of ResNet. {CONV}"),
    (normal(layer="torch.nn.Conv2D"), f"init_cfg (layer='torch.nn.Conv2D') matches no module of ResNet. {CONV}"),
    (Rule(initializer=Normal(), layer="Conv2D"), f"Rule (layer='Conv2D') matches no module of ResNet. {CONV}"),
    (
        normal(layer="Lineer"),
        "init_cfg (layer='Lineer') matches no module of ResNet. Did you mean 'Linear' (1 module)?",
    ),
    (
        normal(layer="BatchNorm"),
        "init_cfg (layer='BatchNorm') matches no module of ResNet. Did you mean '_BatchNorm' (1 module)?",
    ),
    (
        normal(layer="Zzz"),
        "init_cfg (layer='Zzz') matches no module of ResNet. "
        "The model has: Conv2d, ResNet, Sequential, Block, BatchNorm2d, Linear.",
    ),
    (
        dict(type="Normal", name="layer2"),
        "init_cfg (name='layer2') matches no module of ResNet. Did you mean 'layer1'?",
    ),
    (
        normal(name="layer2.*"),
        "init_cfg (layer='Linear', name='layer2.*') matches no module of ResNet. The model has: stem, layer1, fc.",
    ),
    (
        dict(type="Normal", params="pos_embd"),
        "init_cfg (params='pos_embd') matches modules of ResNet but none of their parameters (pos_embd). "
        "Did you mean 'pos_embed'?",
    ),
]

TARGETS = {
    "layr1": "ResNet has no submodule 'layr1'. Did you mean 'layer1'?",
    "layer1.0.cnv": "ResNet has no submodule 'layer1.0.cnv'. Did you mean 'layer1.0.conv'?",
    "layer9.*": "'layer9.*' matches no module of ResNet.",
}

SHAPES = [
    (
        dict(type="Kaiming", layer="_BatchNorm"),
        "(layer='_BatchNorm'): layer1.0.norm.weight of BatchNorm2d: Kaiming needs fan_in and fan_out, and shape (4,) "
        f"has none: {NARROW}",
    ),
    (
        dict(type="Orthogonal", params="scale"),
        f"(params='scale'): scale of ResNet: Orthogonal needs at least 2 dimensions, and shape () has 0: {NARROW}",
    ),
    (
        dict(type="Eye", layer="Conv2d", name="stem"),
        "(layer='Conv2d', name='stem'): stem.weight of Conv2d: Eye needs 2 dimensions, and shape (4, 3, 3, 3) has 4: "
        f"{NARROW}",
    ),
    (
        dict(type="Dirac", layer="Conv2d", groups=3),
        "(layer='Conv2d'): stem.weight of Conv2d: Dirac: 4 output channels do not divide into groups=3.",
    ),
    (
        dict(type="Constant", val=1e39, layer="Linear"),
        "(layer='Linear'): fc.weight of Linear: Constant: val=1e+39 is beyond torch.float32.",
    ),
    (
        dict(type="Normal", params="index"),
        "(params='index'): index of ResNet: a parameter of dtype torch.int64 holds integers; it cannot get "
        "Normal(mean=0, std=1). Narrow the rule with name= or params= to leave it out, or write a rule of type 'Keep' "
        "for it.",
    ),
]

CASES = [
    *CONFIGS,
    *(Case(cfg, MatchError, text) for cfg, text in MATCHES),
    *(
        Case(normal(override=dict(name=name)), TargetError, f"init_cfg.override.name: {text}", fqn=name)
        for name, text in TARGETS.items()
    ),
    *(Case(cfg, ShapeError, f"init_cfg {text}", fqn=text.split(": ")[1].split()[0]) for cfg, text in SHAPES),
]


def complaint(case: Case, model: nn.Module) -> str:
    """The difference to the expected error when the config is planned for a model; empty if there is none."""
    try:
        plan(model, case.cfg)
    except AutoInitError as error:
        found = (type(error), str(error), error.origin, error.fqn)
        expected = (case.error, case.text, case.origin, case.fqn)
        return "" if found == expected else f"{found!r} instead of {expected!r}"
    return "no error"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text[:60])
def test_messages(case: Case) -> None:
    assert complaint(case, ResNet()) == ""
    # It ends a sentence, and nothing is changed.
    assert case.text[-1] in ".?" and "\n" not in case.text
    model = ResNet()
    before, random_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(case.error):
        initialize(model, case.cfg)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    "wrong",
    [
        *(dict(text=CASES[0].text[:-1]), dict(text=CASES[0].text.replace("int 5", "int 6")), dict(text="a")),
        *(dict(error=ConfigError), dict(error=MatchError), dict(text=f"init_cfg[0]: {CASES[0].text}")),
        *(dict(fqn="weight"), dict(cfg=normal()), dict(cfg=CASES[1].cfg)),
    ],
    ids=str,
)
def test_the_comparison_can_fail(wrong: dict) -> None:
    assert complaint(CASES[0], ResNet()) == "" != complaint(CASES[0]._replace(**wrong), ResNet())


def test_the_origin_is_what_a_message_begins_with() -> None:
    origins = {case.origin for case in CASES}
    assert {"init_cfg", "init_cfg[1]", "init_cfg[0].type", "init_cfg.override[1]", "nowhere.yaml", "Rule"} < origins


def test_a_name_like_no_other_lists_what_there_is() -> None:
    with pytest.raises(
        ConfigError, match=r"^init_cfg\.type: no initializer named 'Zzz'\. Known: .*Kaiming.*, Xavier.*\.$"
    ):
        plan(ResNet(), dict(type="Zzz"))


# Configs that are valid, but probably mistakes

ABSENT = "init_cfg (layer='Conv3d') matches no module of ResNet. The class exists; this model has none."
NOTHING = (
    "init_cfg can match nothing: it has neither layer, name, params nor override. For every layer write name='**'."
)
WARNINGS = [
    (dict(type="Normal"), [NOTHING]),
    (normal(layer="Conv3d"), [ABSENT]),
    (normal(layer=nn.Conv3d), [ABSENT]),
    (
        normal(override=dict(type="Normal", name="fc", layer="Linear")),
        ["init_cfg.override: 'layer' is ignored in an override, which is for all of its target."],
    ),
    (normal(), []),
    ([], []),
]


@pytest.mark.parametrize(("cfg", "texts"), WARNINGS, ids=str)
def test_warnings(cfg: Any, texts: Sequence[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan(ResNet(), cfg)
    assert [str(warning.message) for warning in caught] == texts
    assert all(warning.category is AutoInitWarning for warning in caught)


# Errors outside of configs


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pth")
    cfg = Rule(initializer=Pretrained(checkpoint=path), origin="init_cfg[2]")
    text = f"init_cfg[2]: checkpoint '{path}' does not exist: give the path of an existing file"
    assert complaint(Case(cfg, CheckpointError, text), ResNet()) == ""


def test_a_module_that_contains_itself() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model.add_module("again", model)
    text = (
        "again: the Sequential at 'the root' contains itself, so its parameters have no finite names. Keep the "
        "reference to a parent out of the module graph, for example in a tuple."
    )
    assert complaint(Case(normal(), ModuleGraphError, text, fqn="again"), model) == ""


def test_coverage() -> None:
    with pytest.raises(CoverageError) as caught:
        plan(ResNet(), normal(), require_coverage=True)
    assert str(caught.value) == (
        "ResNet: no rule covers 9 parameters: pos_embed, scale, index, stem.weight, stem.bias, layer1.0.conv.weight, "
        "layer1.0.conv.bias, layer1.0.norm.weight, layer1.0.norm.bias "
        "(4 of Conv2d, 3 of ResNet, 2 of BatchNorm2d). Add rules for them, of type 'Keep' for what should "
        "stay as it is, or name them in allow_uncovered=."
    )


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("warning", "unmatched='warning' is unknown. Did you mean 'warn'? Known: auto, error, warn, ignore."),
        ("x", "unmatched='x' is unknown. Known: auto, error, warn, ignore."),
    ],
)
def test_policies(policy: object, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(ResNet(), normal(), unmatched=policy)
    assert str(caught.value) == text
