"""Mistakes that people make, and what autoinit answers: the message, the remedy, and that nothing was changed.

Each case is tried on one small model. `RIGHT` has what is close to a mistake and none: it gets no warning.
"""

from __future__ import annotations

import copy
import gc
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import autoinit as package
from autoinit import AutoInitError, AutoInitWarning, autoinit, initialize, plan, verify
from autoinit.config import parse_config
from autoinit.initializers import resolve
from autoinit.initializers.other_names import ACTIVATIONS, OTHER_NAMES
from tests.processes import REPOSITORY

EXISTING = "For a model that exists already call autoinit.initialize(model, cfg)."
IN_A_BLOCK = f"Build the model in the block: `with autoinit(cfg): model = ...`. {EXISTING}"
LINEAR = dict(type="Normal", layer="Linear", std=0.02)


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(2, 2))
        self.bias = nn.Parameter(torch.ones(2))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(4, 4)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.layers = nn.ModuleList([Attention(), Attention()])
        self.shift = Shift()
        self.fc = nn.Linear(4, 2)
        self.neck = nn.Sequential()
        self.act = nn.ReLU()


def config(cfg: Any, **options: Any) -> Callable[[Net], object]:
    return lambda net: initialize(net, cfg, **options)


def rule(type: str = "Normal", **keys: Any) -> Callable[[Net], object]:
    return config(dict(type=type, **keys))


@dataclass(frozen=True)
class Mistake:
    """A wrong use of a model, and the text of the error."""

    does: Callable[[Net], object]
    text: str

    def __str__(self) -> str:
        return self.text


def unnamed(name: str, hint: str) -> Mistake:
    return Mistake(rule(name, layer="Linear"), f"init_cfg.type: no initializer named {name!r}. {hint}")


def misnamed(name: Any, hint: str, shown: str = "", **keys: Any) -> Mistake:
    described = shown or f"name={name!r}"
    return Mistake(rule(name=name, **keys), f"init_cfg ({described}) matches no module of Net. {hint}")


MODULE = (
    "autoinit(cfg) was called with a module, {}, as in model.apply(autoinit(cfg)). It initializes what is built in its "
    f"block: `with autoinit(cfg): model = ...`. {EXISTING}"
)
CALLS = [
    Mistake(lambda net: net.apply(autoinit(LINEAR)), MODULE.format("Conv2d")),
    Mistake(lambda net: autoinit(LINEAR)(net), MODULE.format("Net")),
    Mistake(
        lambda net: autoinit(net, LINEAR), f"autoinit(cfg) takes one positional argument, the config, not 2. {EXISTING}"
    ),
    Mistake(
        lambda net: autoinit(LINEAR, LINEAR),
        "autoinit(cfg) takes one positional argument, the config, not 2. Put several rules in one list, and name "
        "options: seed=0.",
    ),
    Mistake(
        lambda net: autoinit(net),
        f"init_cfg: a config is a dict, a list of dicts, or the path of a file, not a model (Net). {EXISTING}",
    ),
    Mistake(
        lambda net: autoinit(Net),
        "init_cfg: a config is a dict, a list of dicts, or the path of a file, not the class Net. Build the model in a "
        "block: `with autoinit(cfg): model = ...`.",
    ),
    Mistake(
        lambda net: initialize(LINEAR, net),
        "initialize(): {'type': 'Normal', 'layer': 'Linear', 'std': 0.02} is a dict, not a torch.nn.Module. The model "
        "comes first: initialize(model, cfg).",
    ),
    Mistake(
        lambda net: verify([], net),
        "verify(): [] is a list, not a torch.nn.Module. The model comes first: verify(model, cfg).",
    ),
]

