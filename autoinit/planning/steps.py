"""What a plan runs besides fills: code and checkpoints that write many parameters at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..checkpoints import Checkpoint
from ..initializers import ModuleFunction
from ..rules import Rule
from .binding import Rank


@dataclass(frozen=True, kw_only=True)
class OwnInit:
    """Call the `init_weights` of the module at `fqn`."""

    fqn: str
    rank: Rank = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """Call a user's initializer of whole modules on the module at `fqn`; `whole` if it is an override's target."""

    fqn: str
    scheme: ModuleFunction
    whole: bool
    rule: Rule
    rank: Rank = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load these keys of a checkpoint into the module at `fqn`; the counts say how the checkpoint fits it."""

    fqn: str
    checkpoint: Checkpoint
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    rule: Rule
    rank: Rank = field(compare=False)

    def __str__(self) -> str:
        return (
            f"{self.rule.origin}: {self.checkpoint.location}: {len(self.keys)} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} mis-shaped"
        )


Step = OwnInit | ModuleCall | Load
