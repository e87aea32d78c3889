"""As much of the Hugging Face hub as its library asks for when it downloads a file or lists a repository."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.http_server import Handler, answer, serve

_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>refs|tree)(?:/(?P<revision>[^/?]+))?")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository of models.

    Args:
        commits: the files of each commit, by name.
        branches: from a name to a commit.
        tags: the same.
        gated: whether it is shown to nobody.
    """

    commits: Mapping[str, Mapping[str, bytes]]
    branches: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    gated: bool = False

    def files(self, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        """The commit that a revision means, and what is in it."""
        commit = self.branches.get(revision) or self.tags.get(revision) or revision
        return (commit, self.commits[commit]) if commit in self.commits else None


def commit(name: str) -> str:
    """A commit's hash."""
    return hashlib.sha1(name.encode()).hexdigest()


class Hub:
    """What to do with a request, given some repositories."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = repositories

    def __call__(self, handler: Handler) -> None:
        if found := _RESOLVE.match(handler.path):
            self._resolve(handler, found["repo"], unquote(found["revision"]), unquote(found["file"]))
        elif found := _API.match(handler.path):
            self._list(handler, found["repo"], found["what"], unquote(found["revision"] or "main"))
        else:
            refuse(handler, 404, "")

    def _resolve(self, handler: Handler, repo: str, revision: str, name: str) -> None:
        repository = self.repositories.get(repo)
        if repository is None:
            return refuse(handler, 401, "RepoNotFound")
        if repository.gated:
            return refuse(handler, 403, "GatedRepo")
        found = repository.files(revision)
        if found is None:
            return refuse(handler, 404, "RevisionNotFound")
        commit, files = found
        if name not in files:
            return refuse(handler, 404, "EntryNotFound", **{"X-Repo-Commit": commit})
        etag = f'"{hashlib.sha256(files[name]).hexdigest()}"'
        return serve(files[name], headers={"X-Repo-Commit": commit, "ETag": etag})(handler)

    def _list(self, handler: Handler, repo: str, what: str, revision: str) -> None:
        repository = self.repositories[repo]
        if what == "refs":
            refs = {
                kind: [
                    {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
                    for name, commit in table.items()
                ]
                for kind, table in (("branches", repository.branches), ("tags", repository.tags), ("converts", {}))
            }
            return send_json(handler, refs)
        found = repository.files(revision)
        assert found is not None
        files = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in found[1].items()]
        return send_json(handler, files)


def refuse(handler: Handler, code: int, why: str, **headers: str) -> None:
    answer(handler, code, {"X-Error-Code": why, "Content-Length": 0, **headers})


def send_json(handler: Handler, content: object) -> None:
    text = json.dumps(content).encode()
    answer(handler, 200, {"Content-Type": "application/json", "Content-Length": len(text)}, text)
