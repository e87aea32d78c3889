"""Python objects as trees: how they are changed at random, and made smaller."""

from __future__ import annotations

import random
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

Path = tuple[Any, ...]


@dataclass(frozen=True)
class Made:
    """An object of another container, or one that can be read but once: made anew from a list or dict each time."""

    kind: str
    of: Any

    def make(self) -> object:
        return CONTAINERS[self.kind](real(self.of))


class Endless(list[object]):
    """Contains itself."""

    def __init__(self, items: object) -> None:
        super().__init__([items])
        self.append(self)


class Failing(UserDict[object, object]):
    """A mapping that cannot be read, as omegaconf's with an interpolation of nothing."""

    def __getitem__(self, key: object) -> object:
        raise RuntimeError("not to be had")


def _pairs(items: object) -> dict[object, object]:
    return dict(items) if isinstance(items, dict) else dict(enumerate(items if isinstance(items, list) else [items]))


def _sequence(items: object) -> list[object]:
    return list(items) if isinstance(items, (dict, list)) else [items]


CONTAINERS: dict[str, Callable[[Any], object]] = {
    "tuple": lambda items: tuple(_sequence(items)),
    "deque": lambda items: deque(_sequence(items)),
    "generator": lambda items: (item for item in _sequence(items)),
    "iterator": lambda items: iter(_sequence(items)),
    "UserList": lambda items: UserList(_sequence(items)),
    "UserDict": lambda items: UserDict(_pairs(items)),
    "OrderedDict": lambda items: OrderedDict(_pairs(items)),
    "MappingProxyType": lambda items: MappingProxyType(_pairs(items)),
    "items": lambda items: _pairs(items).items(),
    "keys": lambda items: _pairs(items).keys(),
    "array": lambda items: np.array(_sequence(items), dtype=object),
    "set": lambda items: {item for item in _sequence(items) if isinstance(item, (str, int, float))},
    "endless": Endless,
    "failing": lambda items: Failing(_pairs(items)),
}


def real(value: Any) -> Any:
    """The objects that a tree stands for, with containers of its own."""
    if isinstance(value, Made):
        return value.make()
    if type(value) is dict:
        return {key: real(item) for key, item in value.items()}
    if type(value) is list:
        return [real(item) for item in value]
    return value


def raises(tensor: torch.Tensor, **_: object) -> None:
    raise KeyError("raises")


def resizes(tensor: torch.Tensor) -> None:
    tensor.resize_(2)


def gives_nan(tensor: torch.Tensor) -> None:
    tensor.fill_(float("nan"))


class Sub(nn.Linear):
    pass


class Stringy(str):
    __slots__ = ()


NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 0.5, 1e-3, -0.0, 3.5, 7, 64, 2**31, 2**63, -(2**63) - 1, 10**400, -(10**400)),
    *(1e-320, 1e-45, 1e38, 3.5e38, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), True, False, 1j),
    *(Decimal("0.1"), Decimal("NaN"), Decimal("sNaN"), Fraction(1, 3), Fraction(10**400, 3)),
    *(np.float64(0.5), np.float32("nan"), np.int64(3), np.bool_(True), np.float16(1e4), np.array(2.0), np.array([1.0])),
    *(torch.tensor(0.5), torch.tensor([1, 2]), torch.tensor(3)),
)
STRINGS: tuple[Any, ...] = (
    *("", " ", "\0", "a", ".", "..", "*", "**", "***", "**.**", "[", "[]", "[!", "?", "re:", "re:(", "re:.*", "re:**"),
    *("a" * 5000, "*" * 500, "**." * 300, "\ud800", "\u202eriewg", "Ⅷ", "wEiGhT", "ß", "e\u0301", "\n", "%s", "{0}"),
    *("torch.nn.Linear", "nn.Linear", "torch.nn.", ".Linear", "Linear.", "linear", "Linear", "Conv2d", "_ConvNd"),
    *("Module", "object", "type", "BatchNorm2d", "LayerNorm", "weight", "bias", "weight_g", "in_proj_weight"),
    *("parametrizations.weight.original0", "running_mean", "num_batches_tracked", "weight_orig", "layers.0", "head"),
    *("fan_in", "fan_out", "fan_avg", "uniform", "normal", "truncated_normal", "leaky_relu", "relu", "selu"),
    *("out,in", "in,out", "expert,in,out", "out,in,...", "out", ",", "in,in", "torch", "layer", "nan", "1e5", "0x10"),
    *("Constant", "KaimingInit", "Pretrained", "pretrained", "Keep", "keep", "Initializer", "BaseInit", "__class__"),
    *("/dev/null", "/dev/zero", "/", "~", "~nobody/x.pth", "file:///etc/passwd", "http://localhost/x.pth", "x.yaml"),
    *(Stringy("Normal"), Stringy("Linear")),
)
OTHERS: tuple[Any, ...] = (
    *(None, ..., b"Linear", bytearray(b"Linear"), object, object(), range(3), slice(None), NotImplemented),
    *(int, str, dict, type, nn.Linear, nn.Module, nn.Conv2d, Sub, torch.Tensor, nn.Parameter, nn.init),
    *(len, print, nn.init.ones_, nn.init.orthogonal_, nn.init.trunc_normal_, nn.Linear(1, 1), raises, resizes),
    *(gives_nan, torch.float16, torch.device("cpu"), {}, [], (), [[]], [None], {"type": "Normal"}, {1: 2}, {"": ""}),
)
KEYS = (
    *("type", "layer", "name", "params", "bias", "bias_prob", "fan", "override", "val", "std", "mean", "a", "b"),
    *("mode", "gain", "groups", "sparsity", "distribution", "nonlinearity", "scale", "checkpoint", "prefix"),
    *("map_location", "key", "revise_keys", "sha256", "origin", "initializer", "self", "function", "arguments"),
)
TYPES = (
    *("Constant", "Normal", "Uniform", "TruncNormal", "Xavier", "Kaiming", "Caffe2Xavier", "Orthogonal", "Dirac"),
    *("Eye", "Sparse", "VarianceScaling", "LeCun", "Keep", "Default", "Pretrained", "KaimingInit", "NormalInit"),
)


