"""Names with a scheme: `torchvision://resnet50` and what users add; each means another location, or a file."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import quote, urlsplit

from ..errors import AutoInitError, ConfigError, ConfigTypeError, nearest
from . import zoos
from .downloads import WebFile
from .hugging_face import HubFile
from .source import LocalFile, Location

Written = str | os.PathLike[str]
Table = Mapping[str, Written] | Callable[[str], Written]
Place = LocalFile | WebFile | HubFile
"""The end of a location: fetches one file, and knows the files beside it."""
Resolver = Callable[[str, Location], str | Place | tuple[str, str]]
"""From the text after `://` to a place, or to another location, alone or with the prefix of the part that is meant."""

_SCHEME = re.compile(r"([A-Za-z][\w+.:-]+)://")
_LONGEST = 16  # Steps from a name to a file; a function that gives a new name each time would go on for ever.


def register_checkpoints(scheme: str, table: Table, *, force: bool = False) -> None:
    """Give names to checkpoints, so that configs can say `scheme://name`.

    Args:
        scheme: A letter, then letters, digits, `-`, `_`, `.` or `+`, two or more in all; its case does not matter.
        table: Mapping from names to locations, or a function from the text after `://` to a location; a location is
            a path, a URL, or a name of any scheme.
        force: Replace a scheme of this name.

    Raises:
        ConfigError: The scheme is taken, or cannot be one.
        ConfigTypeError: `table` is neither, or contains something else than locations.

    Example:
        >>> import tempfile, torch
        >>> from autoinit import initialize, register_checkpoints
        >>> folder = tempfile.mkdtemp()
        >>> torch.save({"weight": torch.ones(1, 1), "bias": torch.zeros(1)}, f"{folder}/ones.pth")
        >>> register_checkpoints("lab", {"ones": f"{folder}/ones.pth"})
        >>> layer = torch.nn.Linear(1, 1)
        >>> _ = initialize(layer, dict(type="Pretrained", checkpoint="lab://ones"))
        >>> layer.weight.item()
        1.0
    """
    if not isinstance(scheme, str) or not _SCHEME.fullmatch(f"{scheme}://"):
        raise ConfigError(f"register_checkpoints: {scheme!r} cannot be a scheme. Write letters, such as 'lab'.")
    name = scheme.lower()
    if isinstance(table, Mapping):
        resolver: Resolver = partial(_by_mapping, name, dict(table))
        for key, value in table.items():
            if not isinstance(key, str) or not isinstance(value, (str, os.PathLike)):
                raise ConfigTypeError(
                    f"register_checkpoints({scheme!r}): {key!r}: {value!r} must be a name and a location, both strings."
                )
    elif callable(table):
        resolver = partial(_by_function, name, table)
    else:
        raise ConfigTypeError(
            f"register_checkpoints({scheme!r}): {table!r} must be a mapping from names to locations, or a function, "
            f"not {type(table).__name__}."
        )
    if name in _RESOLVERS and not force:
        raise ConfigError(f"register_checkpoints: the scheme {name!r} is taken. Choose another, or say force=True.")
    _RESOLVERS[name] = resolver


def follow(location: Location) -> tuple[Place, str | None]:
    """Follow a location to its end: the place of the file, and the prefix of the part that is meant; None for all."""
    text, part = location.text, None
    seen = [text]
    while (match := _SCHEME.match(text)) is not None:
        resolver = _RESOLVERS.get(match[1].lower())
        if resolver is None:
            guess = nearest(match[1], _RESOLVERS) or f" Known: {', '.join(f'{name}://' for name in sorted(_RESOLVERS))}"
            remedy = f"give a path, or register it with autoinit.register_checkpoints.{guess}"
            raise location.error(f"has an unknown scheme, {match[1]!r}", remedy)
        found = resolver(text[match.end() :], location.means(text))
        if isinstance(found, tuple):
            found, part = found
        if not isinstance(found, str):
            return found, part
        text = found
        if text in seen or len(seen) >= _LONGEST:
            way = " -> ".join([*seen[:4], *([] if len(seen) < 5 else ["..."]), text])
            raise location.error(f"leads in a circle: {way}", "let one of these schemes end at a path or a URL")
        seen.append(text)
    return LocalFile(path=text), part


def _web_file(scheme: str, rest: str, location: Location) -> WebFile:
    try:
        # Quote characters that may not be in a request, which people paste.
        url = quote(f"{scheme}://{rest}", safe=string.punctuation)
        urlsplit(url)
    except ValueError as e:
        raise location.error(f"is no address that can be fetched ({e})", "check the address") from e
    return WebFile(url=url)


def _by_mapping(scheme: str, table: Mapping[str, Written], name: str, location: Location) -> str:
    if name not in table:
        raise location.unknown(name, table, f"the table of {scheme}://")
    return os.fspath(table[name])


def _by_function(scheme: str, function: Callable[[str], object], name: str, location: Location) -> str:
    try:
        found = function(name)
    except AutoInitError:
        raise
    except Exception as e:  # It is the user's, and raises anything.
        what = f"could not be looked up: the function of {scheme}:// failed ({type(e).__name__}: {e})"
        raise location.error(what, "correct the name or the function") from e
    if not isinstance(found, (str, os.PathLike)):
        what = f"could not be looked up: the function of {scheme}:// gave {found!r}, which is no location"
        raise location.error(what, "let it return a path or a URL as a string")
    return str(os.fspath(found))


_RESOLVERS: dict[str, Resolver] = {
    "http": partial(_web_file, "http"),
    "https": partial(_web_file, "https"),
    "hf": HubFile.parse,
    "torchvision": zoos.resolve_torchvision,
    "modelzoo": zoos.resolve_modelzoo,
    "timm": zoos.resolve_timm,
    "open-mmlab": zoos.resolve_openmmlab,
    "openmmlab": zoos.resolve_openmmlab,
    "mmcls": zoos.resolve_mmcls,
}
