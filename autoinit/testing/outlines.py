"""The plan of a model as text that a person reads and a version control system keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..globs import components
from ..initializers import Initializer, Keep
from ..initializers.pretrained import Pretrained
from ..planning import LOADED, OWN, Entry, Load, Plan, Report, ReportEntry
from ..planning.entries import shape_text

FORMAT = 1
"""Of the text: a later one may say the same in other words."""

HEADER = "# autoinit snapshot, format "
NO_RULE = "its constructor's values"

_ANCESTOR = re.compile("\0(\\d+)\0")
"""Stands for so many of the first components of a line's name: it may be one of many that are shown as one."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is said of one parameter, or of all that differ in the numbers in their names only.

    Args:
        parts: of the name.
        text: the rest.
    """

    parts: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return ".".join(self.parts) + _ANCESTOR.sub(lambda match: ".".join(self.parts[: int(match[1])]), self.text)


def outline(decided: Plan | Report) -> str:
    r"""One line a parameter: its names, shape and dtype, what it gets, and by which rule; no values.

    Parameters that differ only in the numbers in their names share a line. Nothing in the text depends on the machine,
    the folder or the seed.

    Raises:
        ConfigError: nothing is known of any parameter.

    Example:
        >>> from torch import nn
        >>> from autoinit import plan
        >>> model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(12)), nn.LayerNorm(8))
        >>> print(outline(plan(model, dict(type="Normal", layer="Linear", std=0.02))))
        # autoinit snapshot, format 1
        Sequential
        {0..11}.weight (8 x 8, float32): Normal(mean=0, std=0.02), by init_cfg
        {0..11}.bias (8, float32): Constant(value=0), by init_cfg
        12.weight (8, float32): its constructor's values
        12.bias (8, float32): its constructor's values
        <BLANKLINE>
    """
    if all(entry.rule is None and entry.own is None and not entry.kept for entry in decided.values()):
        raise ConfigError(
            f"Nothing is known of how {decided.model} is initialized: there is no rule, and no module has an "
            "init_cfg or an init_weights. Give the config, or the report of the block in which the model was built."
        )
    lines = [Line(parts=tuple(components(entry.fqn)), text=_text(entry, decided.model)) for entry in decided.values()]
    loads = [_ADDRESS.sub("", _load(load)) for load in decided.loads]
    return "\n".join([f"{HEADER}{FORMAT}", decided.model, *map(str, collapsed(lines)), *loads, ""])


def _text(entry: Entry, model: str) -> str:
    names = [str(line) for line in collapsed([Line(parts=tuple(components(name)), text="") for name in entry.aliases])]
    dtype = str(entry.dtype).removeprefix("torch.")
    gets = _ADDRESS.sub("", _gets(entry, model))
    return f"{''.join(f' = {name}' for name in names)} ({shape_text(entry.shape)}, {dtype}): {gets}"


def _gets(entry: Entry, model: str) -> str:
    """The same words for a plan and for the report of what was done by it."""
    outcome = entry.outcome if isinstance(entry, ReportEntry) else ""
    own = "" if entry.own is None else f"init_weights of {_ancestor(entry.own.fqn) or model}"
    if outcome == OWN:
        return own or "init_weights of its module"
    if outcome == LOADED or entry.kept:
        # Without the line that the data came from, which changes with every edit.
        return f"kept: {(entry.kept or 'loaded').partition(' (')[0]}"
    if entry.rule is None:
        return own if own and not outcome else NO_RULE
    scheme = entry.rule.initializer
    if isinstance(scheme, Pretrained):
        gets = f"loaded from {_portable(scheme.checkpoint)}"
    elif isinstance(scheme, Keep):
        gets = "kept"
    else:
        gets = entry.gets if isinstance(scheme, Initializer) else str(scheme)
    return f"{gets}, by {_origin(entry)}{', then ' + own if own and not outcome else ''}"


def _origin(entry: Entry) -> str:
    """Where the rule was written; the name of a module that it is an attribute of is shown as the line's own."""
    parts = components(entry.fqn)
    for depth in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:depth])
        if entry.origin.startswith(f"{prefix}."):
            return _ancestor(prefix) + entry.origin[len(prefix) :]
    return entry.origin


def _ancestor(fqn: str) -> str:
    return f"\0{len(components(fqn))}\0" if fqn else ""


def _portable(text: str) -> str:
    """Without the folders of a local file."""
    return text if "://" in text else re.split(r"[/\\]", text)[-1]


def _load(load: Load) -> str:
    place = load.checkpoint.location
    return str(load).replace(place, _portable(place))


def collapsed(lines: Sequence[Line]) -> list[Line]:
    """The same lines, with those that differ in one number at a time made one, where the first of them was.

    Example:
        >>> names = [f"stages.{stage}.{block}.weight" for stage in (0, 1) for block in (0, 1, 2, 4)]
        >>> print(*collapsed([Line(parts=tuple(name.split(".")), text="") for name in names]))
        stages.{0,1}.{0..2,4}.weight
    """
    made = list(lines)
    for place in reversed(range(max((len(line.parts) for line in lines), default=0))):
        groups: dict[tuple[object, ...], list[Line]] = {}
        for line in made:
            is_number = place < len(line.parts) and _is_number(line.parts[place])
            before, after = line.parts[:place], line.parts[place + 1 :] if is_number else None
            key = (before if is_number else line.parts, after, line.text)
            groups.setdefault(key, []).append(line)
        made = [_merged(group, place) for group in groups.values()]
    return made


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and str(int(part)) == part


def _merged(group: Sequence[Line], place: int) -> Line:
    first = group[0]
    if len(group) == 1:
        return first
    numbers = ",".join(_runs(int(line.parts[place]) for line in group))
    return Line(parts=(*first.parts[:place], f"{{{numbers}}}", *first.parts[place + 1 :]), text=first.text)


def _runs(numbers: Iterable[int]) -> Iterator[str]:
    """Ascending numbers, three or more in a row by their ends."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    for run in runs:
        yield from (f"{run[0]}..{run[-1]}",) if len(run) > 2 else map(str, run)
