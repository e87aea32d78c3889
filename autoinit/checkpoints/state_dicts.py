"""The state dict in a pickled object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..errors import nearest
from .source import Source

_NOTHING = object()

_USUAL = ("state_dict", None, "model")
"""Where to look, in this order; None is the top. The first two are the original's."""

_ASSIGN = "assign_to_params_buffers"
"""Flag that `load_state_dict(assign=True)` leaves in a state dict; it makes modules take tensors, not their values."""


def state_in(content: object, key: str | None, source: Source) -> Mapping[Any, object]:
    """The mapping from names to tensors in a pickled object.

    Args:
        content: The object.
        key: Name of the mapping in it, or names with dots between; None for a usual name, or the only mapping.
        source: The file, for errors.

    Raises:
        CheckpointError: It holds no tensors by name, or, without a `key`, several mappings do.
    """
    if key is not None:
        return _at_key(content, key, source)
    for usual in _USUAL:
        state = content if usual is None else _below(content, usual)
        if isinstance(state, Mapping) and tensors_in(state):
            return state
    candidates = dict(_candidates(content))
    if len(candidates) == 1:
        found: Mapping[Any, object] = _below(content, next(iter(candidates)))
        return found
    if not candidates:
        raise source.error("holds no tensors by name", "give the path of a file that holds a state_dict")
    what = f"holds tensors in {len(candidates)} places: {_listed(candidates)}"
    raise source.error(what, f"say which with key=, e.g. key={next(iter(candidates))!r}")


def tensors_in(state: Mapping[Any, object]) -> dict[str, Tensor]:
    """The tensors with a name; counters, `_extra_state` and the like are not loaded."""
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}


def versions_in(state: Mapping[Any, object]) -> dict[str, dict[str, Any]]:
    """Metadata of each module that `state_dict()` adds to the tensors: its version, for its own loading code."""
    noted = getattr(state, "_metadata", None)
    items = noted.items() if isinstance(noted, Mapping) else ()
    return {
        name: {key: value for key, value in about.items() if key != _ASSIGN}
        for name, about in items
        if isinstance(name, str) and isinstance(about, Mapping)
    }


def _at_key(content: object, key: str, source: Source) -> Mapping[Any, object]:
    state = _below(content, key)
    if isinstance(state, Mapping) and tensors_in(state):
        return state
    what = f"holds {'nothing' if state is _NOTHING else 'no tensors by name'} under the key {key!r}"
    candidates = dict(_candidates(content))
    if isinstance(content, Mapping) and tensors_in(content):
        raise source.error(what, "leave key= out, its tensors are at the top")
    if not candidates:
        raise source.error(what, "give the path of a file that holds a state_dict")
    raise source.error(
        what, f"give one that holds tensors: {_listed(candidates)}.{nearest(key, candidates)}".rstrip(".")
    )


def _below(content: object, key: str) -> Any:
    """The value at a key; a key with dots is first taken as a name, then as a path."""
    if not isinstance(content, Mapping):
        return _NOTHING
    if key in content:
        return content[key]
    for at, letter in enumerate(key):
        if letter == "." and key[:at] in content:
            found = _below(content[key[:at]], key[at + 1 :])
            if found is not _NOTHING:
                return found
    return _NOTHING


def _candidates(content: object, depth: int = 2) -> Iterator[tuple[str, int]]:
    """Paths to mappings that hold tensors by name, and how many. Deeper lie the states of optimizers."""
    items = content.items() if isinstance(content, Mapping) else ()
    for name, value in items:
        if isinstance(name, str) and isinstance(value, Mapping):
            if count := len(tensors_in(value)):
                yield name, count
            if depth > 1:
                yield from ((f"{name}.{path}", count) for path, count in _candidates(value, depth - 1))


def _listed(candidates: Mapping[str, int]) -> str:
    return ", ".join(f"{path!r} ({count})" for path, count in candidates.items())
