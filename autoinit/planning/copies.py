"""Which tensors are whole copies of one tensor, and end equal to it (contract O3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..construction import Content
from ..layers import class_name
from .planner import Planner
from .records import Record
from .surroundings import COPY_OF
from .tree import joined

SERIES = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
"""Containers whose children are layers of their own, also if they were copied from one."""


@dataclass(eq=False, kw_only=True)
class Held:
    """A parameter or buffer, and what it holds.

    Args:
        fqn: its name in its root.
        planner: of the root.
        module: has it.
        tensor: the parameter or buffer.
        content: what it holds.
        record: of the parameter that it is, or is stored for; None for a buffer that no rule names.
    """

    fqn: str
    planner: Planner
    module: nn.Module
    tensor: Tensor
    content: Content
    record: Record | None

    @property
    def may_be_written(self) -> bool:
        """Whether it is not kept for a reason of its own: its layer was built elsewhere, or was called before."""
        if self.record is not None:
            return self.record.kept is None
        return self.planner.surroundings.may_touch(self.module)

    @property
    def is_trainable(self) -> bool:
        """A buffer goes by the parameters beside it."""
        if isinstance(self.tensor, nn.Parameter):
            return self.tensor.requires_grad
        params = [param for param in self.module._parameters.values() if param is not None]
        return not params or any(param.requires_grad for param in params)

    @property
    def is_overwritten(self) -> bool:
        """Whether the rule that wins it says that it fills copies."""
        winner = self.record.winner if self.record is not None else None
        return winner is not None and winner.rule.overwrite


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A tensor that gets the values of another one after that is filled."""

    leader: Held
    follower: Held


def find_held(planners: Sequence[Planner], content: Callable[[Tensor], Content | None]) -> list[Held]:
    """Every parameter and buffer of some models that something was written to, each once, in model order."""
    found: list[Held] = []
    seen: set[int] = set()
    for planner in planners:
        for path, module in planner.modules.items():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is None or id(tensor) in seen or is_lazy(tensor) or tensor.is_meta:
                    continue
                seen.add(id(tensor))
                held = content(tensor)
                if held is not None:
                    record = planner.records.of(tensor)
                    fqn = joined(path, name)
                    found.append(
                        Held(fqn=fqn, planner=planner, module=module, tensor=tensor, content=held, record=record)
                    )
    return found


def find_copies(held: Sequence[Held]) -> Iterator[Copy]:
    """The copies among some tensors, each with the first of its kind in model order.

    Copies that stand side by side in one container and can be trained are a series of layers: each gets its own values.
    """
    groups: dict[int, list[Held]] = defaultdict(list)
    for each in (each for each in held if each.may_be_written):
        groups[id(each.content.original)].append(each)
    for group in groups.values():
        if len(group) > 1:
            yield from _copies_in(group)


def _copies_in(group: Sequence[Held]) -> Iterator[Copy]:
    # A buffer, which rules seldom reach, follows a parameter, also one that comes later.
    group = sorted(group, key=lambda each: each.record is None)
    sources = _sources_in(group)
    families: dict[int, list[Held]] = defaultdict(list)
    for each in group:
        first = each
        while id(first) in sources:
            first = sources[id(first)]
        families[id(first)].append(each)
    for leader, *others in families.values():
        for follower in others:
            if leader.record is None or follower.record is not leader.record:
                yield Copy(leader=leader, follower=follower)


def _sources_in(group: Sequence[Held]) -> dict[int, Held]:
    """By id, what each tensor is a copy of. Several that have no source here are copies of one that is gone."""
    by_content = {id(each.content): each for each in reversed(group)}
    series = _series_in(group)
    sources: dict[int, Held] = {}
    first: Held | None = None
    for each in group:
        if id(each) in series or each.is_overwritten:
            continue
        source = _source_of(each, by_content)
        if source is None:
            source, first = first, first or each
        if source is not None:
            sources[id(each)] = source
    return sources


def _source_of(each: Held, by_content: dict[int, Held]) -> Held | None:
    """The nearest tensor that it was copied from, by way of others that are gone or were written to again."""
    content = each.content.copied_from
    same = by_content[id(each.content)]
    if same is not each:
        return same  # Two tensors with one memory.
    while content is not None:
        if id(content) in by_content:
            return by_content[id(content)]
        content = content.copied_from
    return None


def _series_in(group: Sequence[Held]) -> set[int]:
    """The ids of those that are layers of a series."""
    places: dict[tuple[int, str, str], list[Held]] = defaultdict(list)
    for each in group:
        if each.is_trainable:
            parts = each.fqn.split(".")
            for at in range(len(parts) - 1):
                container = each.planner.modules.get(".".join(parts[:at]))
                if isinstance(container, SERIES):
                    places[id(container), ".".join(parts[:at]), ".".join(parts[at + 1 :])].append(each)
    return {id(each) for members in places.values() if len(members) > 1 for each in members}


def mark_copies(copies: Sequence[Copy]) -> None:
    """Let the records of copies say what they follow."""
    for copy in copies:
        if copy.follower.record is not None:
            copy.follower.record.kept = COPY_OF + _name_for(copy)


def _name_for(copy: Copy) -> str:
    leader = copy.leader
    fqn = leader.record.fqn if leader.record is not None else leader.fqn
    if leader.planner is copy.follower.planner:
        return fqn
    return f"{fqn} of {class_name(leader.planner.root)}"
