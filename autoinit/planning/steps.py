"""What a plan runs besides fills: code and checkpoints that write many parameters at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..checkpoints import Checkpoint
from ..initializers import ModuleFunction
from ..rules import Rule
from .matches import Rank


@dataclass(frozen=True, kw_only=True)
class OwnInit:
    """Call the `init_weights` of the module at `fqn`; `model` is the name of its class."""

    fqn: str
    model: str
    rank: Rank = field(compare=False)

    def __str__(self) -> str:
        return f"{self.model}.init_weights()"


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """Call a user's initializer of whole modules on the module at `fqn`; `whole` if it is an override's target."""

    fqn: str
    scheme: ModuleFunction
    whole: bool
    rule: Rule
    rank: Rank = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Call the `method` by which the layer at `fqn` initializes itself, for those of its `params` that a rule won."""

    fqn: str
    model: str
    method: str
    params: tuple[str, ...]
    rule: Rule
    rank: Rank = field(compare=False)

    def __str__(self) -> str:
        return f"{self.model}.{self.method}()"


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load a checkpoint into the module at `fqn`.

    Args:
        keys: Names of the module that get values.
        missing: Names of the module that the checkpoint does not have; `unexpected` is the reverse.
        mismatched: Names of both, of different shapes.
        other_dtype: Names of both, of which one is of integers, say, and the other of floats.
        kept: Names of the module that would fit and are left alone: loaded by the model itself, built elsewhere.
        coded: Whether modules with loading code of their own decide on some names: until the load is applied, these
            are not counted as missing, unexpected or mismatched.
    """

    fqn: str
    checkpoint: Checkpoint
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    other_dtype: tuple[str, ...]
    rule: Rule
    rank: Rank = field(compare=False)
    kept: tuple[str, ...] = ()
    coded: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the rule selects no tensor of the module."""
        return not (self.keys or self.missing or self.mismatched or self.other_dtype or self.coded)

    def selects(self, name: str) -> bool:
        """Whether the rule is for a tensor of the module: one that its `name` and `params` select."""
        return self.rule.loads(name, is_target=self.rank.override > 0)

    def __str__(self) -> str:
        kept = f", {len(self.kept)} kept as they are" if self.kept else ""
        return (
            f"{self.rule.origin}: {self.checkpoint.location}: {len(self.keys)} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} of another shape, "
            f"{len(self.other_dtype)} of another dtype{kept}"
        )

    def __repr__(self) -> str:
        return f"Load({self})"

    def to_dict(self) -> dict[str, Any]:
        """Strings and lists only."""
        keys = ("missing", "unexpected", "mismatched", "other_dtype", "kept")
        named = {key: list(getattr(self, key)) for key in keys}
        return {"checkpoint": self.checkpoint.location, "loaded": list(self.keys), **named}


Step = OwnInit | ModuleCall | Reset | Load
