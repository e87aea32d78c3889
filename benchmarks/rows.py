"""One line of the result: our figure, the reference's, and whether the goal is reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from autoinit.tables import Table

COLUMNS = ("benchmark", "case", "autoinit", "theirs", "reference", "ratio", "goal", "reached")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measurement beside its reference, smaller being better in both.

    Args:
        bench: the file that measured it.
        case: what was measured.
        ours: the figure of autoinit, in `unit`.
        reference: what it is compared to.
        theirs: the figure of that.
        note: what else has to be said of the reference.
        unit: "s", "us" or "MiB".
        at_most: the goal, if there is one; for the ratio of ours to theirs, unless `goal_for_ours`.
        goal_for_ours: the goal is for our figure itself.
        parameters: how many values the model has, if that is what the case is about.
        threads: how many of torch's threads ran, if not all.
    """

    bench: str
    case: str
    ours: float
    reference: str
    theirs: float
    note: str = ""
    unit: str = "s"
    at_most: float | None = None
    goal_for_ours: bool = False
    parameters: int | None = None
    threads: int | None = None

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        if self.at_most is None:
            return None
        return (self.ours if self.goal_for_ours else self.ratio) <= self.at_most

    def to_dict(self) -> dict[str, object]:
        """The fields, the ratio, and whether the goal is reached."""
        return {**asdict(self), "ratio": self.ratio, "reached": self.reached}

    def cells(self) -> tuple[str, ...]:
        """One string for each of `COLUMNS`."""
        unit = f" {self.unit}" if self.goal_for_ours else ""
        goal = "" if self.at_most is None else f"<= {self.at_most:.3g}{unit}"
        reached = {True: "yes", False: "NO", None: ""}[self.reached]
        ours, theirs = (f"{value:.4g} {self.unit}" for value in (self.ours, self.theirs))
        reference = f"{self.reference} ({self.note})" if self.note else self.reference
        return self.bench, self.case, ours, theirs, reference, f"{self.ratio:.3f}", goal, reached


def tabulate(rows: Iterable[Row], machine: str) -> Table:
    """All rows, under the machine they were measured on."""
    return Table(title=f"Medians on {machine}", columns=COLUMNS, rows=[row.cells() for row in rows])
