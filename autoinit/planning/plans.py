"""The plan: what every parameter of one model will get, and why. It holds names and shapes, no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import nn

from ..errors import StateError
from ..sampling import VERSION
from .by_name import ByName
from .entries import Entry
from .reports import Report
from .steps import Load, Step


class Executor(Protocol):
    """What carries a plan out; it lives on a floor above and is handed down."""

    def __call__(self, plan: Plan, module: nn.Module, *, seed: int | None, prefix: str) -> Report: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(ByName[Entry]):
    """A mapping from FQN to `Entry` over every parameter of a model, in model order.

    Args:
        model: class name of the root.
        entries: by FQN.
        steps: what runs besides fills, in rising precedence.
        initialized: FQNs of modules in OpenMMLab's protocol whose `init_cfg` this plan carries out.
        executor: what `apply` calls.

    Example:
        >>> from torch import nn
        >>> from autoinit import plan
        >>> decided = plan(
        ...     nn.Sequential(nn.Linear(8, 8), nn.PReLU()),
        ...     dict(type="Normal", layer="Linear", std=0.02),
        ... )
        >>> print(
        ...     decided["0.weight"].fill,
        ...     "|",
        ...     decided["0.weight"].rule.origin,
        ...     "|",
        ...     decided.uncovered,
        ... )
        Normal(mean=0, std=0.02) | init_cfg | ('1.weight',)
    """

    _COLUMNS: ClassVar = ("parameter", "shape", "fill", "fans", "rule", "beat")
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

    __hash__ = None  # type: ignore[assignment]

    @property
    def loads(self) -> tuple[Load, ...]:
        """The checkpoints that will be loaded."""
        return tuple(step for step in self.steps if isinstance(step, Load))

    @property
    def runs_loading_code(self) -> bool:
        """Whether a checkpoint is loaded by code of the model."""
        return any(load.coded for load in self.loads)

    def apply(self, module: nn.Module, *, seed: int | None = None, prefix: str = "") -> Report:
        """Carry the plan out on a model of the same parameters: this one, or one that was built elsewhere.

        Args:
            module: has the parameters that were planned for, of the same shapes.
            seed: any integer; None draws one from torch's default generator, if anything is random.
            prefix: name of the module in a larger model; see `initialize`.

        Raises:
            ConfigError: `prefix` is not a module name.
            MatchError: the model is another one; nothing is changed.
            StateError: a parameter that should be filled is on the meta device.

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
        """How many parameters rules cover."""
        return f"{len(self.entries) - len(self.uncovered)} of {len(self.entries)} parameters covered"

    def __repr__(self) -> str:
        counts = f"{len(self.entries)} parameters, {len(self.uncovered)} uncovered, {len(self.steps)} steps"
        return f"Plan({self.model}: {counts})"