HE = "Write type='VarianceScaling', scale=2, mode='fan_in', distribution='truncated_normal'."
TORCH_KAIMING = "Write type='Kaiming', mode='fan_in', nonlinearity='leaky_relu', distribution='uniform'."
TYPES = [
    unnamed("xavier_uniform", "Write type='Xavier', distribution='uniform'."),
    unnamed("nn.init.xavier_uniform_", "Write type='Xavier', distribution='uniform'."),
    unnamed("GlorotUniform", "Write type='Xavier', distribution='uniform'."),
    unnamed("kaiming_uniform_", TORCH_KAIMING),
    unnamed("KaimingUniform", TORCH_KAIMING),
    unnamed("He", "Write type='Kaiming', mode='fan_in'."),
    unnamed("HeNormal", HE),
    unnamed("he_normal", HE),
    unnamed("lecun_normal", "Write type='LeCun', distribution='truncated_normal'."),
    unnamed("Zeros", "Write type='Constant', val=0."),
    unnamed("ones_", "Write type='Constant', val=1."),
    unnamed("Identity", "Write type='Eye'. For convolutions: Dirac."),
    unnamed("gelu", "It is an activation. Write type='Kaiming', nonlinearity='relu' for the layers before it."),
    unnamed(
        "LeakyReLU", "It is an activation. Write type='Kaiming', nonlinearity='leaky_relu' for the layers before it."
    ),
    unnamed("normal_", "Did you mean 'Normal'?"),
    unnamed("orthogonal", "Did you mean 'Orthogonal'?"),
    Mistake(
        rule("Kaiming", layer="Linear", nonlinearity="gelu"),
        "init_cfg: Kaiming: nonlinearity='gelu' has no known gain. Use 'relu', the usual choice for gelu. Known: "
        "linear, conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, sigmoid, tanh, relu, "
        "leaky_relu, selu.",
    ),
]

NAMES = [
    misnamed(
        "lora_A",
        "Names start at the root, and modules of this name are further down (layers.0.lora_A.default): write "
        "'**.lora_A.**'.",
    ),
    misnamed("q", "Names start at the root, and modules of this name are further down (layers.0.q): write '**.q'."),
    misnamed("model.fc", "Names start at the root of the model, below 'model': write 'fc'."),
    misnamed("model.net.layers.*.q", "Names start at the root of the model, below 'model.net': write 'layers.*.q'."),
    misnamed("module.fc", "The prefix of a wrapper is not part of a name: write 'fc'."),
    misnamed("fcc", "Did you mean 'fc'?"),
    misnamed("fc", "fc is of class Linear.", "layer='Conv2d', name='fc'", layer="Conv2d"),
    misnamed(["fc", "cnv1"], "Did you mean 'conv1'?", "name='cnv1'"),
    misnamed(["fc", "CONV1"], "Did you mean 'conv1'?", "name='CONV1'"),
    misnamed(
        ["fc", "model.conv1"],
        "Names start at the root of the model, below 'model': write 'conv1'.",
        "name='model.conv1'",
    ),
    Mistake(
        rule(layer="Linear", params=["weigth", "bias"]),
        "init_cfg (params='weigth') matches no parameter of Net. Did you mean 'weight'?",
    ),
    Mistake(
        rule(layer="Linear", override=dict(name="q")),
        "init_cfg.override.name: Net has no submodule 'q'. Names start at the root, and modules of this name are "
        "further down (layers.0.q): write '**.q'.",
    ),
    Mistake(
        rule(layer="Linear", override=dict(name="model.layers.*")),
        "init_cfg.override.name: 'model.layers.*' matches no module of Net. Names start at the root of the model, "
        "below 'model': write 'layers.*'.",
    ),
    Mistake(rule(name=0), "init_cfg.name: 0 must be a string, or a list of those. Put it in quotes: '0'."),
    Mistake(
        rule(layer="Linear", override=dict(name=0)),
        "init_cfg.override.name: 0 must be a string, or a list of those. Put it in quotes: '0'.",
    ),
    Mistake(
        rule(name=False),
        "init_cfg.name: False must be a string, or a list of those. YAML reads yes, no, on and off as booleans: put "
        "the name in quotes.",
    ),
]


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


