"""The findings of a sweep on disk: a line per model as soon as it is examined, so that a sweep can go on later."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .findings import Findings
from .subjects import LIBRARIES, Subject

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One model and what it has shown."""

    subject: Subject
    findings: Findings

    def to_dict(self) -> dict[str, Any]:
        return {"subject": asdict(self.subject), "findings": self.findings.to_dict()}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Record:
        return cls(subject=Subject(**found["subject"]), findings=Findings.from_dict(found["findings"]))


class Records:
    """The records of one sweep, in a file that is appended to.

    Args:
        path: is read if it is there and was written under the same `circumstances`; begun anew otherwise.
        circumstances: what findings depend on; the first line of the file.
    """

    def __init__(self, path: Path, circumstances: Mapping[str, str]) -> None:
        self._path = path
        self._found: dict[str, Record] = {}
        header = json.dumps(circumstances, sort_keys=True)
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        if not lines or lines[0].rstrip("\n") != header:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(header + "\n")
            return
        # The last line of an interrupted sweep may be half a line.
        whole = [line for line in lines if line.endswith("\n")]
        path.write_text("".join(whole))
        for line in whole[1:]:
            self._keep(Record.from_dict(json.loads(line)))

    def _keep(self, record: Record) -> None:
        self._found[record.subject.key] = record

    def add(self, record: Record) -> None:
        """Keep a record, and write it down at once."""
        self._keep(record)
        with self._path.open("a") as file:
            file.write(json.dumps(record.to_dict()) + "\n")

    def __contains__(self, subject: Subject) -> bool:
        return subject.key in self._found

    def __iter__(self) -> Iterator[Record]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)


def circumstances() -> dict[str, str]:
    """What a model's findings depend on: versions, and the code of autoinit and of the zoo."""
    tests = REPOSITORY / "tests"
    sources = sorted(
        [*(REPOSITORY / "autoinit").rglob("*.py"), *(tests / "zoo").glob("*.py"), tests / "closed_form.py"]
    )
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    versions = {package: version(package) for package in ("torch", *LIBRARIES)}
    return {**versions, "python": platform.python_version(), "sources": digest[:12]}
