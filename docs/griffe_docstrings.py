"""Docstrings as the API reference shows them."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Makes `Example:` the section `Examples:`, of code; as anything else its `>>>` would be a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.is_attribute and "property" not in obj.labels:
            obj.docstring = None  # inspection takes that of the value: `int`'s for a number
        elif obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