@pytest.mark.parametrize("mistake", [*CALLS, *TYPES, *NAMES], ids=str)
def test_an_error_tells_the_remedy_and_nothing_is_changed(mistake: Mistake) -> None:
    net = Net()
    before, state = weights(net), torch.get_rng_state()
    with pytest.raises(AutoInitError) as caught:
        mistake.does(net)
    assert str(caught.value) == mistake.text
    assert all(map(torch.equal, weights(net), before)) and torch.equal(torch.get_rng_state(), state)


EMPTY = "not an empty file. Write a rule, such as {type: Normal, layer: Linear}, or [] for no rules."
FILES = {
    **dict.fromkeys(["", "# later\n", "init_cfg:\n"], EMPTY),
    "type:Normal\nlayer:Linear\n": "not str 'type:Normal layer:Linear'. In YAML a space follows each colon.",
    "type: Normal\nname: **.fc  # heads\n": "line 2, column 7: YAML reads **.fc as an alias, because it begins with an "
    'asterisk. Put it in quotes: "**.fc".',
    "type: Normal\nname: [fc, *_embed]\n": "line 2, column 12: YAML reads *_embed as an alias, because it begins with "
    'an asterisk. Put it in quotes: "*_embed".',
    "type: Normal\nlayer: Linear\nbias: None\n": "'None' must be a number, or None to leave the bias alone. In YAML, "
    "None is written null.",
    "type: None\nlayer: Linear\n": "no initializer named 'None'. Write type='Keep'.",
}


@pytest.mark.parametrize("text", FILES, ids=repr)
def test_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "init.yaml"
    path.write_text(text)
    with pytest.raises(AutoInitError) as caught:
        initialize(Net(), path)
    assert str(caught.value).startswith((f"{path}: ", "init.yaml: init_cfg"))
    assert str(caught.value).endswith(FILES[text])


A = math.sqrt(5)
WARNINGS = [
    Mistake(
        rule("Kaiming", layer="Linear", a=A, mode="fan_in", distribution="uniform"),
        f"init_cfg: Kaiming: a={A} has no effect with nonlinearity='relu'. torch.nn.init.kaiming_uniform_ has "
        "nonlinearity='leaky_relu' and mode='fan_in': write them for its values, or remove a.",
    ),
    Mistake(
        rule(layer=Shift),
        "init_cfg (layer='Shift') gives Normal() to nothing: what it matches in Net has a bias and no 'weight'. Shift "
        "has: kernel, bias. Name the parameters with params=, or write bias=0 if only the bias is meant.",
    ),
    Mistake(rule(name=["fc", "decoder"]), "init_cfg (name='decoder') matches no module of Net."),
    Mistake(rule(name=["fc", "layers.2.q"]), "init_cfg (name='layers.2.q') matches no module of Net."),
    Mistake(
        rule(name="layers"),
        "init_cfg (name='layers') matches modules of Net but none of their parameters (weight, bias). For all that is "
        "below it: 'layers.**'.",
    ),
    Mistake(
        rule(name="re:lay.*s"),
        "init_cfg (name='re:lay.*s') matches modules of Net but none of their parameters (weight, bias).",
    ),
    Mistake(
        rule(name="neck"), "init_cfg (name='neck') matches modules of Net but none of their parameters (weight, bias)."
    ),
]


def told(does: Callable[[], object]) -> list[warnings.WarningMessage]:
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        does()
        gc.collect()
    return caught


@pytest.mark.parametrize("mistake", WARNINGS, ids=str)
def test_a_warning_tells_the_remedy(mistake: Mistake) -> None:
    [warning] = told(lambda: mistake.does(Net()))
    assert str(warning.message) == mistake.text
    assert warning.category is AutoInitWarning and warning.filename == __file__


