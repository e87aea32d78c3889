"""Files that say how models are initialized, and tests that it is still so."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from torch import nn

from ..applying import plan
from ..config import Config
from ..errors import ConfigTypeError, StateError, VerificationError
from ..planning import Plan, Report
from .outlines import FORMAT, outline

FOLDER = "__init_snapshots__"
LONGEST = 150
"""Of a file's name, which systems allow 255 bytes."""

UPDATE = "pytest --autoinit-update"


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """The snapshots of one test, in a folder beside it. Called with a model, it compares, or writes.

    Args:
        folder: of the test's file.
        test: name of the test.
        update: whether to write what differs, rather than fail.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> cfg = dict(type="Normal", layer="Linear", std=0.02)
        >>> Snapshots(folder=folder, test="test_head", update=True)(nn.Linear(4, 2), cfg)
        >>> print((folder / "test_head.txt").read_text(), end="")
        # autoinit snapshot, format 1
        Linear
        weight (2 x 4, float32): Normal(mean=0, std=0.02), by init_cfg
        bias (2, float32): Constant(value=0), by init_cfg
        >>> Snapshots(folder=folder, test="test_head")(nn.Linear(4, 2), cfg)
    """

    folder: Path
    test: str
    update: bool = False
    _taken: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __call__(self, what: nn.Module | Plan | Report, cfg: Config = None, name: str | None = None) -> None:
        """Compare how a model is initialized with what the snapshot says.

        Args:
            what: a model, which may be on the meta device; or a plan, or a report.
            cfg: for a model; None for what its modules say themselves (`init_cfg`, `init_weights`).
            name: tells the snapshots of one test apart.

        Raises:
            VerificationError: an `AssertionError`: it is initialized in another way, or there is no snapshot.
            StateError: the test has a snapshot of this name already.
            ConfigError: nothing is known of the model's initialization.
        """
        __tracebackhide__ = True
        text = outline(_decided(what, cfg))
        file = file_name(self.test if name is None else f"{self.test}-{name}")
        if file in self._taken:
            raise StateError(
                f"{self.test} compares two models with the snapshot {file}. Tell them apart: "
                "init_snapshot(..., name=...)."
            )
        self._taken.add(file)
        assert_snapshot(text, self.folder / file, update=self.update)


def _decided(what: object, cfg: Config) -> Plan | Report:
    if isinstance(what, nn.Module):
        return plan(what, cfg)
    if not isinstance(what, (Plan, Report)):
        raise ConfigTypeError(
            f"init_snapshot(): {what!r} is a {type(what).__name__}, not a torch.nn.Module, Plan or Report."
        )
    if cfg is not None:
        raise ConfigTypeError(f"init_snapshot(): a {type(what).__name__} has its rules already; cfg goes with a model.")
    return what


def file_name(name: str) -> str:
    """A name that every file system takes, another one for each snapshot.

    Example:
        >>> file_name("TestNet.test_plan[a/b]-small")
        'TestNet.test_plan[a%2Fb]-small.txt'
    """
    safe = quote(name, safe="[]=,+ ")
    if len(safe) > LONGEST:
        safe = f"{safe[: LONGEST - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{safe}.txt"


def assert_snapshot(text: str, path: Path, *, update: bool = False) -> None:
    """Require that a file says what `outline` says now.

    Args:
        text: from `outline`.
        path: of the snapshot.
        update: write it if it differs or is missing, rather than fail.

    Raises:
        VerificationError: with a diff from what the file says to what is.
    """
    __tracebackhide__ = True
    known = path.read_text(encoding="utf-8") if path.exists() else None
    if known is not None and known.splitlines() == text.splitlines():
        return
    if update:
        _write(path, text)
        return
    model = text.splitlines()[1]
    place = "/".join(path.parts[-3:])
    if known is None:
        raise VerificationError(
            f"There is no snapshot of how {model} is initialized ({place}). Write it with {UPDATE}, read it, and "
            "keep it under version control."
        )
    was, now = known.splitlines(), text.splitlines()
    if was[:1] != now[:1]:
        raise VerificationError(
            f"{place} begins with {was[0] if was else ''!r}, and this version of autoinit writes format {FORMAT}. "
            f"Write it anew with {UPDATE}, from the version of your model that it was made of."
        )
    raise VerificationError(
        f"{model} is not initialized as {place} says:\n{_diff(was, now)}\nIf that is meant, write it with {UPDATE}."
    )


def _diff(was: Sequence[str], now: Sequence[str]) -> str:
    lines = difflib.unified_diff(was, now, "was", "is", lineterm="", n=2)
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    """As a whole: another process may be reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
