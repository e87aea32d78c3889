"""Likely inputs of a model, by the first layer that says what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..planning import walk

LENGTH = 16
"""Of a sequence."""
IMAGES = (224, 32, 28, 64, 96, 128, 256, 299)
"""Edges of the images that models are made for: ImageNet's, CIFAR's, MNIST's, and others in use."""
VOLUMES = ((16, 112, 112), (16, 224, 224), (32, 32, 32))
SIGNALS = (1024, 128, 16_000)

Shapes = Iterator[tuple[int, ...]]


def guesses(model: nn.Module, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Tensors that may be the model's only input, likeliest first: standard normal, or token ids.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> [tuple(guess.shape) for guess in guesses(model, 8, torch.Generator())]
        [(8, 12), (8, 16, 12)]
    """
    layer = first_layer(model)
    if layer is None:
        return
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        ids = torch.randint(layer.num_embeddings, (batch, LENGTH), generator=generator, device="cpu")
        yield ids.to(layer.weight.device)
        return
    like = next(param for param in layer.parameters() if param.is_floating_point())
    for shape in _shapes_for(layer)(layer, model):
        yield torch.randn(batch, *shape, generator=generator, device="cpu").to(like.device, like.dtype)


def first_layer(model: nn.Module) -> nn.Module | None:
    """The first module, in the order of definition, of a kind that says what it takes."""
    known = (*SHAPES, nn.Embedding, nn.EmbeddingBag)
    return next((node.module for node in walk(model) if isinstance(node.module, known)), None)


def declared_sizes(model: nn.Module) -> Iterator[tuple[int, int]]:
    """Heights and widths that a model itself says it is for: torchvision's `image_size`, timm's `pretrained_cfg`."""
    config = getattr(model, "pretrained_cfg", None)
    size = config.get("input_size") if isinstance(config, dict) else None
    for value in (size and tuple(size)[-2:], getattr(model, "image_size", None), getattr(model, "img_size", None)):
        if isinstance(value, int):
            yield value, value
        elif isinstance(value, (tuple, list)) and len(value) == 2:
            yield value[0], value[1]


def _image(layer: Any, model: nn.Module) -> Shapes:
    for size in dict.fromkeys([*declared_sizes(model), *((edge, edge) for edge in IMAGES)]):
        yield layer.in_channels, *size


def _seed_image(layer: Any, model: nn.Module) -> Shapes:
    """A decoder begins with a small one: that of a GAN is a single pixel."""
    for edge in (1, 4, 8, 16):
        yield layer.in_channels, edge, edge


def _volume(layer: Any, model: nn.Module) -> Shapes:
    for size in VOLUMES:
        yield layer.in_channels, *size


def _series(layer: Any, model: nn.Module) -> Shapes:
    for length in SIGNALS:
        yield layer.in_channels, length


def _features(attribute: str) -> Callable[[Any, nn.Module], Shapes]:
    def shapes(layer: Any, model: nn.Module) -> Shapes:
        features = getattr(layer, attribute)
        yield (features,)
        yield LENGTH, features

    return shapes


def _sequence(attribute: str) -> Callable[[Any, nn.Module], Shapes]:
    def shapes(layer: Any, model: nn.Module) -> Shapes:
        yield LENGTH, getattr(layer, attribute)

    return shapes


SHAPES: dict[type[nn.Module], Callable[[Any, nn.Module], Shapes]] = {
    nn.Conv1d: _series,
    nn.ConvTranspose1d: _series,
    nn.Conv2d: _image,
    nn.ConvTranspose2d: _seed_image,
    nn.Conv3d: _volume,
    nn.ConvTranspose3d: _volume,
    nn.Linear: _features("in_features"),
    nn.RNNBase: _sequence("input_size"),
    nn.RNNCellBase: _features("input_size"),
    nn.MultiheadAttention: _sequence("embed_dim"),
    nn.BatchNorm1d: _features("num_features"),
}
"""For each kind of layer, the shapes without the batch that a model may take whose first layer it is."""


def _shapes_for(layer: nn.Module) -> Callable[[Any, nn.Module], Shapes]:
    return next(shapes for cls, shapes in SHAPES.items() if isinstance(layer, cls))
