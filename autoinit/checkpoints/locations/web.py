"""`http://` and `https://`."""

from __future__ import annotations

import string
from urllib.parse import quote

from ..location import Location
from .places import WebFile
from .schemes import Step, built_in


@built_in("http")
def resolve_http(rest: str, location: Location) -> Step:
    """A URL that ends the way."""
    return Step(to=WebFile(url=f"http://{_quoted(rest)}"))


@built_in("https")
def resolve_https(rest: str, location: Location) -> Step:
    """A URL that ends the way."""
    return Step(to=WebFile(url=f"https://{_quoted(rest)}"))


def _quoted(rest: str) -> str:
    """A URL as people paste it, with what may not be in a request written as it must be."""
    return quote(rest, safe=string.punctuation)
