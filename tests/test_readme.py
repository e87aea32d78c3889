"""The README stands alone on PyPI, where no file is beside it, and its links lead somewhere in the repository."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
README = (REPOSITORY / "README.md").read_text()
LINK = re.compile(r"\]\(([^)]+)\)")


def on_pypi() -> str:
    """The README as the build writes it into the metadata of a package."""
    text = README
    for each in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    return text


def test_links_are_absolute_on_pypi() -> None:
    repository = PROJECT["project"]["urls"]["Repository"]
    links = LINK.findall(on_pypi())
    assert len(links) == len(LINK.findall(README)) > 20
    assert [link for link in links if not link.startswith(f"{repository}/blob/main/")] == []
    assert "text expect" not in on_pypi()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(name: str) -> None:
    links = LINK.findall((REPOSITORY / name).read_text())
    files = [link.partition("#")[0] for link in links if not link.startswith(("https:", "#"))]
    assert [file for file in files if not (REPOSITORY / file).exists()] == []


def test_each_extra_for_users_has_a_row() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"])
    rows = set(re.findall(r"^\| `([a-z]+)` \|", README, re.M))
    for_contributors = {"test", "dev", "fuzz", "mutants", "docs", "bench", "demo", "browser"}
    assert extras - for_contributors <= rows
