"""`with trace() as t:` shows what the code of a model does to each parameter, and changes nothing."""

from __future__ import annotations

import html
from contextlib import ExitStack, nullcontext, suppress
from types import TracebackType
from typing import Any

from ..construction import current_watches
from ..errors import AutoInitError, StateError
from ..interception import Observer, close_extent, living_roots, open_extent
from ..modes import without_modes
from .history import History
from .model_calls import ModelCalls
from .traces import Trace


def trace() -> TraceBlock:
    """Show, for each parameter of the models that are built in a block, the calls that filled it.

    It changes nothing: parameters, buffers and the states of all generators are those without it. It may stand around
    an `autoinit` block or in one, and then shows what constructors did to parameters that rules replace, too.

    Returns:
        A context manager; `as t` gives a `Trace`, which is filled when the block ends: that of the only model built
        in it. With several, `t.traces` has one for each.

    Example:
        >>> import torch
        >>> from autoinit import trace
        >>> with trace() as t:
        ...     layer = torch.nn.Linear(4, 3)
        ...     _ = torch.nn.init.trunc_normal_(layer.weight, std=0.02)
        >>> for fqn, calls in t.items():
        ...     print(fqn, [f"{call} ({call.layer})" for call in calls], calls[0].overwritten)
        weight ['kaiming_uniform_(a=2.236) (Linear)', 'trunc_normal_(std=0.02) ()'] True
        bias ['uniform_(a=-0.5, b=0.5) (Linear)'] False
        >>> print(t.fills["weight"])
        TruncNormal(std=0.02)
    """
    return TraceBlock()


class TraceBlock(Trace):
    """What `trace()` returns: a context manager, and afterwards the trace of the only model that was built in it."""

    def __init__(self) -> None:
        self._observer: Observer | None = None
        self._history = History()
        self._traces: tuple[Trace, ...] | None = None
        self._has_built = False

    def __enter__(self) -> TraceBlock:
        if self._observer is not None:
            raise StateError("This trace block is open. For a block inside it, call trace() again.")
        self._history, self._traces = History(), None
        self._observer = Observer(self._history.note)
        open_extent(self._observer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        observer, self._observer = self._observer, None
        if observer is None:
            raise StateError("This trace block is not open.")
        watches = {id(watch): watch for watch in (*current_watches(), observer.watch)}.values()
        close_extent(observer)
        self._has_built = not observer.built.is_empty
        history, self._history, self._traces = self._history, History(), ()
        # A model that is half built may be none that can be walked: the error to see is the one that left it so.
        with ExitStack() as stack, suppress(AutoInitError) if kind is not None else nullcontext():
            for watch in current_watches():
                stack.enter_context(watch.aside())
            stack.enter_context(without_modes())
            records = [watch.record for watch in watches]
            self._traces = tuple(ModelCalls(history, records, living_roots(observer.built)).traces())

    @property
    def traces(self) -> tuple[Trace, ...]:
        """One for each root module that was built in the block, in order, once the block has ended."""
        if self._traces is None:
            raise StateError("The block has not ended: its traces are made when it does. Read them after it.")
        return self._traces

    @property
    def _only(self) -> Trace:
        if len(self.traces) != 1:
            models = ", ".join(trace.model for trace in self.traces) or ("all are gone" if self._has_built else "none")
            raise StateError(f"The block has {len(self.traces)} root modules ({models}), not one. Use t.traces.")
        return self.traces[0]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self._traces)) if self._traces else repr(self)

    def __rich__(self) -> Any:
        # A table of one trace would be an error if there are several.
        from rich.text import Text

        return Text(str(self))

    def _repr_html_(self) -> str:
        """The tables for a notebook."""
        tables = [trace._repr_html_() for trace in self._traces or ()]
        return "".join(tables) or f"<pre>{html.escape(repr(self))}</pre>"

    def __repr__(self) -> str:
        if self._traces is None:
            return "<trace: an open block>" if self._observer is not None else "<trace: a block that was not entered>"
        missing = (
            "the models that were built in the block are gone" if self._has_built else "no model was built in the block"
        )
        return "\n".join(map(repr, self._traces)) or f"<trace: {missing}>"