RIGHT = {
    "an override on a module that is empty": rule(layer="Linear", override=dict(type="Normal", name="neck")),
    "an override on an activation": rule(layer="Linear", override=dict(type="Normal", name="act")),
    "the slope of a leaky ReLU": rule("Kaiming", layer="Linear", a=A, nonlinearity="leaky_relu"),
    "a slope of zero": rule("Kaiming", layer="Linear", a=0),
    "the bias alone, by its value": rule(layer=Shift, bias=0),
    "the bias alone, by name": rule(layer=Shift, params="bias"),
    "zero for everything": rule("Constant", val=0, layer=Shift),
    "weights elsewhere": rule(name="**"),
    "a list of numbered layers": rule(name=["layers.0.**", "layers.1.**", "layers.2.**"]),
    "a list of globs": rule(name=["fc", "**.attn"]),
    "a list of parameters of other models": rule(name="**", params=["weight", "bias", "in_proj_weight", "*_embed"]),
    "a list of layers of other models": rule(layer=["Linear", "Conv3d"]),
    "an entry that names the root": rule(name=["", "fc"], params=["weight"]),
}


@pytest.mark.parametrize("does", RIGHT.values(), ids=RIGHT)
def test_what_is_no_mistake_gets_no_warning(does: Callable[[Net], object]) -> None:
    assert [str(warning.message) for warning in told(lambda: does(Net()))] == []


@pytest.mark.parametrize("keys", [dict(name=["fc", "**.attn"]), dict(name="**", params=["weight", "*_embed"])], ids=str)
def test_a_strict_policy_reports_every_entry_of_a_list(keys: dict[str, Any]) -> None:
    with pytest.raises(package.MatchError, match=r"attn|_embed"):
        plan(Net(), dict(type="Normal", **keys), unmatched="error")
    with pytest.warns(AutoInitWarning, match=r"attn|_embed"):
        plan(Net(), dict(type="Normal", **keys), unmatched="warn")


def test_an_entry_of_a_list_may_be_for_another_model_of_the_block() -> None:
    models: list[nn.Module] = []

    def build() -> None:
        with autoinit(dict(type="Constant", val=1, name=["fc", "conv"], params=["weight", "kernel"])):
            models.extend(
                [nn.ModuleDict({"fc": nn.Linear(1, 1)}), nn.ModuleDict({"conv": nn.Conv1d(1, 1, 1)}), Shift()]
            )

    assert [str(warning.message) for warning in told(build)] == []


@pytest.mark.parametrize("one", [Decimal("0.5"), np.float32(0.5), np.array(0.5), torch.tensor(0.5)], ids=repr)
def test_numbers_of_other_types_are_numbers(one: Any) -> None:
    [given] = parse_config(dict(type="Normal", layer="Linear", std=one, mean=one, bias=one))
    [plain] = parse_config(dict(type="Normal", layer="Linear", std=0.5, mean=0.5, bias=0.5))
    assert given == plain and repr(given) == repr(plain)
    assert parse_config(dict(type="Normal", layer="Linear", bias_prob=one))[0].bias == 0


# The table of other names against the definitions of those who gave the names, for a weight of 64 outputs, 16 inputs.

VARIANCES = {
    "xavieruniform xaviernormal glorotnormal glorotuniform glorot": 2 / 80,
    "kaiminguniform kaimingnormal henormal heuniform he msra": 2 / 16,
    "lecunnormal lecununiform xavierfill c2xavierfill": 1 / 16,
    "msrafill c2msrafill": 2 / 64,
    "zeros ones": 0,
}
STD = {name: math.sqrt(variance) for names, variance in VARIANCES.items() for name in names.split()}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_what_a_hint_says_is_a_config_with_the_values_that_the_name_means(name: str) -> None:
    where = {} if OTHER_NAMES[name]["type"] == "Pretrained" else {"layer": "Linear"}
    [rule] = parse_config({**OTHER_NAMES[name], **where})
    if name in STD:
        fill = resolve(rule.initializer, (64, 16), torch.float32).fill
        assert fill.std == pytest.approx(STD[name])
        assert str(fill).startswith("Uniform") == (
            "uniform" in name or name in ("glorot", "xavierfill", "c2xavierfill")
        )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_gain_that_is_named_for_an_activation_exists(name: str) -> None:
    with pytest.raises(AutoInitError, match=r"nonlinearity='(\w+)'") as caught:
        plan(Net(), dict(type=name))
    gain = str(caught.value).split("nonlinearity='")[1].split("'")[0]
    parse_config(dict(type="Kaiming", layer="Linear", nonlinearity=gain))


