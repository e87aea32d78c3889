"""Inputs of models of the transformers library, by their configs and the arguments of their forward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

LENGTH = 16
"""Of a sequence of tokens, or less where positions end before."""
SAMPLES = 16_000
"""Of a second of sound, at the rate of wav2vec 2.0 and its kin."""
SPECIAL = ("_token_id", "_token_index")
"""How configs call the ids that are no words: padding, or where an image goes."""


def is_pretrained(model: nn.Module) -> bool:
    """Whether a model is one of transformers: it says which argument is its main one, and has a config."""
    return hasattr(model, "main_input_name") and hasattr(model, "config")


def pretrained_inputs(model: Any, batch: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
    """Named arguments that may be all that the model needs, likeliest first.

    Example:
        >>> from types import SimpleNamespace
        >>> class Model(nn.Module):
        ...     main_input_name, device = "input_ids", "cpu"
        ...     config = SimpleNamespace(vocab_size=9, pad_token_id=0)
        ...
        ...     def forward(self, input_ids): ...
        >>> [inputs] = pretrained_inputs(Model(), 2, torch.Generator())
        >>> inputs["input_ids"].shape
        torch.Size([2, 16])
    """
    known = inspect.signature(model.forward).parameters
    main = model.main_input_name
    names = [main] if isinstance(main, str) else list(main)
    decoder = [name for name in ("decoder_input_ids",) if name in known]
    both = [name for name in ("input_ids", "pixel_values", "input_values", "input_features") if name in known]
    for wanted in dict.fromkeys(map(tuple, ([*names, *decoder], both, names))):
        made = {name: _made(name, model, batch, generator) for name in wanted}
        if all(tensor is not None for tensor in made.values()):
            yield {name: tensor for name, tensor in made.items() if tensor is not None}
    dummies = getattr(model, "dummy_inputs", None)
    if isinstance(dummies, Mapping) and dummies.keys() <= known.keys():
        yield {name: value.to(model.device) for name, value in dummies.items() if isinstance(value, Tensor)}


def _made(name: str, model: Any, batch: int, generator: torch.Generator) -> Tensor | None:
    maker = MAKERS.get(name)
    shape_or_ids = None if maker is None else maker(model, batch, generator)
    if shape_or_ids is None:
        return None
    if isinstance(shape_or_ids, Tensor):
        return shape_or_ids.to(model.device)
    return torch.randn(shape_or_ids, generator=generator, device="cpu").to(model.device, model.dtype)


def _ids(model: Any, batch: int, generator: torch.Generator) -> Tensor | None:
    size = _setting(model.config, "vocab_size")
    if not isinstance(size, int) or size < 2:
        return None
    longest = _setting(model.config, "max_position_embeddings")
    length = min(LENGTH, longest) if isinstance(longest, int) and longest > 0 else LENGTH
    special = {
        value for name, value in _all_settings(model.config) if name.endswith(SPECIAL) and isinstance(value, int)
    }
    words = torch.tensor([word for word in range(size) if word not in special] or [0], device="cpu")
    return words[torch.randint(len(words), (batch, length), generator=generator, device="cpu")]


def _pixels(model: Any, batch: int, generator: torch.Generator) -> tuple[int, ...]:
    size = _setting(model.config, "image_size") or 224
    if isinstance(size, Mapping):
        size = size.get("height", 224), size.get("width", 224)
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return batch, _setting(model.config, "num_channels") or 3, height, width


def _sound(model: Any, batch: int, generator: torch.Generator) -> tuple[int, ...]:
    return batch, SAMPLES


def _spectrum(model: Any, batch: int, generator: torch.Generator) -> tuple[int, ...] | None:
    bins, positions = (_setting(model.config, name) for name in ("num_mel_bins", "max_source_positions"))
    # Whisper halves the frames before it gives them positions, and takes no fewer than all.
    return (batch, bins, 2 * positions) if isinstance(bins, int) and isinstance(positions, int) else None


MAKERS: dict[str, Callable[[Any, int, torch.Generator], Tensor | tuple[int, ...] | None]] = {
    "input_ids": _ids,
    "decoder_input_ids": _ids,
    "pixel_values": _pixels,
    "input_values": _sound,
    "input_features": _spectrum,
}


def _setting(config: Any, name: str) -> Any:
    """Of the config, or of the first of its parts that has one."""
    return next((value for found, value in _all_settings(config) if found == name and value is not None), None)


def _all_settings(config: Any) -> Iterator[tuple[str, Any]]:
    parts = []
    for name, value in vars(config).items():
        if hasattr(value, "model_type"):
            parts.append(value)
        yield name, value
    attributes = getattr(config, "attribute_map", {})
    yield from ((name, getattr(config, name, None)) for name in attributes)
    for part in parts:
        yield from _all_settings(part)
