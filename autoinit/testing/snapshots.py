"""Snapshots: files that say how models are initialized, to compare with later."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from torch import nn

from ..applying import plan
from ..config import Config
from ..errors import ConfigError, ConfigTypeError, StateError, VerificationError
from ..planning import Plan, Report, cells

FOLDER = "__init_snapshots__"
FORMAT = 2  # Another format may describe the same initialization in other words.
LONGEST = 150  # Characters of a file's name; systems allow 255 bytes.
SHOWN = 40  # Lines of a difference in the text of an exception.
UPDATE = "pytest --autoinit-update"


def outline(decided: Plan | Report) -> str:
    """The rows of a plan or report as text for version control: not aligned, so that one change is one line.

    Each row also has the dtype, and nothing depends on the machine, the folder, the seed or a source line.

    Raises:
        ConfigError: nothing is known of any parameter.

    Example:
        >>> from autoinit import plan
        >>> model = nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4))
        >>> print(outline(plan(model, dict(type="Normal", layer="Linear", std=0.02))), end="")
        # autoinit snapshot, format 2
        Sequential
        0.weight | 4 x 8 | float32 | Normal(mean=0, std=0.02) | init_cfg
        0.bias | 4 | float32 | Constant(value=0) | init_cfg
        1.weight | 4 | float32
        1.bias | 4 | float32
    """
    if all(entry.rule is None and entry.own is None and not entry.kept for entry in decided.values()):
        raise ConfigError(
            f"Nothing is known of how {decided.model} is initialized: there is no rule, and no module has an "
            "init_cfg or an init_weights. Give the config, or the report of the block in which the model was built."
        )
    lines = [f"# autoinit snapshot, format {FORMAT}", decided.model]
    columns = decided.table(full=True).columns[1:]
    for entry in decided.values():
        shape, *rest = (cells.ALL[title](entry) for title in columns)
        # The source line that data came from changes with every edit.
        stable = (cell.partition(" (")[0] if cell.startswith("kept: ") else cell for cell in rest)
        lines.append(" | ".join(filter(None, (entry.fqn, shape, str(entry.dtype).removeprefix("torch."), *stable))))
    text = "\n".join((*lines, *map(str, decided.loads), ""))
    for load in decided.loads:
        place = load.checkpoint.location
        text = text.replace(place, place if "://" in place else re.split(r"[/\\]", place)[-1])
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """The snapshots of one test, in a folder beside it. Called with a model, it compares, or writes.

    Args:
        folder: Folder of the snapshots of the test's file.
        test: Name of the test.
        update: Whether to write a snapshot that differs, rather than fail.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> cfg = dict(type="Normal", layer="Linear", std=0.02)
        >>> Snapshots(folder=folder, test="test_head", update=True)(nn.Linear(4, 2), cfg)
        >>> Snapshots(folder=folder, test="test_head")(nn.Linear(4, 2), cfg)
    """

    folder: Path
    test: str
    update: bool = False
    _taken: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __call__(self, what: nn.Module | Plan | Report, cfg: Config = None, name: str | None = None) -> None:
        """Compare how a model is initialized with the snapshot.

        Args:
            what: A model, which may be on the meta device; or a plan, or a report.
            cfg: Config of a model; None for what its modules define themselves (`init_cfg`, `init_weights`).
            name: Tells the snapshots of one test apart.

        Raises:
            VerificationError: an `AssertionError`: it is initialized in another way, or there is no snapshot.
            StateError: the test has a snapshot of this name already.
            ConfigError: nothing is known of the model's initialization.
        """
        __tracebackhide__ = True
        text = outline(_decided(what, cfg))
        file = file_name(self.test if name is None else f"{self.test}-{name}")
        if file in self._taken:
            why = f"{self.test} compares two models with the snapshot {file}."
            raise StateError(f"{why} Tell them apart: init_snapshot(..., name=...).")
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
    """The name of a snapshot's file, such as `TestNet.test_plan[a%2Fb]-small.txt`, that every file system takes."""
    safe = quote(name, safe="[]=,+ ")
    if len(safe) > LONGEST:
        safe = f"{safe[: LONGEST - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{safe}.txt"


def assert_snapshot(text: str, path: Path, *, update: bool = False) -> None:
    """Require that a file has the text that `outline` returns now.

    Args:
        text: From `outline`.
        path: File of the snapshot.
        update: Write it if it differs or is missing, rather than fail.

    Raises:
        VerificationError: its text is a diff from the file to `text`.
    """
    __tracebackhide__ = True
    now, place = text.splitlines(), "/".join(path.parts[-3:])
    was = path.read_text(encoding="utf-8").splitlines() if path.exists() else None
    if was == now:
        return
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)  # At once: another process may be reading it.
        return
    if was is None:
        why = f"There is no snapshot of how {now[1]} is initialized ({place}). "
        remedy = f"Write it with {UPDATE}, read it, and keep it under version control."
    elif was[:1] != now[:1]:
        why = f"{place} begins with {was[0] if was else ''!r}, and this version of autoinit writes format {FORMAT}. "
        remedy = f"Write it anew with {UPDATE}, from the version of your model that it was made of."
    else:
        lines = list(difflib.unified_diff(was, now, "was", "is", lineterm="", n=2))
        lines[SHOWN:] = [f"... and {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
        why = "\n".join([f"{now[1]} is not initialized as {place} says:", *lines, ""])
        remedy = f"If that is meant, write it with {UPDATE}."
    raise VerificationError(f"{why}{remedy}")
