"""`hf://org/repo/file@revision`: files of the Hugging Face hub, through its own library and cache."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from ..errors import nearest
from .source import USUAL_NAMES, Location, Source

_WRITTEN = re.compile(
    r"(?:models/(?=[^/]+/))?(?P<repo>[^/@]+/[^/@]+)"
    r"(?:@(?P<early>refs/pr/\d+|refs/convert/[\w.-]+|[^/@]+))?"
    r"(?:/(?P<file>.*?))?(?:@(?P<late>[^@]+))?(?<!@)"
)
_FORM = "write hf://org/repo, hf://org/repo/file or hf://org/repo/file@revision"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file in a Hugging Face model repository."""

    repo: str  # Organization or user, and repository name.
    file: str | None  # Path in the repository; None for the first usual checkpoint name that exists.
    revision: str | None  # Branch, tag or commit; None for the main branch.

    @classmethod
    def parse(cls, rest: str, location: Location) -> HubFile:
        """Read a repository, alone or with a file in it; its revision after `@`, at the end or after the repository."""
        found = _WRITTEN.fullmatch(rest)
        if found is None:
            raise location.error("is no name of a repository", _FORM)
        if found["early"] and found["late"]:
            raise location.error("has two revisions", _FORM)
        file, revision = found["file"] or None, unquote(found["early"] or found["late"] or "") or None
        for path in filter(None, (file, revision)):
            # Parts that no repository has, and that mean something else on a disk.
            if not {"", ".", ".."}.isdisjoint(path.split("/")) or not {"\\", "\0"}.isdisjoint(path):
                raise location.error(f"leads out of its repository, at {path!r}, and was refused", _FORM)
        return cls(repo=found["repo"], file=file, revision=revision)

    def fetch(self, location: Location, sha256: str | None) -> Source:
        """The file on this machine; errors are about `location`."""
        try:
            import huggingface_hub as hub
            import huggingface_hub.errors
        except ImportError as e:
            raise location.error("needs huggingface_hub", 'pip install "torch-autoinit[hub]"') from e
        try:
            path = self._download(hub)
        except Exception as e:  # Its HTTP client, which its version decides, has exceptions of its own.
            raise location.error(*self._reason(hub, e)) from e
        again = f"remove {path!r} and the file that it is a link to, and it is downloaded again"
        source = Source(location=location, path=path, again=again)
        source.require_digest(sha256)
        return source

    def sibling(self, name: str, path: str) -> HubFile:
        """The file `name` beside this one, of the commit of `path`, also if the branch has moved meanwhile."""
        folder = PurePosixPath(self.file or "").parent
        commit = Path(path).parents[len(folder.parts)].name
        return replace(self, file=str(folder / name), revision=commit)

    def _download(self, hub: Any) -> str:
        """Path of the file in the hub's cache, or of the first usual name that exists."""

        def is_missing(name: str) -> bool:
            return not isinstance(hub.try_to_load_from_cache(self.repo, name, revision=self.revision), str)

        # Cached files first, so that offline no other is waited for.
        names = [self.file] if self.file is not None else sorted(USUAL_NAMES, key=is_missing)
        missing: list[Exception] = []
        for name in names:
            # Offline, the error says that the file is not here; then the others are looked for in the cache alone.
            offline = bool(missing) and isinstance(missing[0], hub.errors.LocalEntryNotFoundError)
            try:
                return str(hub.hf_hub_download(self.repo, name, revision=self.revision, local_files_only=offline))
            except hub.errors.EntryNotFoundError as e:
                missing.append(e)
        raise missing[0]

    def _reason(self, hub: Any, error: Exception) -> tuple[str, str]:
        """Explanation and remedy for an error of the library."""
        errors = hub.errors
        if isinstance(error, errors.GatedRepoError):
            remedy = f"accept its terms at https://huggingface.co/{self.repo}, then `hf auth login`"
            return "is in a gated repository", remedy
        if isinstance(error, errors.RepositoryNotFoundError):
            what = f"is in a repository that the hub does not have, or does not show to you: {self.repo!r}"
            return what, "check the name; if it is private, `hf auth login` or set HF_TOKEN"
        if isinstance(error, errors.RevisionNotFoundError):
            known: list[str] = []
            with suppress(Exception):  # An error is being explained: without the list it says less.
                refs = hub.HfApi().list_repo_refs(self.repo)
                known = [ref.name for ref in (*refs.branches, *refs.tags)]
            what = f"is of a revision that {self.repo!r} does not have: {self.revision!r}"
            remedy = f"give one of its branches, tags or commits.{nearest(self.revision or '', known)}"
            return what, remedy.removesuffix(".")
        if isinstance(error, errors.LocalEntryNotFoundError):
            what = "is not in the hub's cache, and the hub cannot be reached"
            return what, "check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        if isinstance(error, errors.EntryNotFoundError):
            listed: list[str] = []
            with suppress(Exception):  # As above.
                listed = hub.HfApi().list_repo_files(self.repo, revision=self.revision)
            return self._reason_for_missing(listed)
        said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": ")
        if isinstance(error, errors.HFValidationError):
            return f"is no name of a repository ({said})", _FORM
        return f"could not be fetched from the hub ({said})", "try again later"

    def _reason_for_missing(self, listed: Iterable[str]) -> tuple[str, str]:
        files = [name for name in listed if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".json"))]
        weights = [name for name in files if not name.endswith(".json") or name.endswith(".index.json")]
        shown = f"; it has {', '.join(map(repr, weights[:5]))}{', ...' if len(weights) > 5 else ''}" if weights else ""
        if self.file is None:
            what = f"names a repository with no weights of a usual name ({', '.join(USUAL_NAMES)})"
            return what, f"name the file{shown}"
        what = f"names a file that {self.repo!r} does not have: {self.file!r}"
        return what, f"give one that it has{shown}.{nearest(self.file, files)}".removesuffix(".")
