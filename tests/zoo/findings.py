"""The findings of the checks of one model, as JSON can hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import nn

PLAIN = "plain"
CHECKS = (PLAIN, "identity", "typical", "everything")
# Of what a model has in hundreds the first few say as much as all.
SHOWN = 3


class Difference(NamedTuple):
    """One thing that is not as it has to be: of what kind it is, what, and how."""

    kind: str
    what: str
    how: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """All differences of one kind that a check has found.

    Args:
        check: one of `CHECKS`.
        text: the kind, how many there are, and the first of them.
        theirs: whether it is the same without autoinit.
    """

    check: str
    text: str
    theirs: bool = False


def problems_of(check: str, differences: Iterable[Difference], known: Iterable[Difference] = ()) -> list[Problem]:
    """One problem for each kind, apart for those that are theirs: where two plain constructions differ in the same."""
    excused = {(difference.kind, difference.what) for difference in known}
    groups: dict[tuple[str, bool], list[str]] = {}
    for kind, what, how in differences:
        groups.setdefault((kind, (kind, what) in excused), []).append(f"{what}: {how}")
    return [
        Problem(check=check, text=f"{kind} ({len(found)}): {'; '.join(found[:SHOWN])}", theirs=theirs)
        for (kind, theirs), found in groups.items()
    ]


@dataclass(kw_only=True)
class Findings:
    """All that one model has shown.

    Args:
        model: its class; empty if it could not be built plainly.
        parameters: how many, and `values` how many elements they have.
        pending: how many elements were filled only as a block without rules ended.
        unfilled: the parameters in which its constructor left memory as it was found.
        problems: in the order of the checks.
        seconds: of the construction that each check begins with.
        coverage: by check, what was filled and what was not.
        tests: how many statistical tests were made.
        memory: the highest resident memory of the process, in MiB.
        took: seconds of processor time of the whole examination, which do not depend on what else a machine does.
    """

    model: str = ""
    parameters: int = 0
    values: int = 0
    pending: int = 0
    unfilled: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)
    tests: int = 0
    memory: int = 0
    took: float = 0.0

    @property
    def built(self) -> bool:
        return bool(self.model)

    def describe(self, model: nn.Module) -> None:
        """Note what a plain model is, whose memory was NaN before its constructor ran."""
        params = dict(model.named_parameters())
        real = {name: p for name, p in params.items() if not (nn.parameter.is_lazy(p) or p.is_meta)}
        self.model = type(model).__name__
        self.parameters = len(params)
        self.values = sum(param.numel() for param in real.values())
        self.unfilled = [name for name, param in real.items() if bool(param.isnan().any())]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Findings:
        return cls(**{**found, "problems": [Problem(**problem) for problem in found["problems"]]})
