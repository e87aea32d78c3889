"""The public names, their signatures, and what errors derive from: what users' code relies on (issue 17 keeps it).

A change that is meant is written down with `AUTOINIT_FRONT_DOOR=write pytest tests/test_front_door.py`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import autoinit
import autoinit.compat.mmengine
import autoinit.initializers
import autoinit.testing

WRITTEN = Path(__file__).parent / "data" / "front_door.txt"
MODULES: tuple[ModuleType, ...] = (autoinit, autoinit.initializers, autoinit.compat.mmengine, autoinit.testing)


USED = {"Run": ("report", "reports")}
"""Of classes that do more inside the package: what users use."""


def lines() -> Iterator[str]:
    for module in MODULES:
        for name in sorted(module.__all__):
            yield from described(f"{module.__name__}.{name}", getattr(module, name))


def described(name: str, value: object) -> Iterator[str]:
    if isinstance(value, type):
        bases = ", ".join(base.__name__ for base in value.__mro__[1:-1] if not base.__name__.startswith("_"))
        yield f"class {name}{signature(value)} from {bases}" if bases else f"class {name}{signature(value)}"
        for each in sorted(USED.get(value.__name__, dir(value))):
            if (
                not each.startswith("_")
                and each not in dir(Exception)
                and is_ours(getattr(value, each, None), value, each)
            ):
                yield f"    {each}"
    elif callable(value):
        yield f"{name}{signature(value)}"
    elif isinstance(value, (str, int, float, tuple)):
        yield f"{name} = {value!r}"


def is_ours(value: object, owner: type, name: str) -> bool:
    """True for a member that a class of this package defines."""
    holder = next((base for base in owner.__mro__ if name in vars(base)), None)
    return holder is not None and holder.__module__.startswith("autoinit")


def signature(value: object) -> str:
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"


def test_the_front_door_is_as_it_was() -> None:
    found = "\n".join(lines()) + "\n"
    if os.environ.get("AUTOINIT_FRONT_DOOR") == "write":
        WRITTEN.write_text(found)
    assert found == WRITTEN.read_text()


def test_each_public_name_stands_on_one_page_of_the_reference() -> None:
    same = {"autoinit.initializers.register_initializer": "autoinit.register_initializer"}
    public = re.findall(r"^(?:class )?([\w.]+)\(", WRITTEN.read_text(), re.M)
    pages = (Path(__file__).parents[1] / "docs" / "reference").glob("*.md")
    shown = [name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)]
    assert sorted({same.get(name, name) for name in public} - {*shown}) == [], (
        "add `::: NAME` to a page of the reference"
    )
    assert len(shown) == len({*shown})
