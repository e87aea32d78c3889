"""Random models and configs, and what a config gives to a model: shared by the contracts' tests."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from autoinit import AutoInitWarning, Plan, autoinit, initialize, plan
from autoinit.construction import Watch
from tests.strategies import Branch, configs, layers, module_trees

DTYPES = (torch.float32, torch.bfloat16)
PLAIN = module_trees(leaves=layers(dtypes=DTYPES))
TIED = module_trees(leaves=layers(dtypes=DTYPES, parametrized=True), ties=True)


@st.composite
def ruled(draw: st.DrawFn, trees: st.SearchStrategy[Branch] = TIED, **options: Any) -> tuple[Branch, list[Any]]:
    """Trees, each with a config for it."""
    tree = draw(trees)
    return tree, draw(configs(tree, **options))


@contextmanager
def whatever_loses() -> Iterator[None]:
    """Random rules beat random overrides, and disagree about tied parameters, of which the plan warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* loses .* to |.*are one parameter", AutoInitWarning)
        yield


def planned(model: nn.Module, cfg: Any) -> Plan:
    with whatever_loses():
        return plan(model, cfg, unmatched="ignore")


def fills(model: nn.Module, cfg: Any) -> dict[str, object]:
    """The fills of the parameters that a config covers."""
    return {fqn: entry.fill for fqn, entry in planned(model, cfg).items() if entry.fill is not None}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bits(one[name]) == bits(other[name]) for name in one)


def bits(tensor: Tensor) -> tuple[Any, ...]:
    values = tensor.detach().clone(memory_format=torch.contiguous_format).flatten()
    return tensor.dtype, tuple(tensor.shape), values.view(torch.uint8).numpy().tobytes()


def covered(model: nn.Module, cfg: Any) -> dict[str, tuple[Any, ...]]:
    """The bits of the parameters that a config covers, by FQN; a weight that is computed as what it comes to."""
    entries = planned(model, cfg)
    found = {}
    for fqn, entry in entries.items():
        if entry.fill is not None:
            owner, _, name = fqn.rpartition(".")
            found[fqn] = bits(getattr(model.get_submodule(owner), name))
    return found


def under(cfg: Any, tree: Branch, seed: int | None, **options: Any) -> nn.Module:
    """Build a model in a block, in which every parameter is large enough to be deferred."""
    torch.manual_seed(0)
    with (
        whatever_loses(),
        mock.patch.object(Watch, "LARGE", 1),
        autoinit(cfg, seed=seed, unmatched="ignore", **options),
    ):
        return tree.build()


def existing(cfg: Any, tree: Branch, seed: int | None) -> nn.Module:
    """Build a model, and then initialize it."""
    torch.manual_seed(0)
    model = tree.build()
    with whatever_loses():
        initialize(model, cfg, seed=seed, unmatched="ignore")
    return model
