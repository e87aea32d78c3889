"""Modules of `autoinit.compat.mmengine`, and what tests ask of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger
from torch import nn

from autoinit.compat.mmengine import BaseModule
from tests.models import filled_with

LINEAR = dict(type="Constant", val=1, bias=1, layer="Linear")


def constant(val: float, **others: Any) -> dict[str, Any]:
    return dict(type="Constant", val=val, bias=val, **others)


class Block(BaseModule):
    def __init__(self, *children: nn.Module, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        for index, child in enumerate(children):
            self.add_module(f"c{index}", child)


class OwnInit(Block):
    def init_weights(self) -> None:
        super().init_weights()
        self.c0.weight.data.fill_(50)


class NoSuper(Block):
    def init_weights(self) -> None:
        self.c0.weight.data.fill_(60)


class PlainOwnInit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c0 = linear()

    def init_weights(self) -> None:
        self.c0.weight.data.fill_(70)


def linear() -> nn.Linear:
    return filled_with(9, nn.Linear(2, 2))


def weight(module: nn.Module) -> float:
    (value,) = set(module.weight.flatten().tolist())
    return value


def bias(module: nn.Module) -> float:
    (value,) = set(module.bias.flatten().tolist())
    return value


@contextmanager
def silence() -> Iterator[None]:
    """Nothing from the original's logger."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
