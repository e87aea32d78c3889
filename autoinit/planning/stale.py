"""What no longer fits a model once rules have filled it, and memory that nothing has written to (contracts O4, O5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..construction import Content
from ..errors import warn
from .conflicts import first_of
from .copies import Copy, Held
from .entries import NEVER_WRITTEN, Entry
from .planner import Planner
from .plans import Plan
from .records import Record
from .reports import Report, ReportEntry


def warn_of_stale(held: Sequence[Held], copies: Iterable[Copy], plans: Sequence[tuple[Planner, Plan]]) -> None:
    """Warn of tensors that were computed from weights which rules now fill with other values."""
    followed = {id(copy.follower): copy.leader for copy in copies}
    filled = {id(record): record for planner, plan in plans for record in _filled(planner, plan)}
    if not filled:
        return
    replaced: dict[int, Held] = {}
    for each in held:
        leader = followed.get(id(each), each)
        if leader.record is not None and id(leader.record) in filled:
            replaced[id(each.content)] = each
    modules = {id(record.owner) for record in filled.values() if record.weight is not None}
    warned: dict[tuple[str, str], list[str]] = {}
    for each in held:
        if id(each.content) in replaced or each.content.is_data or _belongs_to(each, modules):
            continue
        source = _replaced_source(each.content, replaced)
        if source is not None:
            warned.setdefault((source.fqn, str(each.content.place or "")), []).append(each.fqn)
    for (weight, place), names in warned.items():
        where = f" at {place}" if place else ""
        warn(
            f"{first_of(names)}: computed{where} from {weight}, which a rule fills afterwards, so that they no longer "
            "agree. Compute it after the block, or give the weight a rule of type 'Keep'."
        )


def _filled(planner: Planner, plan: Plan) -> Iterable[Record]:
    for record in planner.records:
        entry = plan.get(record.fqn)
        if entry is not None and entry.gets_values and entry.kept is None:
            yield record


def _replaced_source(content: Content, replaced: dict[int, Held]) -> Held | None:
    return next((replaced[id(each)] for each in content.ancestors() if id(each) in replaced), None)


def _belongs_to(each: Held, modules: set[int]) -> bool:
    """Whether a tensor is stored for a parametrized weight that is set as a whole."""
    if id(each.module) in modules:
        return True
    parts = each.fqn.split(".")
    owner = parts[: parts.index("parametrizations")] if "parametrizations" in parts else None
    return owner is not None and id(each.planner.modules.get(".".join(owner))) in modules


def warn_of_unwritten(decided: Iterable[Plan | Report]) -> None:
    """Warn of parameters in memory that nothing has written to, and that no rule covers.

    Args:
        decided: Plans, for the parameters that no `init_weights` may write, or reports, for those that one left out.
    """
    names = [fqn for entries in decided for fqn, entry in entries.items() if _stays_unwritten(entry)]
    if names:
        warn(
            f"{first_of(names)}: nothing was written to this memory, and no rule covers it, so that it holds whatever "
            "was there. Add a rule, or call reset_parameters()."
        )


def _stays_unwritten(entry: Entry) -> bool:
    if isinstance(entry, ReportEntry):
        return entry.outcome == NEVER_WRITTEN and entry.own is not None
    return entry.kept == NEVER_WRITTEN and entry.own is None
