"""Tensors that depend on others: whole copies, which end equal to one (O3), and values that a rule makes stale (O4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..construction import Content
from ..errors import warn
from ..layers import class_name
from .conflicts import first_of
from .entries import COPY_OF, NEVER_WRITTEN, ReportEntry
from .planner import Planner
from .plans import Plan, Report
from .records import Record
from .tree import joined

SERIES = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
"""Containers whose children are layers of their own, even if they were copied from one."""


@dataclass(eq=False)
class RecordedTensor:
    """A parameter or buffer that was written to in the block; a copy gets the values of its `leader`.

    A buffer that no rule names has no `record`.
    """

    fqn: str
    planner: Planner
    module: nn.Module
    tensor: Tensor
    content: Content
    record: Record | None
    leader: RecordedTensor | None = None


def recorded_tensors(planners: Sequence[Planner], content: Callable[[Tensor], Content | None]) -> list[RecordedTensor]:
    """Every parameter and buffer of some models that something was written to, each once, in model order.

    Of the copies among them each follows the first of its kind in model order, and its record says so. Copies that
    stand side by side in one container and can be trained are a series of layers: each gets its own values.
    """
    found: list[RecordedTensor] = []
    groups: dict[int, list[RecordedTensor]] = defaultdict(list)
    seen: set[int] = set()
    for planner in planners:
        for path, module in planner.modules.items():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is None or id(tensor) in seen or is_lazy(tensor) or tensor.is_meta:
                    continue
                seen.add(id(tensor))
                held = content(tensor)
                if held is not None:
                    record = planner.records.by_id.get(id(tensor))
                    each = RecordedTensor(joined(path, name), planner, module, tensor, held, record)
                    found.append(each)
                    # Unless it is kept for a reason of its own: its layer was built elsewhere, or was called before.
                    if planner.context.may_touch(module) if record is None else record.kept is None:
                        groups[id(held.original)].append(each)
    for group in groups.values():
        if len(group) > 1:
            _link(group)
    return found


def _link(group: Sequence[RecordedTensor]) -> None:
    """Let the copies among tensors of one origin follow the first of each family."""
    # A buffer, which rules seldom reach, follows a parameter, also one that comes later.
    group = sorted(group, key=lambda each: each.record is None)
    sources = _sources_in(group)
    families: dict[int, list[RecordedTensor]] = defaultdict(list)
    for each in group:
        first = each
        while id(first) in sources:
            first = sources[id(first)]
        families[id(first)].append(each)
    for leader, *others in families.values():
        for follower in others:
            if leader.record is None or follower.record is not leader.record:
                follower.leader = leader
                if follower.record is not None:
                    fqn = leader.record.fqn if leader.record is not None else leader.fqn
                    root = "" if leader.planner is follower.planner else f" of {class_name(leader.planner.root)}"
                    follower.record.kept = COPY_OF + fqn + root


def _sources_in(group: Sequence[RecordedTensor]) -> dict[int, RecordedTensor]:
    """By id, what each tensor is a copy of. Several that have no source here are copies of one that is gone."""
    by_content = {id(each.content): each for each in reversed(group)}
    series = _series_in(group)
    sources: dict[int, RecordedTensor] = {}
    first: RecordedTensor | None = None
    for each in group:
        winner = each.record.winner if each.record is not None else None
        if id(each) in series or (winner is not None and winner.rule.overwrite):
            continue
        source: RecordedTensor | None = by_content[id(each.content)]
        if source is each:  # Not two tensors with one memory: by way of others that are gone or were written again.
            content = each.content.copied_from
            while content is not None and id(content) not in by_content:
                content = content.copied_from
            source = by_content[id(content)] if content is not None else None
        if source is None:
            source, first = first, first or each
        if source is not None:
            sources[id(each)] = source
    return sources


def _series_in(group: Sequence[RecordedTensor]) -> set[int]:
    """The ids of the tensors in layers of a series."""
    places: dict[tuple[int, str, str], list[RecordedTensor]] = defaultdict(list)
    for each in group:
        # A buffer goes by the parameters beside it.
        params = [each.tensor] if isinstance(each.tensor, nn.Parameter) else each.module._parameters.values()
        trained = [param.requires_grad for param in params if param is not None]
        if any(trained) or not trained:
            parts = each.fqn.split(".")
            for at in range(len(parts) - 1):
                path = ".".join(parts[:at])
                container = each.planner.modules.get(path)
                if isinstance(container, SERIES):
                    places[id(container), path, ".".join(parts[at + 1 :])].append(each)
    return {id(each) for members in places.values() if len(members) > 1 for each in members}


def warn_of_stale(tensors: Sequence[RecordedTensor], plans: Sequence[tuple[Planner, Plan]]) -> None:
    """Warn of tensors that were computed from weights which rules now fill with other values."""
    filled: set[int] = set()
    parametrized: set[int] = set()
    for planner, plan in plans:
        for record in planner.records:
            entry = plan.get(record.fqn)
            if entry is not None and entry.gets_values and entry.kept is None:
                filled.add(id(record))
                if record.weight is not None:
                    parametrized.add(id(record.owner))
    replaced: dict[int, RecordedTensor] = {}
    for each in tensors if filled else ():
        if id((each.leader or each).record) in filled:
            replaced[id(each.content)] = each
    warned: dict[tuple[str, str], list[str]] = {}
    for each in tensors if replaced else ():
        if id(each.content) in replaced or each.content.is_data or _belongs_to(each, parametrized):
            continue
        source = next((replaced[id(past)] for past in each.content.ancestors() if id(past) in replaced), None)
        if source is not None:
            warned.setdefault((source.fqn, str(each.content.place or "")), []).append(each.fqn)
    for (weight, place), names in warned.items():
        where = f" at {place}" if place else ""
        warn(
            f"{first_of(names)}: computed{where} from {weight}, which a rule fills afterwards, so that they no longer "
            "agree. Compute it after the block, or give the weight a rule of type 'Keep'."
        )


def _belongs_to(each: RecordedTensor, modules: set[int]) -> bool:
    """Whether a tensor is stored for a parametrized weight of one of these modules, which is set as a whole."""
    parts = each.fqn.split(".")
    owner = each.module
    if "parametrizations" in parts:
        owner = each.planner.modules.get(".".join(parts[: parts.index("parametrizations")]), owner)
    return id(each.module) in modules or id(owner) in modules


def warn_of_unwritten(decided: Iterable[Plan | Report]) -> None:
    """Warn of parameters that nothing wrote to and no rule covers, after any `init_weights` of their module."""
    names = []
    for entries in decided:
        for fqn, entry in entries.items():
            if isinstance(entry, ReportEntry):
                is_unwritten = entry.outcome == NEVER_WRITTEN and entry.own is not None
            else:
                is_unwritten = entry.kept == NEVER_WRITTEN and entry.own is None
            if is_unwritten:
                names.append(fqn)
    if names:
        warn(
            f"{first_of(names)}: nothing was written to this memory, and no rule covers it, so that it holds whatever "
            "was there. Add a rule, or call reset_parameters()."
        )
