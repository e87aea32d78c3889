"""The ways to a model that is built and initialized: in a block, and each rival's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autoinit import autoinit

from .subjects import Subject

AUTOINIT = "autoinit"
PLAIN = "plain construction"
MMENGINE = "construction, mmengine init_weights()"
BY_HAND = "construction, torch.nn.init"
SKIPPING = "no_init_weights(), init_weights()"
META = "meta, to_empty(), own init"
LIMIT = "the limit: empty(), fill_()"

Way = Callable[[], object]


def in_a_block(subject: Subject, quick: bool) -> Way:
    def build() -> nn.Module:
        with autoinit(subject.scheme.cfg):
            return subject.model(quick)

    return build


def after_construction(step: Callable[[Subject, nn.Module], object]) -> Callable[[Subject, bool], Way]:
    """A way that does something with the model when it is built."""

    def way(subject: Subject, quick: bool) -> Way:
        def build() -> nn.Module:
            model = subject.model(quick)
            step(subject, model)
            return model

        return build

    return way


def skipping(subject: Subject, quick: bool) -> Way:
    """Nothing is filled by a constructor, then everything by transformers."""
    from transformers.initialization import no_init_weights

    def build() -> nn.Module:
        with no_init_weights():
            model = subject.model(quick)
        subject.own_init(model)
        return model

    return build


def by_way_of_meta(subject: Subject, quick: bool) -> Way:
    def build() -> nn.Module:
        model = subject.on_meta(quick).to_empty(device="cpu")
        subject.own_init(model)
        return model

    return build


def limit(subject: Subject, quick: bool) -> Way:
    """The same memory, written once with one value."""
    shapes = [param.shape for param in subject.on_meta(quick).parameters()]

    def build() -> list[Tensor]:
        return [torch.empty(shape).fill_(1) for shape in shapes]

    return build


WAYS: dict[str, Callable[[Subject, bool], Way]] = {
    AUTOINIT: in_a_block,
    PLAIN: after_construction(lambda subject, model: None),
    MMENGINE: after_construction(lambda subject, model: initialize_with_mmengine(model, subject.scheme.cfg)),
    BY_HAND: after_construction(lambda subject, model: subject.scheme.by_hand(model)),
    SKIPPING: skipping,
    META: by_way_of_meta,
    LIMIT: limit,
}


def contenders(subject: Subject) -> list[str]:
    absent = set() if subject.library == "transformers" else {SKIPPING}
    return [name for name in WAYS if name not in absent and (subject.fills or name not in (PLAIN, META))]


def left_as_garbage(subject: Subject, quick: bool) -> list[str]:
    """The parameters and buffers that nothing writes to when a model from the meta device initializes itself."""
    model = subject.on_meta(quick)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    versions = {name: tensor._version for name, tensor in tensors.items()}
    subject.own_init(model)
    now = dict(model.named_parameters()) | dict(model.named_buffers())
    return [name for name, tensor in tensors.items() if now[name] is tensor and tensor._version == versions[name]]


def initialize_with_mmengine(model: nn.Module, cfg: list[dict[str, Any]]) -> None:
    """Do what a model under OpenMMLab's `BaseModule` does in `init_weights()`."""
    from mmengine.logging import MMLogger
    from mmengine.model import BaseModule

    # A module is only initialized once, so each call gets a new one around the model.
    class Retrofitted(BaseModule):
        def __init__(self) -> None:
            super().__init__(init_cfg=cfg)
            self.model = model

    logger = MMLogger.get_current_instance()
    level = logger.level
    # Its three lines a parameter would fill the terminal, and the time they take is not what is measured.
    logger.setLevel("ERROR")
    try:
        Retrofitted().init_weights()
    finally:
        logger.setLevel(level)