def atom(rng: random.Random) -> Any:
    return rng.choice(rng.choice((NUMBERS, NUMBERS, STRINGS, STRINGS, OTHERS, TYPES)))


def paths(tree: Any, at: Path = ()) -> Iterator[Path]:
    """The places of a tree, outer before inner."""
    yield at
    if type(tree) is dict:
        for key, value in tree.items():
            yield from paths(value, (*at, key))
    elif type(tree) is list:
        for index, value in enumerate(tree):
            yield from paths(value, (*at, index))
    elif isinstance(tree, Made):
        yield from paths(tree.of, (*at, Made))


def found(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree.of if step is Made else tree[step]
    return tree


def placed(tree: Any, path: Path, value: Any) -> Any:
    """The tree with something else at a place; the old tree stays as it is."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if step is Made:
        return Made(tree.kind, placed(tree.of, rest, value))
    if type(tree) is dict:
        return {key: placed(item, rest, value) if key is step else item for key, item in tree.items()}
    return [placed(item, rest, value) if index == step else item for index, item in enumerate(tree)]


def mutated(tree: Any, rng: random.Random, other: Any) -> Any:
    """The tree with one thing changed; now and then it gets a part of another tree."""
    path = rng.choice(list(paths(tree)))
    value = found(tree, path)
    if type(value) is dict and rng.random() < 0.7:
        return placed(tree, path, _other_keys(value, rng))
    if type(value) is list and value and rng.random() < 0.5:
        return placed(tree, path, _other_items(value, rng))
    changes: tuple[Callable[[], Any], ...] = (
        lambda: atom(rng),
        lambda: atom(rng),
        lambda: [value, atom(rng)],
        lambda: Made(rng.choice(list(CONTAINERS)), value),
        lambda: found(other, rng.choice(list(paths(other)))),
        lambda: _tweaked(value, rng),
        lambda: _tweaked(value, rng),
    )
    return placed(tree, path, rng.choice(changes)())


def _other_keys(value: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    items = list(value.items())
    match rng.randrange(4):
        case 0 if items:
            del items[rng.randrange(len(items))]
        case 1 if items:
            index = rng.randrange(len(items))
            items[index] = rng.choice((*KEYS, atom(rng), _tweaked(items[index][0], rng))), items[index][1]
        case 2:
            items.append(("override", [{"name": rng.choice(STRINGS), "type": rng.choice(TYPES), "val": 1}]))
        case _:
            items.append((rng.choice(KEYS), atom(rng)))
    return {key: item for key, item in items if _hashes(key)}


def _other_items(value: list[Any], rng: random.Random) -> list[Any]:
    items = list(value)
    index = rng.randrange(len(items))
    match rng.randrange(3):
        case 0:
            del items[index]
        case 1:
            items.insert(index, rng.choice(items))
        case _:
            items *= rng.choice((2, 2, 3, 50))
    return items


def _tweaked(value: Any, rng: random.Random) -> Any:
    if type(value) is str and value:
        at = rng.randrange(len(value))
        letter = rng.choice("*?[].:re()aA \0é")
        return rng.choice((value[:at] + letter + value[at:], value[:at] + value[at + 1 :], value.upper(), value * 3))
    if type(value) in (int, float):
        return rng.choice((-value, value * 1e300 if abs(value) < 1e8 else value, str(value), value == 1, [value]))
    return atom(rng)


def _hashes(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def smaller(tree: Any) -> Iterator[Any]:
    """Trees with less in them: without a part, with a part in place of the whole, with a simple value."""
    for path in paths(tree):
        value = found(tree, path)
        if path and isinstance(value, (dict, list, Made)):
            yield value
        if isinstance(value, Made):
            yield placed(tree, path, value.of)
        elif type(value) is dict:
            for key in value:
                yield placed(tree, path, {k: item for k, item in value.items() if k is not key})
        elif type(value) is list:
            for index in range(len(value)):
                yield placed(tree, path, value[:index] + value[index + 1 :])
        elif type(value) is str and len(value) > 1:
            yield placed(tree, path, value[: len(value) // 2])
            yield placed(tree, path, value[len(value) // 2 :])
