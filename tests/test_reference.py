"""Each public name has its place in the API reference."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
REFERENCE = REPOSITORY / "docs" / "reference"
SAME = {"autoinit.initializers.register_initializer": "autoinit.register_initializer"}
NAME = re.compile(r"^(?:class )?([\w.]+)\(", re.M)


def test_each_public_name_stands_on_one_page_of_the_reference() -> None:
    public = NAME.findall((REPOSITORY / "tests" / "data" / "front_door.txt").read_text())
    wanted = {SAME.get(name, name) for name in public}
    shown = [name for page in REFERENCE.glob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)]
    assert sorted(wanted - set(shown)) == [], "add `::: NAME` to a page in docs/reference"
    assert len(shown) == len(set(shown))
