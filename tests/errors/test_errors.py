"""The exception tree: what callers may catch, what errors carry, and the nearest valid word."""

from __future__ import annotations

import copy
import linecache
import pickle

import pytest
import torch

import autoinit
from autoinit import errors
from autoinit.errors import AutoInitError, nearest

TREE = {
    "ConfigError": (ValueError,),
    "ConfigTypeError": (errors.ConfigError, ValueError, TypeError),
    "MatchError": (LookupError,),
    "TargetError": (errors.MatchError, LookupError, RuntimeError),
    "CoverageError": (errors.MatchError, LookupError),
    "ShapeError": (ValueError,),
    "ParametrizationError": (ValueError,),
    "ModuleGraphError": (ValueError,),
    "InputError": (ValueError,),
    "PropagationError": (AssertionError,),
    "VerificationError": (AssertionError,),
    "CheckpointError": (RuntimeError,),
    "ApplyError": (RuntimeError,),
    "StateError": (RuntimeError,),
}
CLASSES = [getattr(errors, name) for name in TREE]


def test_the_tree_is_complete() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, AutoInitError) and value is not AutoInitError
    }
    assert defined == set(TREE)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_is_also_the_builtin_that_a_caller_expects(cls: type[AutoInitError]) -> None:
    for base in (AutoInitError, *TREE[cls.__name__]):
        with pytest.raises(base):
            raise cls("text")


@pytest.mark.parametrize("cls", [AutoInitError, *CLASSES], ids=lambda cls: cls.__name__)
def test_errors_are_public_carry_their_culprit_and_cross_processes(cls: type[AutoInitError]) -> None:
    assert getattr(autoinit, cls.__name__) is cls
    error = cls("init_cfg[0].type: text", origin="init_cfg[0].type", fqn="layer1.weight")
    for twin in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is cls
        assert str(twin) == "init_cfg[0].type: text"
        assert (twin.origin, twin.fqn) == ("init_cfg[0].type", "layer1.weight")


def test_without_a_culprit_the_attributes_are_none() -> None:
    error = errors.ConfigError("text")
    assert (error.origin, error.fqn) == (None, None)


def test_a_culprit_is_named_by_keyword() -> None:
    with pytest.raises(TypeError):
        errors.ConfigError("text", "init_cfg")


def test_warnings_can_be_filtered_as_one_class() -> None:
    assert issubclass(autoinit.AutoInitWarning, UserWarning)


def test_a_warning_points_at_the_line_that_called_autoinit() -> None:
    with pytest.warns(autoinit.AutoInitWarning, match="can match nothing") as caught:
        autoinit.initialize(torch.nn.Linear(1, 1), dict(type="Normal"))
    assert caught[0].filename == __file__
    assert "autoinit.initialize(" in linecache.getline(__file__, caught[0].lineno)


@pytest.mark.parametrize(
    ("word", "candidates", "hint"),
    [
        ("Kaimming", ["Xavier", "Kaiming"], " Did you mean 'Kaiming'?"),
        ("kaiming", ["Xavier", "Kaiming"], " Did you mean 'Kaiming'?"),
        ("Conv2D", ["Conv1d", "Conv2d", "Conv3d"], " Did you mean 'Conv2d'?"),
        ("Batchnorm", ["_BatchNorm", "LayerNorm"], " Did you mean '_BatchNorm'?"),
        ("weigth", iter(["bias", "weight"]), " Did you mean 'weight'?"),
        ("xyz", ["Kaiming"], ""),
        ("Kaiming", [], ""),
        ("", ["Kaiming"], ""),
        ("it's", ["its"], " Did you mean 'its'?"),
    ],
)
def test_the_nearest_word(word: str, candidates: list[str], hint: str) -> None:
    assert nearest(word, candidates) == hint
