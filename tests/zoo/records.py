"""The findings of a sweep on disk: a line per model as soon as it is examined, so that a sweep can go on later."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .findings import Findings
from .subjects import LIBRARIES, Subject

REPOSITORY = Path(__file__).parents[2]

Found = Mapping[Subject, Findings]


class Records(dict[Subject, Findings]):
    """The findings of one sweep, in a file that is appended to.

    Args:
        path: is read if it is there and was written under the same `circumstances`; begun anew otherwise.
        circumstances: what findings depend on; the first line of the file.
    """

    def __init__(self, path: Path, circumstances: Mapping[str, str]) -> None:
        super().__init__()
        self._path = path
        header = json.dumps(circumstances, sort_keys=True) + "\n"
        # The last line of an interrupted sweep may be half a line.
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if whole[:1] != [header]:
            whole = [header]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(whole))
        self.update(from_dict(json.loads(line)) for line in whole[1:])

    def add(self, subject: Subject, findings: Findings) -> None:
        self[subject] = findings
        with self._path.open("a") as file:
            file.write(json.dumps(to_dict(subject, findings)) + "\n")


def to_dict(subject: Subject, findings: Findings) -> dict[str, Any]:
    return {"subject": asdict(subject), "findings": findings.to_dict()}


def from_dict(record: Mapping[str, Any]) -> tuple[Subject, Findings]:
    return Subject(**record["subject"]), Findings.from_dict(record["findings"])


def circumstances() -> dict[str, str]:
    """Versions, and the code of autoinit and of the zoo: the findings of a model depend on them."""
    tests = REPOSITORY / "tests"
    files = [*(REPOSITORY / "autoinit").rglob("*.py"), *(tests / "zoo").glob("*.py"), tests / "closed_form.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()
    versions = {package: version(package) for package in ("torch", *LIBRARIES)}
    return {**versions, "python": platform.python_version(), "sources": digest[:12]}
