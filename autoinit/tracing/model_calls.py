"""From the history of a construction to the traces of the models that were built in it."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..construction import AUTOINIT, ConstructionRecord, Content, Region, has_memory, plain
from ..initializers import Constant, Initializer
from ..planning import PlanContext, Planner, planned
from ..planning.records import Record
from ..rules import Rule
from .calls import Call
from .computed_values import ComputedValues, operator_name
from .history import Event, History
from .traces import Trace, TracedParameter

NORMS = ("norm", "linalg_vector_norm", "_weight_norm")
"""Operators that compute what is stored for the norm of a weight."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A root with its tensors."""

    root: nn.Module
    planner: Planner
    parameters: Mapping[str, TracedParameter]
    """Without calls."""

    @classmethod
    def of(cls, root: nn.Module) -> Model:
        """Walk a root."""
        planner = Planner(root, [], PlanContext(rules_only=True))
        empty = {
            fqn: TracedParameter(
                fqn=fqn,
                shape=entry.shape,
                dtype=entry.dtype,
                layer=entry.layer,
                aliases=entry.aliases,
                through=entry.through,
                stored=entry.stored,
            )
            for fqn, entry in planned(planner).items()
        }
        return cls(root=root, planner=planner, parameters=empty)

    def tensors(self) -> Iterator[tuple[Record, str, Tensor]]:
        """The tensors with memory of each parameter; those that are stored for a weight with their names."""
        for record in self.planner.records:
            names = record.stored or ("",)
            for name, tensor in zip(names, record.tensors, strict=False):
                stored = plain(tensor)
                if not is_lazy(tensor) and has_memory(stored):
                    yield record, name.rpartition(".")[2] if record.stored else "", stored


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
        self._models = [Model.of(root) for root in roots]
        self._names: dict[int, tuple[nn.Module, str]] = {}
        """Root and FQN of the parameter that got a content first, by id."""
        for model in self._models:
            for record, _, tensor in model.tensors():
                for event in history.of(tensor):
                    for content in event.contents:
                        self._names.setdefault(id(content), (model.root, record.fqn))

    def traces(self) -> list[Trace]:
        """One for each model."""
        return [self._trace(model) for model in self._models]

    def _trace(self, model: Model) -> Trace:
        paths = {id(module): fqn for fqn, module in reversed(model.planner.modules.items())}
        found = dict(model.parameters)
        for record, name, tensor in model.tensors():
            events = self._events(tensor)
            calls = tuple(self._calls(events, tensor, model.root, record.fqn, paths))
            calls = tuple([replace(call, part=f"{name}{call.part}") for call in calls]) if name else calls
            known = self._initializer(events, tensor, record) if not record.stored else self._of_weight_norm(record)
            before = found[record.fqn]
            found[record.fqn] = replace(before, calls=(*before.calls, *calls), initializer=known)
        return Trace(type(model.root).__name__, found, model.root)

    def _events(self, tensor: Tensor) -> list[Event]:
        """The writes to a tensor, with the last one that nothing saw."""
        events = self._history.of(tensor)
        for record in self._records:
            memory = record.find(tensor)
            noted = memory is not None and bool(memory.writes) and _is_last(memory.writes[-1].content, events)
            content = record.content(tensor) if noted else None
            if content is not None and content.operator == "unobserved" and not _is_last(content, events):
                return [*events, Event.unseen(Region.of(tensor), content)]
        return events

    def _calls(
        self, events: Sequence[Event], tensor: Tensor, root: nn.Module, fqn: str, paths: Mapping[int, str]
    ) -> Iterator[Call]:
        region = Region.of(tensor)
        for at, event in enumerate(events):
            overwritten = any(
                later.region.covers(event.region if region.covers(event.region) else region)
                and not event.is_read_by(later)
                for later in events[at + 1 :]
            )
            part = "" if event.region.covers(region) else _part(event.region, tensor)
            yield self._call(event, root, fqn, paths, part=part, overwritten=overwritten)

    def _call(
        self, event: Event, root: nn.Module, fqn: str, paths: Mapping[int, str], *, part: str, overwritten: bool
    ) -> Call:
        function, arguments, text = self._named(event, root, fqn)
        origin, place = event.origin, event.content.place
        file, line = origin.file, origin.line
        if place is not None and (event.content.is_data or not file):
            file, line = place.code.co_filename, place.line
        module = origin.module() if origin.module is not None else None
        return Call(
            function=function,
            arguments=arguments,
            text=text,
            file=file,
            line=line,
            source=linecache.getline(file, line).strip() if file else "",
            module=paths.get(id(module)) if module is not None else None,
            layer=origin.layer,
            part=part,
            overwritten=overwritten,
            initializer=self._of_content(event.content, fqn) if not part else None,
        )

    def _named(self, event: Event, root: nn.Module, fqn: str) -> tuple[str, Mapping[str, object], str]:
        """Function, arguments and text of a call."""
        content = event.content
        if content.operator == AUTOINIT and content.copied_from is None:
            rules = [each.origin for each in content.numbers if isinstance(each, Rule)]
            given = self._of_content(content, fqn)
            text = f"{given or 'values'} of {rules[0]}" if rules else "init_weights or a checkpoint"
            return "autoinit", {}, f"autoinit: {text}"
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
                if id(each) in self._names:
                    return self._names[id(each)]
            copied = copied.copied_from
        return None

    def _of_content(self, content: Content, fqn: str) -> Initializer | None:
        """The initializer of what was written to a parameter, by autoinit too."""
        original = content.original
        rules = [each for each in original.numbers if isinstance(each, Rule)] if original.operator == AUTOINIT else []
        if not rules:
            return self._values.initializer(content)
        found = rules[0].scheme_for(self._names.get(id(original), (None, fqn))[1].rpartition(".")[2])
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
                return found if found is None or event.region == region or _is_even(found) else None
            if event.region not in padding or found != Constant(val=0):
                return None
        return None


def _is_last(content: Content, events: Sequence[Event]) -> bool:
    return bool(events) and any(content is each for each in events[-1].contents)


def _is_even(initializer: Initializer) -> bool:
    """Whether the elements of a part have the distribution of those of the whole."""
    return initializer.reads == "nothing"


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
