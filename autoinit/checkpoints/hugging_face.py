"""`hf://org/repo/file@revision`: files of the Hugging Face hub, through its own library and cache."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from ..errors import CheckpointError, nearest
from .digests import require_digest
from .location import Location
from .location_schemes import Step, built_in
from .places import USUAL_NAMES, Place
from .source import Source

_WRITTEN = re.compile(
    r"(?:models/(?=[^/]+/))?(?P<repo>[^/@]+/[^/@]+)"
    r"(?:@(?P<early>refs/pr/\d+|refs/convert/[\w.-]+|[^/@]+))?"
    r"(?:/(?P<file>.*?))?(?:@(?P<late>[^@]+))?(?<!@)"
)
_FORM = "write hf://org/repo, hf://org/repo/file or hf://org/repo/file@revision"


@built_in("hf")
def resolve_hf(rest: str, location: Location) -> Step:
    """A repository, alone or with a file in it; its revision after `@`, at the end or after the repository."""
    found = _WRITTEN.fullmatch(rest)
    if found is None:
        raise location.error("is no name of a repository", _FORM)
    if found["early"] and found["late"]:
        raise location.error("has two revisions", _FORM)
    file, revision = found["file"] or None, unquote(found["early"] or found["late"] or "") or None
    for path in filter(None, (file, revision)):
        if _leads_out(path):
            raise location.error(f"leads out of its repository, at {path!r}, and was refused", _FORM)
    return Step(to=HubFile(repo=found["repo"], file=file, revision=revision))


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository of models.

    Args:
        repo: Organisation or user, and name.
        file: Path in the repository; None for the first of the usual names that exists.
        revision: Branch, tag or commit; None for the main branch.
    """

    repo: str
    file: str | None
    revision: str | None

    def fetch(self, location: Location, sha256: str | None) -> Source:
        path = self._fetch(_library(location), location)
        again = f"remove {path!r} and the file that it is a link to, and it is downloaded again"
        source = Source.at(location, path, again=again)
        require_digest(source, sha256)
        return source

    def beside(self, name: str, path: str) -> Place:
        """The place of a file of the same commit, also if the branch has moved meanwhile."""
        folder = PurePosixPath(self.file or "").parent
        commit = Path(path).parents[len(folder.parts)].name
        return replace(self, file=str(folder / name), revision=commit)

    def _fetch(self, hub: ModuleType, location: Location) -> str:
        missing: Exception | None = None
        try:
            for name in self._names(hub):
                try:
                    return self._download(hub, name, isinstance(missing, hub.errors.LocalEntryNotFoundError))
                except hub.errors.EntryNotFoundError as e:
                    # Offline, this says that the file is not here; then the others are looked for in the cache alone.
                    missing = missing or e
        except Exception as e:  # of the library, of the HTTP client that it uses, or of the file system
            raise self._explained(hub, e, location) from e
        raise self._explained(hub, missing, location) from missing

    def _names(self, hub: ModuleType) -> list[str]:
        """The file, or the usual names: cached files first, so that offline no other is waited for."""
        if self.file is not None:
            return [self.file]

        def is_new(name: str) -> bool:
            return not isinstance(hub.try_to_load_from_cache(self.repo, name, revision=self.revision), str)

        return sorted(USUAL_NAMES, key=is_new)

    def _download(self, hub: ModuleType, name: str, only_local: bool) -> str:
        return str(hub.hf_hub_download(self.repo, name, revision=self.revision, local_files_only=only_local))

    def _explained(self, hub: ModuleType, error: Exception | None, location: Location) -> CheckpointError:
        errors = hub.errors
        if isinstance(error, errors.GatedRepoError):
            what = "is in a gated repository"
            return location.error(what, f"accept its terms at https://huggingface.co/{self.repo}, then `hf auth login`")
        if isinstance(error, errors.RepositoryNotFoundError):
            what = f"is in a repository that the hub does not have, or does not show to you: {self.repo!r}"
            return location.error(what, "check the name; if it is private, `hf auth login` or set HF_TOKEN")
        if isinstance(error, errors.RevisionNotFoundError):
            guess = nearest(self.revision or "", self._revisions(hub))
            what = f"is of a revision that {self.repo!r} does not have: {self.revision!r}"
            return location.error(what, f"give one of its branches, tags or commits.{guess}".removesuffix("."))
        if isinstance(error, errors.LocalEntryNotFoundError):
            what = "is not in the hub's cache, and the hub cannot be reached"
            return location.error(what, "check the network, HF_ENDPOINT and HF_HUB_OFFLINE")
        if isinstance(error, errors.EntryNotFoundError):
            return self._not_there(hub, location)
        if isinstance(error, errors.HFValidationError):
            return location.error(f"is no name of a repository ({_first_line(error)})", _FORM)
        return location.error(f"could not be fetched from the hub ({_first_line(error)})", "try again later")

    def _not_there(self, hub: ModuleType, location: Location) -> CheckpointError:
        files = [name for name in self._files(hub) if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".json"))]
        weights = [name for name in files if not name.endswith(".json") or name.endswith(".index.json")]
        listed = f"; it has {', '.join(map(repr, weights[:5]))}{', ...' if len(weights) > 5 else ''}" if weights else ""
        if self.file is None:
            what = f"names a repository with no weights of a usual name ({', '.join(USUAL_NAMES)})"
            return location.error(what, f"name the file{listed}")
        what = f"names a file that {self.repo!r} does not have: {self.file!r}"
        return location.error(what, f"give one that it has{listed}.{nearest(self.file, files)}".removesuffix("."))

    def _files(self, hub: ModuleType) -> list[str]:
        try:
            return list(hub.HfApi().list_repo_files(self.repo, revision=self.revision))
        except Exception:  # An error is being explained: without the list it says less, but it says it.
            return []

    def _revisions(self, hub: ModuleType) -> Iterable[str]:
        try:
            refs: Any = hub.HfApi().list_repo_refs(self.repo)
        except Exception:  # As above.
            return []
        return [ref.name for ref in (*refs.branches, *refs.tags)]


def _leads_out(path: str) -> bool:
    """Whether a path has parts that no repository has, and that mean something else on a disk."""
    return not {"", ".", ".."}.isdisjoint(path.split("/")) or not {"\\", "\0"}.isdisjoint(path)


def _library(location: Location) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as e:
        raise location.error("needs huggingface_hub", 'pip install "torch-autoinit[hub]"') from e
    return huggingface_hub  # type: ignore[no-any-return]


def _first_line(error: Exception | None) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": ")
