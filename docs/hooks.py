"""Pages of the site that stand at the top of the repository: contributing and changelog."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)]+)(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, with links that fit where they stand on the site."""
    for source, target in PAGES.items():
        text = LINK.sub(lambda match: address(match[1], config.repo_url), (ROOT / source).read_text())
        files.append(File.generated(config, target, content=text))
    return files


def address(link: str, repository: str | None) -> str:
    """The address of a file of the repository: its page, or else the file in the repository."""
    if link in PAGES:
        return PAGES[link]
    if link.startswith("docs/") and ".md" in link:
        return link.removeprefix("docs/")
    return f"{repository}/blob/main/{link}"
