"""The report: the plan as it was executed. Nothing in it is inferred from values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ..sampling import VERSION
from .by_name import ByName
from .entries import NEVER_WRITTEN, Entry
from .steps import Load
from .surroundings import COPY_OF

FILLED, KEPT, LOADED, OWN, PENDING = "filled", "kept", "kept: loaded", "own init_weights", "pending"

FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True, kw_only=True)
class ReportEntry(Entry):
    """A plan's entry and what became of it.

    Args:
        outcome: "filled" by its rule; "kept" as its constructor made it; "kept: ..." with the reason, as data and
            where it came from; "copy of ..." if it follows another tensor; "never written" if its memory is whatever
            was there; "own init_weights" if the module's own method wrote it; "pending" while it has no shape.
    """

    outcome: str

    @property
    def gets(self) -> str:
        """What it got, in words."""
        if self.outcome == OWN:
            return "by its module"
        return "" if self.kept is not None else self.given

    @property
    def is_kept(self) -> bool:
        """Whether it was left as it was."""
        return self.outcome.startswith(KEPT)

    @classmethod
    def of(cls, entry: Entry, outcome: str) -> ReportEntry:
        """An entry of a plan, or of a report, with its outcome."""
        return cls(**{name: getattr(entry, name) for name in FIELDS}, outcome=outcome)

    @property
    def is_uncovered(self) -> bool:
        """Whether nothing is known to have covered it: neither a rule, nor a checkpoint, nor a module's own method."""
        return self.outcome in (KEPT, NEVER_WRITTEN) and self.rule is None and self.kept in (None, NEVER_WRITTEN)

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers and lists only."""
        given = super().to_dict()
        first = {key: given.pop(key) for key in ("shape", "dtype", "layer")}
        return {**first, "outcome": self.outcome, **given}


@dataclass(frozen=True, kw_only=True, eq=False)
class Report(ByName[ReportEntry]):
    """A mapping from FQN to `ReportEntry` over every parameter of a model, in model order.

    Args:
        model: class name of the root.
        entries: by FQN.
        seed: of the values; None if nothing was drawn.
        root: index of the model among the roots of its block; the values depend on it.
        loads: the checkpoints that were loaded, with counts of keys that fit and keys that did not.

    Example:
        >>> from torch import nn
        >>> from autoinit import initialize
        >>> report = initialize(
        ...     nn.Linear(2, 2), dict(type="Normal", layer="Linear", std=0.02, bias=1), seed=0
        ... )
        >>> print(report)
        Report of Linear
        parameter  shape  outcome  fill                      rule      beat
        ---------  -----  -------  ------------------------  --------  ----
        weight     2 x 2  filled   Normal(mean=0, std=0.02)  init_cfg
        bias       2      filled   Constant(value=1)         init_cfg
        2 filled; seed 0
    """

    _COLUMNS: ClassVar = ("parameter", "shape", "outcome", "fill", "rule", "beat")
    model: str
    entries: dict[str, ReportEntry]
    seed: int | None = None
    root: int = 0
    loads: tuple[Load, ...] = ()
    version: int = field(default=VERSION)

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Report) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def outcomes(self) -> Counter[str]:
        """How many parameters had each kind of outcome: where data came from, or what is copied, makes no kind."""
        return Counter(_kind(entry.outcome) for entry in self.entries.values())

    @property
    def caption(self) -> str:
        """The totals in one line."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        parts = [counts, *map(str, self.loads), "" if self.seed is None else f"seed {self.seed}"]
        return "; ".join(filter(None, parts))

    def amend(self, entry: Entry, outcome: str) -> None:
        """Say what became of a parameter that was pending."""
        self.entries[entry.fqn] = ReportEntry.of(entry, outcome)

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        given = super().to_dict()
        return {"model": given.pop("model"), "seed": self.seed, "root": self.root, **given}

    def __repr__(self) -> str:
        return f"Report({self.model}: {self.caption})"


def _kind(outcome: str) -> str:
    return "copied" if outcome.startswith(COPY_OF) else outcome.partition(" (")[0]
