"""What two plans, reports or traces do differently, parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ..errors import ConfigTypeError
from ..planning import Plan, Report
from ..planning.cells import by_position
from ..planning.entries import shape_text
from ..tables import Result, Table
from .traces import Trace

MISSING = "(missing)"
"""What the table shows for a parameter that only the other one has."""
Cells = Mapping[str, str]

Compared: TypeAlias = Plan | Report | Trace | dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What differs for one parameter.

    Args:
        fqn: Its name.
        what: "shape", "fill", "rule", "outcome" or "calls"; "parameter" if only one of the two has it.
        first: Its value in the first.
        second: Its value in the second.
    """

    fqn: str
    what: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Difference(Result, Sequence[Change]):
    """What differs between two plans, reports or traces; false if nothing does.

    Args:
        kind: "Plan", "Report" or "Trace".
        models: Class names of both models.
        changes: One for each parameter and column that differs, in model order.
        total: How many parameters the two have together.

    Example:
        >>> from torch import nn
        >>> from autoinit import plan
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
        >>> narrow, wide = (
        ...     plan(model, dict(type="Normal", layer="Linear", std=std)) for std in (0.02, 0.05)
        ... )
        >>> print(diff(narrow, wide))
        Difference of two plans of Sequential
        parameter     what  first            second           count
        ------------  ----  ---------------  ---------------  -----
        {0,1}.weight  fill  Normal(0, 0.02)  Normal(0, 0.05)  x2
        2 of 4 parameters differ
        >>> bool(diff(narrow, narrow))
        False
    """

    kind: str
    models: tuple[str, str]
    changes: tuple[Change, ...]
    total: int

    def __getitem__(self, index: Any) -> Any:
        return self.changes[index]

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def fqns(self) -> tuple[str, ...]:
        """The parameters that differ, in model order."""
        return tuple(dict.fromkeys(change.fqn for change in self.changes))

    @property
    def caption(self) -> str:
        """The totals in one line."""
        alone = [change for change in self.changes if change.what == "parameter"]
        second = sum(change.first == MISSING for change in alone)
        counts = ((len(alone) - second, "first"), (second, "second"))
        parts = [f"{count} only in the {name}" for count, name in counts if count]
        return "; ".join([f"{len(self.fqns)} of {self.total} parameters differ", *parts])

    def table(self, *, full: bool = False) -> Table:
        """One row per difference: parameter, what differs, and both values.

        Args:
            full: Whether to show every parameter. By default parameters that differ only in numbers of their names
                share a row, and fills are short: `Uniform(±0.125)`.
        """
        one, other = self.models
        of = one if one == other else f"{one} and {other}"
        shown: Callable[[str], str] = str if full else by_position
        table = Table(
            title=f"Difference of two {self.kind.lower()}s of {of}",
            columns=("parameter", "what", "first", "second"),
            rows=[(change.fqn, change.what, shown(change.first), shown(change.second)) for change in self.changes],
            caption=self.caption,
        )
        return table if full else table.folded()

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        found: dict[str, dict[str, Any]] = {}
        for change in self.changes:
            found.setdefault(change.fqn, {})[change.what] = {"first": change.first, "second": change.second}
        return {"kind": self.kind, "models": list(self.models), "total": self.total, "parameters": found}

    def __repr__(self) -> str:
        return f"Difference({self.caption})"


def diff(a: Compared, b: Compared) -> Difference:
    """What differs between two plans, two reports or two traces.

    Use it for two configs on one model, for one model under two versions of a library, or for two models. Rules are
    compared by what they select and not by where they were written, calls without their lines.

    Args:
        a: A plan, report or trace, or what its `to_dict()` returned.
        b: Another of the same kind.

    Returns:
        The differences; false if there are none.

    Raises:
        ConfigTypeError: Not two of the same kind.

    Example:
        >>> from torch import nn
        >>> from autoinit import plan
        >>> before = plan(nn.Linear(8, 8), dict(type="Normal", layer="Linear", std=0.02))
        >>> after = plan(nn.Linear(8, 8, bias=False), dict(type="Normal", layer="Linear", std=0.02))
        >>> [(change.fqn, change.what, change.second) for change in diff(before, after)]
        [('bias', 'parameter', '(missing)')]
    """
    kind, other = _kind(a), _kind(b)
    if kind != other:
        raise ConfigTypeError(
            f"diff(): a {kind} and a {other} cannot be compared. Give two plans, two reports or two traces."
        )
    is_saved = isinstance(a, dict) or isinstance(b, dict)
    (first, one), (second, two) = (_model_and_cells(each, is_saved) for each in (a, b))
    fqns = dict.fromkeys([*one, *two])
    changes = tuple([change for fqn in fqns for change in _changes(fqn, one.get(fqn), two.get(fqn))])
    return Difference(kind=kind, models=(first, second), changes=changes, total=len(fqns))


def _kind(value: object) -> str:
    """Kind of a result, or of its `to_dict()`."""
    for kind in (Plan, Report, Trace):
        if isinstance(value, kind):
            return kind.__name__
    found = value if isinstance(value, dict) else {}
    if not isinstance(found.get("parameters"), dict) or "model" not in found:
        raise ConfigTypeError(f"diff(): {value!r} is a {type(value).__name__}, not a plan, report or trace.")
    keys = {key for parameter in found["parameters"].values() for key in parameter}
    return "Trace" if "calls" in keys else "Report" if "outcome" in keys else "Plan"


def _model_and_cells(value: Compared, is_saved: bool) -> tuple[str, Mapping[str, Cells]]:
    """Class name of the model, and what is compared of each parameter, by FQN and then by column."""
    found = value if isinstance(value, dict) else value.to_dict()
    cells = {fqn: _cells(parameter) for fqn, parameter in found["parameters"].items()}
    if not is_saved and isinstance(value, Plan | Report):
        # What was saved does not include the contents of rules.
        rules = {id(entry.rule): entry.rule for entry in value.values() if entry.rule is not None}
        described = {key: replace(rule, origin="rule").describe() for key, rule in rules.items()}
        for fqn, entry in value.items():
            cells[fqn] |= {"fill": entry.gets, "rule": described.get(id(entry.rule), "")}
    return str(found["model"]), cells


def _cells(parameter: Mapping[str, Any]) -> dict[str, str]:
    """What is compared of one parameter in a result's `to_dict()`."""
    cells = {"shape": shape_text(parameter["shape"])}
    if "outcome" in parameter:
        cells["outcome"] = str(parameter["outcome"]).partition(" (")[0]
    if "calls" in parameter:
        cells["calls"] = ", then ".join(call["call"] for call in parameter["calls"] if not call["overwritten"])
    else:
        cells["fill"] = parameter["fill"] or ""
    return cells


def _changes(fqn: str, one: Cells | None, other: Cells | None) -> Iterator[Change]:
    if one is None or other is None:
        present = one or other or {}
        text = ", ".join(filter(None, (present["shape"], present.get("fill"), present.get("calls"))))
        first, second = (text, MISSING) if other is None else (MISSING, text)
        yield Change(fqn=fqn, what="parameter", first=first, second=second)
        return
    differing = [what for what in one if one[what] != other[what]]
    for what in differing:
        # Where the fills differ, so do the rules, and the fills say more.
        if what != "rule" or differing == ["rule"]:
            yield Change(fqn=fqn, what=what, first=one[what], second=other[what])