# Both readings of fans, where they differ and the config does not choose.


@pytest.mark.parametrize(
    ("layer", "keys", "note"),
    [
        (nn.ConvTranspose2d(4, 8, 2), {}, "in 32, out 16 (torch); fan='layer' reads in 16, out 32 (transposed)"),
        (nn.Conv2d(8, 8, 3, groups=8), {}, "in 9, out 72 (torch); fan='layer' reads in 9, out 9 (groups)"),
        (nn.ConvTranspose2d(4, 8, 2), dict(fan="torch"), None),
        (nn.ConvTranspose2d(4, 8, 2), dict(fan="layer"), None),
        (nn.Conv2d(8, 8, 3, groups=8), dict(mode="fan_in"), None),
        (nn.Conv2d(8, 8, 3), {}, None),
    ],
)
def test_a_plan_shows_both_readings_of_fans_if_they_differ(
    layer: nn.Module, keys: dict[str, str], note: str | None
) -> None:
    decided = plan(layer, dict(type="Kaiming", layer=type(layer), **keys))
    expected = "" if note is None else f"; fans of weight are read as {note}"
    assert decided.caption == f"2 of 2 parameters covered{expected}"
    assert decided.caption in str(decided)
    for fan in ("layer", "torch"):
        assert "reads" not in plan(layer, dict(type="Kaiming", layer=type(layer)), fan=fan).caption


# Blocks that are never entered.


def test_a_block_that_is_never_entered_says_so_at_the_line_that_made_it() -> None:
    [warning] = told(lambda: autoinit(LINEAR) and None)
    assert str(warning.message) == (
        f"autoinit(...) was called, but its block was never entered, so it did nothing. {IN_A_BLOCK}"
    )
    assert warning.category is AutoInitWarning and warning.filename == __file__


def test_a_block_that_is_used_says_nothing_when_it_is_gone() -> None:
    def entered() -> None:
        block = autoinit(LINEAR)
        for _ in range(2):
            with block:
                nn.Linear(1, 1)

    def decorated() -> None:
        autoinit(LINEAR)(lambda: None)

    def refused() -> None:
        with pytest.raises(AutoInitError):
            autoinit(LINEAR)(nn.Linear(1, 1))

    def failed() -> None:
        with pytest.raises(AutoInitError):
            autoinit(dict(type="Nromal"))

    for does in (entered, decorated, refused, failed):
        assert told(does) == []


def test_a_copy_of_a_block_is_not_reported() -> None:
    def copied() -> None:
        block = autoinit(LINEAR)
        for twin in (copy.copy(block), copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
            del twin
        with copy.deepcopy(block):
            nn.Linear(1, 1)
        with block:
            nn.Linear(1, 1)

    assert told(copied) == []


def test_the_end_of_the_interpreter_is_no_reason_to_warn() -> None:
    script = "import autoinit; kept = autoinit.autoinit([]); kept.itself = kept; print('ran')"
    command = [sys.executable, "-W", "always::UserWarning", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert (ended.stdout, ended.stderr) == ("ran\n", "")


def test_the_package_can_be_called() -> None:
    with package(dict(type="Constant", val=3, layer="Linear")) as run:
        layer = nn.Linear(1, 1)
    assert layer.weight.item() == 3 and isinstance(run, package.Run)
