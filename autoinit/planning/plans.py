"""The plan: what every parameter of one model will get, and why. The report: the plan as it was executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from ..errors import StateError
from ..sampling import VERSION
from .by_name import ByName
from .entries import COPY_OF, Entry, ReportEntry
from .steps import Load, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class Report(ByName[ReportEntry]):
    """A mapping from FQN to `ReportEntry` over every parameter of a model, in model order.

    Nothing in it is inferred from values.

    Args:
        model: Class name of the root.
        entries: Entries by FQN.
        seed: Seed of the values; None if nothing was drawn.
        root: Index of the model among the roots of its block; the values depend on it.
        loads: The checkpoints that were loaded, with counts of keys that fit and keys that did not.

    Example:
        >>> from torch import nn
        >>> from autoinit import initialize
        >>> report = initialize(
        ...     nn.Linear(2, 2), dict(type="Normal", layer="Linear", std=0.02, bias=1), seed=0
        ... )
        >>> print(report)
        Report of Linear
        parameter  shape  outcome  fill                      rule
        ---------  -----  -------  ------------------------  --------
        weight     2 x 2  filled   Normal(mean=0, std=0.02)  init_cfg
        bias       2      filled   Constant(value=1)         init_cfg
        2 filled; seed 0
    """

    _COLUMNS: ClassVar = ("parameter", "shape", "outcome", "fill", "rule", "overrides")
    model: str
    entries: dict[str, ReportEntry]
    seed: int | None = None
    root: int = 0
    loads: tuple[Load, ...] = ()
    version: int = field(default=VERSION)

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, Report) else NotImplemented

    @property
    def outcomes(self) -> Counter[str]:
        """How many parameters had each kind of outcome: where data came from, or what is copied, makes no kind."""
        counts: Counter[str] = Counter()
        for entry in self.entries.values():
            counts["copied" if entry.outcome.startswith(COPY_OF) else entry.outcome.partition(" (")[0]] += 1
        return counts

    @property
    def caption(self) -> str:
        """The totals in one line."""
        counts = ", ".join([f"{count} {outcome}" for outcome, count in self.outcomes.items()])
        parts = [counts, *map(str, self.loads), "" if self.seed is None else f"seed {self.seed}"]
        return "; ".join(filter(None, parts))

    def amend(self, entry: Entry, outcome: str) -> None:
        """Set the outcome of a parameter that was pending."""
        self.entries[entry.fqn] = ReportEntry.of(entry, outcome)

    def to_dict(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        given = super().to_dict()
        return {"model": given.pop("model"), "seed": self.seed, "root": self.root, **given}

    def __repr__(self) -> str:
        return f"Report({self.model}: {self.caption})"


Executor = Callable[..., Report]
"""What applies a plan: `executor(plan, module, seed=, prefix=)`. It lives on a floor above."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(ByName[Entry]):
    """A mapping from FQN to `Entry` over every parameter of a model, in model order.

    It holds names and shapes, no tensors.

    Args:
        model: Class name of the root.
        entries: Entries by FQN.
        steps: What runs besides fills, in rising precedence.
        initialized: FQNs of modules in OpenMMLab's protocol whose `init_cfg` this plan applies.
        executor: What `apply` calls.

    Example:
        >>> from torch import nn
        >>> from autoinit import plan
        >>> decided = plan(
        ...     nn.Sequential(nn.Linear(8, 8), nn.PReLU()),
        ...     dict(type="Normal", layer="Linear", std=0.02),
        ... )
        >>> weight = decided["0.weight"]
        >>> print(weight.fill, "|", weight.rule.origin, "|", decided.uncovered)
        Normal(mean=0, std=0.02) | init_cfg | ('1.weight',)
    """

    _COLUMNS: ClassVar = ("parameter", "shape", "fill", "fans", "rule", "overrides")
    model: str
    entries: Mapping[str, Entry]
    steps: tuple[Step, ...] = ()
    initialized: tuple[str, ...] = ()
    version: int = VERSION
    executor: Executor | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (self.model, dict(self.entries), self.steps) == (other.model, dict(other.entries), other.steps)

    @property
    def loads(self) -> tuple[Load, ...]:
        """The checkpoints that will be loaded."""
        return tuple([step for step in self.steps if isinstance(step, Load)])

    @property
    def runs_loading_code(self) -> bool:
        """Whether code of the model loads a checkpoint."""
        return any(isinstance(step, Load) and step.coded for step in self.steps)

    def apply(self, module: nn.Module, *, seed: int | None = None, prefix: str = "") -> Report:
        """Apply the plan to a model with the same parameters: this one, or one that was built elsewhere.

        Args:
            module: Model with the parameters that were planned for, of the same shapes.
            seed: Any integer; None draws one from torch's default generator, if anything is random.
            prefix: Name of the module in a larger model; see `initialize`.

        Raises:
            ConfigError: `prefix` is not a module name.
            MatchError: The model is another one; nothing is changed.
            StateError: A parameter that should be filled is on the meta device.

        Example:
            >>> import torch
            >>> from autoinit import plan
            >>> layer = torch.nn.Linear(2, 2)
            >>> report = plan(layer, dict(type="Constant", val=1, layer="Linear")).apply(layer)
            >>> report["weight"].outcome, layer.weight.tolist()
            ('filled', [[1.0, 1.0], [1.0, 1.0]])
        """
        if self.executor is None:
            raise StateError("This plan was not made by autoinit.plan(), and nothing can carry it out.")
        return self.executor(self, module, seed=seed, prefix=prefix)

    @property
    def caption(self) -> str:
        """How many parameters rules cover, and the first weight whose fans torch and its layer read differently."""
        covered = f"{len(self.entries) - len(self.uncovered)} of {len(self.entries)} parameters covered"
        differ = [entry for entry in self.entries.values() if entry.other_fans and entry.kept is None]
        if not differ:
            return covered
        first, more = differ[0], f" and {len(differ) - 1} more" if len(differ) > 1 else ""
        read, other = (", ".join(map(str, fans)) for fans in (first.fans, first.other_fans))
        return f"{covered}; fans of {first.fqn}{more} are read as {read}; fan='layer' reads {other}"

    def __repr__(self) -> str:
        counts = f"{len(self.entries)} parameters, {len(self.uncovered)} uncovered, {len(self.steps)} steps"
        return f"Plan({self.model}: {counts})"
