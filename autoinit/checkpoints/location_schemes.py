"""Names with a scheme: `torchvision://resnet50` and what users add; each stands for another location, or for a file."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ..errors import AutoInitError, CheckpointError, ConfigError, ConfigTypeError, nearest
from .location import Location
from .places import LocalFile, Place, WebFile

Written = str | os.PathLike[str]
Table = Mapping[str, Written] | Callable[[str], Written]

_SCHEME = re.compile(r"([A-Za-z][\w+.:-]+)://")
_LONGEST = 16
"""Steps from a name to a file; a function that gives a new name each time would go on for ever."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The location or place that a name stands for.

    Args:
        to: Another location, or the place of the file.
        under: Prefix of the part of the file that is meant, with its dot; None for all.
    """

    to: str | Place
    under: str | None = None


Resolver = Callable[[str, Location], Step]
"""From the text after `://` to the location that it stands for."""

_RESOLVERS: dict[str, Resolver] = {}


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
        resolver = _by_table(name, dict(table))
    elif callable(table):
        resolver = _by_function(name, table)
    else:
        raise ConfigTypeError(
            f"register_checkpoints({scheme!r}): {table!r} must be a mapping from names to locations, or a function, "
            f"not {type(table).__name__}."
        )
    if name in _RESOLVERS and not force:
        raise ConfigError(f"register_checkpoints: the scheme {name!r} is taken. Choose another, or say force=True.")
    _RESOLVERS[name] = resolver


def built_in(*schemes: str) -> Callable[[Resolver], Resolver]:
    """Decorate the function that resolves the names of these schemes."""

    def register(resolver: Resolver) -> Resolver:
        _RESOLVERS.update(dict.fromkeys(schemes, resolver))
        return resolver

    return register


@built_in("http")
def _resolve_http(rest: str, location: Location) -> Step:
    return Step(to=_web_file(f"http://{rest}", location))


@built_in("https")
def _resolve_https(rest: str, location: Location) -> Step:
    return Step(to=_web_file(f"https://{rest}", location))


def _web_file(written: str, location: Location) -> WebFile:
    try:
        # As people paste it, with characters quoted that may not be in a request.
        url = quote(written, safe=string.punctuation)
        urlsplit(url)
    except ValueError as e:
        raise location.error(f"is no address that can be fetched ({e})", "check the address") from e
    return WebFile(url=url)


def follow(location: Location) -> tuple[Place, str | None]:
    """Follow a location to its end.

    Returns:
        The place of the file, and the prefix of the part that is meant, with its dot; None for all.

    Raises:
        CheckpointError: A scheme or a name is unknown, or the names lead in a circle.
    """
    text, under = location.text, None
    seen = [text]
    while (match := _SCHEME.match(text)) is not None:
        resolver = _RESOLVERS.get(match[1].lower())
        if resolver is None:
            raise _unknown_scheme(match[1], location)
        step = resolver(text[match.end() :], location if text == location.text else location.means(text))
        under = step.under or under
        if not isinstance(step.to, str):
            return step.to, under
        text = step.to
        if text in seen or len(seen) >= _LONGEST:
            way = " -> ".join([*seen[:4], *([] if len(seen) < 5 else ["..."]), text])
            raise location.error(f"leads in a circle: {way}", "let one of these schemes end at a path or a URL")
        seen.append(text)
    return LocalFile(path=text), under


def unknown_name(name: str, known: Mapping[str, object], whose: str, location: Location) -> CheckpointError:
    """The error for a name that a table does not have."""
    guess = nearest(name, known)
    shown = guess or f" It has {', '.join(sorted(known)[:5])}{', ...' if len(known) > 5 else ''}."
    return location.error(
        f"is not known: {whose} has no {name!r}", f"give a name that it has.{shown}".removesuffix(".")
    )


def _by_table(scheme: str, table: Mapping[str, Written]) -> Resolver:
    for name, value in table.items():
        if not isinstance(name, str) or not isinstance(value, (str, os.PathLike)):
            raise ConfigTypeError(
                f"register_checkpoints({scheme!r}): {name!r}: {value!r} must be a name and a location, both strings."
            )

    def resolve(name: str, location: Location) -> Step:
        if name not in table:
            raise unknown_name(name, table, f"the table of {scheme}://", location)
        return Step(to=os.fspath(table[name]))

    return resolve


def _by_function(scheme: str, function: Callable[[str], Written]) -> Resolver:
    def resolve(name: str, location: Location) -> Step:
        try:
            value: object = function(name)
        except AutoInitError:
            raise
        except Exception as e:
            what = f"could not be looked up: the function of {scheme}:// failed ({type(e).__name__}: {e})"
            raise location.error(what, "correct the name or the function") from e
        if not isinstance(value, (str, os.PathLike)):
            what = f"could not be looked up: the function of {scheme}:// gave {value!r}, which is no location"
            raise location.error(what, "let it return a path or a URL as a string")
        return Step(to=str(os.fspath(value)))

    return resolve


def _unknown_scheme(scheme: str, location: Location) -> CheckpointError:
    known = ", ".join(f"{name}://" for name in sorted(_RESOLVERS))
    guess = nearest(scheme, _RESOLVERS) or f" Known: {known}."
    remedy = f"give a path, or register it with autoinit.register_checkpoints.{guess}"
    return location.error(f"has a scheme that is not known, {scheme!r}", remedy.removesuffix("."))
