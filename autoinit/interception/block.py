"""`with autoinit(cfg):`, and the same as a decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar, cast

from ..config import Config, parse_config
from ..errors import ConfigTypeError, StateError
from ..planning import Fan, OwnInitMode, Policy, Unmatched
from ..rules import Rule
from ..sampling import VERSION, check_seed
from .context import innermost
from .hook import close, open_
from .run import Run

F = TypeVar("F", bound=Callable[..., Any])


def autoinit(
    cfg: Config = None,
    *,
    seed: int | None = None,
    defer: bool = True,
    unmatched: Unmatched = "auto",
    fan: Fan = "auto",
    own_init: OwnInitMode = "auto",
    version: int = VERSION,
    require_coverage: bool = False,
    allow_uncovered: Sequence[str] = (),
) -> Block:
    """Initialize every model that is built in a block, or in a function that this decorates.

    Args:
        cfg: a dict, a list of dicts, the path of a YAML, JSON or TOML file, or `Rule` objects; None for the modules'
            own `init_cfg` alone. It is read now: what the caller does to it later changes nothing.
        seed: any integer fixes every value; None draws one from torch's default generator, if anything is random.
        defer: record what constructors fill parameters with, and do it only for those that no rule covers: at the end,
            or when somebody looks. With False constructors run untouched, and what no rule covers is bitwise as without
            autoinit; with True it is so if no rule matches, and else of the same distribution.
        unmatched: what to do about rules that select nothing: "auto", "error", "warn" or "ignore".
        fan: how fans are read where a rule does not say: "torch" as `torch.nn.init` does, "layer" by the convention of
            each layer, "auto" the former for OpenMMLab's schemes and the latter for all others.
        own_init: Whether to call modules' own `init_weights()`: "auto" if the constructor did not, "run" in any case,
            "skip" never.
        version: the definition of random values; 1 gives those of a report with `version` 1.
        require_coverage: make a parameter that no rule covers an error.
        allow_uncovered: globs over the FQNs of parameters that need not be covered.

    Returns:
        A context manager, which may be entered any number of times, also nested; `as run` gives a `Run`. On a
        generator function, what was built up to a `yield` has its values there.

    Raises:
        ConfigError: at once, for what cannot mean anything.
        MatchError, CoverageError, ShapeError, ParametrizationError, CheckpointError: at the end of the block; every
            parameter is as it was.

    Example:
        >>> import torch
        >>> from autoinit import autoinit
        >>> with autoinit([dict(type="Constant", val=1, layer="Linear")]) as run:
        ...     model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(1, 2))
        >>> [report.model for report in run.reports], model[0].weight.tolist()
        (['Sequential'], [[1.0, 1.0]])
        >>> @autoinit(dict(type="Constant", val=2, layer="Linear"))
        ... def build():
        ...     return torch.nn.Linear(1, 1)
        >>> build().weight.item()
        2.0
    """
    policy = Policy(
        unmatched=unmatched,
        fan=fan,
        own_init=own_init,
        version=version,
        require_coverage=require_coverage,
        allow_uncovered=allow_uncovered,
    )
    return Block(parse_config(cfg), check_seed(seed), policy, defer=defer)


class Block:
    """What `autoinit(...)` returns: a context manager and decorator that can be used again."""

    def __init__(self, rules: tuple[Rule, ...], seed: int | None, policy: Policy, *, defer: bool) -> None:
        self._defer = defer
        self._rules = rules
        self._seed = seed
        self._policy = policy
        self._open: list[Run] = []

    def __enter__(self) -> Run:
        run = self._new_run()
        self._open.append(run)
        open_(run)
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            raise StateError("This autoinit block is not open.")
        # The latest one of the running thread or task; if a generator is closed elsewhere, the latest one.
        run = next((run for run in reversed(self._open) if run.is_here()), self._open[-1])
        self._open.remove(run)
        close(run)
        self._finish(run, failed=kind is not None)

    def _new_run(self) -> Run:
        return Run(self._rules, self._seed, self._policy, outer=innermost(Run), defer=self._defer)

    @staticmethod
    def _finish(run: Run, *, failed: bool, ends: bool = True) -> None:
        # After an exception the models are half built: they keep what their constructors gave them.
        try:
            if not failed:
                run.initialize(ends=ends)
        finally:
            run.deferral.end()

    @contextmanager
    def _resumed(self, run: Run) -> Iterator[None]:
        open_(run)
        try:
            yield
        finally:
            close(run)

    def __call__(self, function: F) -> F:
        """Decorate a function, coroutine function, generator function or asynchronous generator function."""
        if isinstance(function, type) or not callable(function):
            raise ConfigTypeError(
                f"autoinit decorates functions, not {function!r}. Put `with autoinit(...):` around the construction."
            )
        if inspect.isasyncgenfunction(function):
            wrapper = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._around_generator(function)
        elif inspect.iscoroutinefunction(function):
            wrapper = self._around_coroutine(function)
        else:
            wrapper = self._around_function(function)
        return cast(F, functools.wraps(function)(wrapper))

    def _around_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return wrapper

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            run, generator = self._new_run(), function(*args, **kwargs)
            step: Callable[[], Any] = lambda: next(generator)  # noqa: E731
            while True:
                try:
                    with self._resumed(run):
                        item = step()
                except StopIteration as stop:
                    self._finish(run, failed=False)
                    return stop.value
                except BaseException:
                    self._finish(run, failed=True)
                    raise
                self._finish(run, failed=False, ends=False)
                step = yield from _relay(item, generator)

        return wrapper

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            run, generator = self._new_run(), function(*args, **kwargs)
            step: Callable[[], Any] = lambda: generator.asend(None)  # noqa: E731
            while True:
                try:
                    with self._resumed(run):
                        item = await step()
                except StopAsyncIteration:
                    self._finish(run, failed=False)
                    return
                except BaseException:
                    self._finish(run, failed=True)
                    raise
                self._finish(run, failed=False, ends=False)
                try:
                    sent = yield item
                    step = functools.partial(generator.asend, sent)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)

        return wrapper


def _relay(item: Any, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Callable[[], Any]]:
    """Yield an item, and return how the caller wants the generator to go on."""
    try:
        sent = yield item
    except GeneratorExit:
        generator.close()
        raise
    except BaseException as error:
        return functools.partial(generator.throw, error)
    return functools.partial(generator.send, sent)
