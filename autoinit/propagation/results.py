"""The result of `propagate`: the signal at every module of a model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import PropagationError
from ..tables import LONG, Result, Table, listed
from .plotting import draw
from .signals import Bounds, Flag, Signal

MEASURED = ("mean", "std", "gain", "dead", "gradient", "norm")
"""Columns of numbers that differ between all modules."""


@dataclass(frozen=True, kw_only=True)
class Propagation(Result, Mapping[str, Signal]):
    """The signal through a model: a mapping from the FQN of each module to its `Signal`, in the order of calls.

    Args:
        model: Class name of the root.
        inputs: Shapes of the inputs.
        bounds: Bounds of the signal.
        signals: By FQN of the module; the root's is empty.
        gradients: By FQN of the parameter, the Euclidean norm of its gradient; NaN if that is not finite, None if there
            is none. Empty without a backward pass.
        unreached: The trainable parameters without a gradient.
        uncalled: The modules that forward does not call.
        flags: Everything that is out of bounds: forward, then backward, then parameter by parameter.
    """

    model: str
    inputs: str
    bounds: Bounds
    signals: Mapping[str, Signal]
    gradients: Mapping[str, float | None]
    unreached: tuple[str, ...]
    uncalled: tuple[str, ...]
    flags: tuple[Flag, ...]

    def __getitem__(self, fqn: str) -> Signal:
        return self.signals[fqn]

    def __iter__(self) -> Iterator[str]:
        return iter(self.signals)

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def ok(self) -> bool:
        """Whether nothing is out of bounds."""
        return not self.flags

    def raise_for_flags(self) -> None:
        """Raise if anything is out of bounds.

        Raises:
            PropagationError: its text lists the first flags; `.propagation` is this result.
        """
        if self.flags:
            text = f"{self.caption}:\n{listed(self.flags)}"
            raise PropagationError(text, fqn=self.flags[0].fqn, propagation=self)

    @property
    def caption(self) -> str:
        """The totals in one line."""
        count = len(self.flags)
        kinds = ", ".join(dict.fromkeys(flag.kind for flag in self.flags))
        found = f"{count} flag{'s' if count > 1 else ''} ({kinds})" if count else "ok"
        return f"{found}; {len(self.signals)} modules of {self.model}; inputs {self.inputs}"

    def flags_by_fqn(self) -> dict[str, list[str]]:
        """The kinds of flags of each module; those of a parameter count for the module that owns it."""
        found: dict[str, dict[str, None]] = {}
        for flag in self.flags:
            owner = flag.fqn.rpartition(".")[0] if flag.fqn in self.gradients else flag.fqn
            found.setdefault(owner, {})[flag.kind] = None
        return {fqn: list(kinds) for fqn, kinds in found.items()}

    def table(self, *, full: bool = False) -> Table:
        """One row per module.

        Args:
            full: Whether to show every module of a large model in the order of calls. By default modules that differ
                only in numbers of their names share a row with the lowest and highest values, and flagged ones come
                first.
        """
        flagged = self.flags_by_fqn()
        rows = [
            (
                fqn,
                signal.layer,
                str(signal.calls) if signal.calls > 1 else "",
                _text(signal.mean, "+.2g"),
                *map(_text, (signal.std, signal.gain)),
                _text(signal.dead or None, ".0%"),
                *map(_text, (signal.gradient, signal.gradient_norm)),
                ", ".join(flagged.get(fqn, ())),
            )
            for fqn, signal in self.signals.items()
        ]
        is_long = len(rows) > LONG and not full
        table = Table(
            title=f"Propagation through {self.model}",
            columns=("module", "layer", "calls", *MEASURED, "flags"),
            rows=sorted(rows, key=lambda row: not row[-1]) if is_long else rows,
            caption=self.caption,
            optional=("calls", "mean", "norm", "dead", "gradient"),
        )
        return table.folded(MEASURED) if is_long else table

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Plot std of the outputs and size of the gradients, module by module, and mark the flags.

        Args:
            path: File to write; its suffix is the format: `.svg`, `.png`, `.pdf`.

        Raises:
            StateError: matplotlib is not installed.
        """
        draw(self.signals, self.flags_by_fqn(), self.bounds, f"{self.model}: {self.caption}", path)

    def to_dict(self) -> dict[str, Any]:
        """Strings, numbers, lists and dicts; numbers that are not finite are None."""
        everything = {
            "model": self.model,
            "inputs": self.inputs,
            "ok": self.ok,
            "bounds": asdict(self.bounds),
            "flags": [asdict(flag) for flag in self.flags],
            "modules": {fqn: {**asdict(signal), "gain": signal.gain} for fqn, signal in self.signals.items()},
            "gradients": dict(self.gradients),
            "unreached": self.unreached,
            "uncalled": self.uncalled,
        }
        return {key: _plain(value) for key, value in everything.items()}

    def __repr__(self) -> str:
        return f"Propagation({self.model}: {self.caption})"


def _text(value: float | None, form: str = ".3g") -> str:
    return "" if value is None else format(value, form)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
