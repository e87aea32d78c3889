"""`with autoinit(cfg):`, and the same as a decorator."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from torch import nn

from ..config import Config, parse_config
from ..errors import ConfigTypeError, StateError, calling_line, warn_at
from ..planning import Fan, OwnInitMode, Policy, Unmatched
from ..rules import Rule
from ..sampling import VERSION, check_seed
from ..tables import Table
from .hook import close_extent, open_extent
from .scope import Run, innermost

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")

SELECTORS = ("layer", "name", "params")
SHOWN = 3
"""Rules in the repr of a block."""
EXISTING = "For a model that exists already call autoinit.initialize(model, cfg)."
UNUSED = (
    "autoinit(...) was called, but its block was never entered, so it did nothing. Build the model in the block: "
    f"`with autoinit(cfg): model = ...`. {EXISTING}"
)


def _config_alone(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse `autoinit(model, cfg)` with what to write instead; the signature stays as it is."""

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > 1:
            has_model = any(isinstance(arg, nn.Module) for arg in args)
            remedy = EXISTING if has_model else "Put several rules in one list, and name options: seed=0."
            raise ConfigTypeError(f"autoinit(cfg) takes one positional argument, the config, not {len(args)}. {remedy}")
        return function(*args, **kwargs)

    return checked


@_config_alone
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
        cfg: A dict, a list of dicts, the path of a YAML, JSON or TOML file, or `Rule` objects; None for the modules'
            own `init_cfg` alone. It is read now: later changes to it have no effect.
        seed: Any integer fixes every value; None draws a seed from torch's default generator, if anything is random.
        defer: Whether to postpone the fills of constructors and drop those that rules replace. With False constructors
            run untouched, and parameters that no rule covers are bitwise those of plain construction; with True they
            are so if no rule matches, and otherwise have the same distribution.
        unmatched: What to do about rules that match nothing: "auto", "error", "warn" or "ignore".
        fan: Reading of fans where a rule does not say: "torch" as `torch.nn.init` does, "layer" by the convention of
            each layer, "auto" the former for OpenMMLab's schemes and the latter for all others.
        own_init: Whether to call modules' own `init_weights()`: "auto" if the constructor did not, "run" in any case,
            "skip" never.
        version: Version of the definition of random values; 1 gives those of a report with `version` 1.
        require_coverage: Whether a parameter that no rule covers is an error.
        allow_uncovered: Globs over the FQNs of parameters that need not be covered.

    Returns:
        A context manager, which may be entered any number of times, also nested; `as run` gives a `Run`. On a
        generator function, what was built up to a `yield` has its values there.

    Raises:
        ConfigError: at once, for an invalid config.
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
    return Block(parse_config(cfg), check_seed(seed), policy, defer, calling_line())


@dataclass(eq=False, repr=False)
class Block:
    """What `autoinit(...)` returns: a context manager and decorator that can be used again."""

    _rules: tuple[Rule, ...]
    _seed: int | None
    _policy: Policy
    _defer: bool
    _place: tuple[str, int]
    _open: list[Run] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        # Not `__del__`: that would run at the interpreter's exit too, and for every copy.
        self._unused = weakref.finalize(self, warn_at, self._place, UNUSED)
        self._unused.atexit = False

    def __repr__(self) -> str:
        """The first rules, and the options that are not the default."""
        texts = [f"{rule.describe()}: {rule.initializer}" for rule in self._rules[:SHOWN]]
        texts += [f"{len(self._rules) - SHOWN} more rules"] if len(self._rules) > SHOWN else []
        options: list[tuple[str, object, object]] = [("seed", self._seed, None), ("defer", self._defer, True)]
        options += [(each.name, getattr(self._policy, each.name), each.default) for each in fields(self._policy)]
        given = ", ".join(f"{name}={value!r}" for name, value, default in options if value != default)
        return f"Block({'; '.join(filter(None, (', '.join(texts) or 'no rules', given)))})"

    def _repr_html_(self) -> str:
        """Its rules and their overrides as a table for a notebook."""
        rows = []
        for rule in _with_overrides(self._rules):
            selected = (getattr(rule, key) or () for key in SELECTORS)
            names = [", ".join(getattr(each, "__qualname__", each) for each in group) for group in selected]
            rows.append((rule.origin, str(rule.initializer), *names))
        columns = ("rule", "initializer", *SELECTORS)
        return Table(title="A block of autoinit", columns=columns, rows=rows)._repr_html_()

    def __enter__(self) -> Run:
        self._unused.detach()
        scope = self._new_scope()
        self._open.append(scope)
        open_extent(scope)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            raise StateError("This autoinit block is not open.")
        # The latest one of the running thread or task; if a generator is closed elsewhere, the latest one.
        scope = next((scope for scope in reversed(self._open) if scope.is_here()), self._open[-1])
        self._open.remove(scope)
        close_extent(scope, failed=kind is not None)

    def _new_scope(self) -> Run:
        return Run(self._rules, self._seed, self._policy, innermost(), defer=self._defer)

    def __call__(self, function: F) -> F:
        """Decorate a function, coroutine function, generator function or asynchronous generator function."""
        self._unused.detach()
        if isinstance(function, nn.Module):
            raise ConfigTypeError(
                f"autoinit(cfg) was called with a module, {type(function).__name__}, as in model.apply(autoinit(cfg)). "
                f"It initializes what is built in its block: `with autoinit(cfg): model = ...`. {EXISTING}"
            )
        if isinstance(function, type) or not callable(function):
            raise ConfigTypeError(
                f"autoinit decorates functions, not {function!r}. Put `with autoinit(...):` around the construction."
            )

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        def plain(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        wrapper: Callable[..., Any] = coroutine if inspect.iscoroutinefunction(function) else plain
        if inspect.isasyncgenfunction(function):
            wrapper = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._around_generator(function)
        return cast(F, functools.wraps(function)(wrapper))

    @contextmanager
    def _step(self, scope: Run) -> Iterator[None]:
        """Open a block for one step of a generator; modules built so far are final when it yields."""
        open_extent(scope)
        try:
            yield
        except (StopIteration, StopAsyncIteration):
            close_extent(scope, failed=False)
            raise
        except BaseException:
            close_extent(scope, failed=True)
            raise
        close_extent(scope, failed=False, ends=False)

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            scope, generator = self._new_scope(), function(*args, **kwargs)
            step = partial(generator.send, None)
            while True:
                try:
                    with self._step(scope):
                        item = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    step = partial(generator.send, (yield item))
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:
                    step = partial(generator.throw, error)

        return wrapper

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            scope, generator = self._new_scope(), function(*args, **kwargs)
            step = partial(generator.asend, None)
            while True:
                try:
                    with self._step(scope):
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    step = partial(generator.asend, (yield item))
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:
                    step = partial(generator.athrow, error)

        return wrapper


def _with_overrides(rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        yield from _with_overrides(rule.override)
