"""From the history of a construction to the traces of the models that were built in it."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..construction import AUTOINIT, ConstructionRecord, Content, Region, has_memory, plain
from ..initializers import Constant, Initializer
from ..planning import PlanContext, Planner, planned
from ..planning.records import Record
from ..rules import Rule
from .call_frames import Origin
from .computed_values import ComputedValues, operator_name
from .history import Event, History
from .traces import Call, Trace, TracedParameter

NORMS = ("norm", "linalg_vector_norm", "_weight_norm")
"""Operators that compute what is stored for the norm of a weight."""
OF_ENTRY = ("fqn", "shape", "dtype", "layer", "aliases", "through", "stored")
"""Of a plan's entry, what a trace has too."""


class ModelCalls:
    """The calls to the parameters of the models of one block.

    Args:
        history: All writes.
        records: What knows which tensors were written unseen.
        roots: The models.
    """

    def __init__(self, history: History, records: Sequence[ConstructionRecord], roots: Iterable[nn.Module]) -> None:
        self._history, self._records = history, records
        self._values = ComputedValues(history)
        self._names: dict[Content, tuple[nn.Module, str]] = {}
        """Root and FQN of the parameter that got a content first."""
        self._planners = [Planner(root, [], PlanContext(rules_only=True)) for root in roots]
        for planner in self._planners:
            planner.collect()
            for record, _, tensor in _tensors(planner):
                for content in (each for event in history.of(tensor) for each in event.contents):
                    self._names.setdefault(content, (planner.root, record.fqn))

    def traces(self) -> Iterator[Trace]:
        """One for each model."""
        for planner in self._planners:
            paths = {id(module): fqn for fqn, module in reversed(planner.modules.items())}
            calls: dict[str, tuple[Call, ...]] = {}
            known: dict[str, Initializer | None] = {}
            for record, name, tensor in _tensors(planner):
                events = self._events(tensor)
                made = self._calls(events, tensor, name, planner.root, record.fqn, paths)
                calls[record.fqn] = (*calls.get(record.fqn, ()), *made)
                known[record.fqn] = self._of_weight_norm(record) if name else self._initializer(events, tensor, record)
            found = {
                fqn: TracedParameter(
                    **{name: getattr(entry, name) for name in OF_ENTRY},
                    calls=calls.get(fqn, ()),
                    initializer=known.get(fqn),
                )
                for fqn, entry in planned(planner).items()
            }
            yield Trace(type(planner.root).__name__, found, planner.root)

    def _events(self, tensor: Tensor) -> list[Event]:
        """The writes to a tensor, with the last one that nothing saw."""
        events = self._history.of(tensor)
        last = events[-1].contents if events else []
        for record in self._records:
            memory = record.find(tensor)
            if memory is not None and memory.writes and memory.writes[-1].content in last:
                content = record.content(tensor)
                if content is not None and content.operator == "unobserved" and content not in last:
                    return [*events, Event(Region.of(tensor), [content], Origin())]
        return events

    def _calls(
        self, events: Sequence[Event], tensor: Tensor, name: str, root: nn.Module, fqn: str, paths: Mapping[int, str]
    ) -> Iterator[Call]:
        """The calls that made some writes; `name` is that of the tensor if it is stored for a parametrized weight."""
        region = Region.of(tensor)
        for at, event in enumerate(events):
            content, origin = event.content, event.origin
            function, arguments, text = self._named(event, root, fqn)
            file, line = origin.file, origin.line
            if content.place is not None and (content.is_data or not file):
                file, line = content.place.code.co_filename, content.place.line
            module = origin.module() if origin.module is not None else None
            own = event.region if region.covers(event.region) else region
            part = "" if event.region.covers(region) else _part(event.region, tensor)
            yield Call(
                function=function,
                arguments=arguments,
                text=text,
                file=file,
                line=line,
                source=linecache.getline(file, line).strip() if file else "",
                module=paths.get(id(module)) if module is not None else None,
                layer=origin.layer,
                part=f"{name}{part}",
                overwritten=any(each.region.covers(own) and not event.is_read_by(each) for each in events[at + 1 :]),
                initializer=self._of_content(content, fqn) if not part else None,
            )

    def _named(self, event: Event, root: nn.Module, fqn: str) -> tuple[str, Mapping[str, object], str]:
        """Function, arguments and text of a call."""
        content = event.content
        if content.operator == AUTOINIT and content.copied_from is None:
            rule, given = _rule_of(content), self._of_content(content, fqn) or "values"
            by = "init_weights or a checkpoint" if rule is None else f"{given} of {rule.origin}"
            return "autoinit", {}, f"autoinit: {by}"
        source = self._source(content)
        if source is not None:
            other, name = source
            return "copy", {}, f"copy of {name}" if other is root else f"copy of {name} of {type(other).__name__}"
        if content.is_data:
            called = content.place.called if content.place is not None else ""
            return called or content.reason or "data", {}, content.describe()
        return self._values.call(content, event.contents)

    def _source(self, content: Content) -> tuple[nn.Module, str] | None:
        """Root and name of the parameter that values are a copy of."""
        copied = content.copied_from
        while copied is not None:
            for each in (copied, copied.whole, *(copied.sources if copied.operator == "mixed" else ())):
                if each in self._names:
                    return self._names[each]
            copied = copied.copied_from
        return None

    def _of_content(self, content: Content, fqn: str) -> Initializer | None:
        """The initializer of what was written to a parameter, by autoinit too."""
        rule = _rule_of(content.original)
        if rule is None:
            return self._values.initializer(content)
        found = rule.scheme_for(self._names.get(content.original, (None, fqn))[1].rpartition(".")[2])
        return found if isinstance(found, Initializer) else None

    def _of_weight_norm(self, record: Record) -> Initializer | None:
        """The initializer of a weight whose norm and direction are those of one tensor."""
        if len(record.tensors) != 2 or any(is_lazy(each) or not has_memory(plain(each)) for each in record.tensors):
            return None
        norm, direction = (self._history.of(plain(each)) for each in record.tensors)
        if len(norm) != 1 or len(direction) != 1 or not operator_name(norm[0].content).startswith(NORMS):
            return None
        whole = direction[0].content.original
        is_one = any(each.original is whole for each in norm[0].content.ancestors())
        return self._values.initializer(whole) if is_one else None

    def _initializer(self, events: Sequence[Event], tensor: Tensor, record: Record) -> Initializer | None:
        """The initializer of the last write of the whole tensor, if all that followed are rows of padding."""
        region = Region.of(tensor)
        padding = [Region.of(tensor.select(record.padding_axis, row)) for row in record.padding]
        for event in reversed(events):
            found = self._of_content(event.content, record.fqn)
            if event.region.covers(region):
                # In a part of what was written, elements need to have the distribution of those of the whole.
                is_alike = event.region == region or (found is not None and found.reads == "nothing")
                return found if is_alike else None
            if event.region not in padding or found != Constant(val=0):
                return None
        return None


def _tensors(planner: Planner) -> Iterator[tuple[Record, str, Tensor]]:
    """The tensors with memory of each parameter; those that are stored for a weight with their names."""
    for record in planner.records:
        for name, tensor in zip(record.stored or ("",), record.tensors, strict=False):
            if not is_lazy(tensor) and has_memory(plain(tensor)):
                yield record, name.rpartition(".")[2], plain(tensor)


def _rule_of(content: Content) -> Rule | None:
    """The rule of autoinit that wrote values, if one did."""
    rules = (each for each in content.numbers if isinstance(each, Rule))
    return next(rules, None) if content.operator == AUTOINIT else None


def _part(region: Region, tensor: Tensor) -> str:
    """The index of a part: `[0]`, `[2:4]`; `[...]` if it is not made of whole rows."""
    whole = Region.of(tensor)
    if tensor.dim() and tensor.is_contiguous() and region.layout is None and len(tensor):
        size = (whole.end - whole.start) // len(tensor)
        first, last = region.start - whole.start, region.end - whole.start
        if size and not first % size and not last % size:
            low, high = max(first // size, 0), min(last // size, len(tensor))
            return f"[{low}]" if high - low == 1 else f"[{low}:{high}]"
    return "[...]"
