"""`http://` and `https://`."""

from __future__ import annotations

import string
from urllib.parse import quote, urlsplit

from ..location import Location
from .places import WebFile
from .schemes import Step, built_in


@built_in("http")
def resolve_http(rest: str, location: Location) -> Step:
    """A URL that ends the way."""
    return Step(to=_web_file(f"http://{rest}", location))


@built_in("https")
def resolve_https(rest: str, location: Location) -> Step:
    """A URL that ends the way."""
    return Step(to=_web_file(f"https://{rest}", location))


def _web_file(written: str, location: Location) -> WebFile:
    try:
        # As people paste it, with what may not be in a request written as it must be.
        url = quote(written, safe=string.punctuation)
        urlsplit(url)
    except ValueError as e:
        raise location.error(f"is no address that can be fetched ({e})", "check the address") from e
    return WebFile(url=url)
