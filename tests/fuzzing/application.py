"""One config applied in the three ways, and what has to be true afterwards whatever it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from autoinit import ApplyError, AutoInitError, CheckpointError, autoinit, initialize, plan

from .limits import BrokenError

Make = Callable[[], nn.Module]
Config = Callable[[], object]
"""Makes the config: each way gets one of its own, for an iterator can be read but once."""

INIT = nn.Module.__init__


def apply(make: Make, config: Config, *, runs_code: bool = False) -> str:
    """Plan, initialize, and build in a block; gives what became of it: "ok" or the name of the error.

    A `BrokenError` says which contract does not hold. A function of the user's (`runs_code`) may fail half way.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _built(make)
        plain = _state(model)
        planned = _judged("plan", lambda: str(plan(model, config())), model, plain)
        done = _judged("initialize", lambda: str(initialize(model, config(), seed=0)), model, plain, runs_code)
        _agree("plan", planned, "initialize", done, runs_code)
        built = _in_block(make, config, plain, runs_code)
        _agree("initialize", done, "autoinit", built, runs_code)
    return "ok" if done is None else type(done).__name__


def _built(make: Make) -> nn.Module:
    torch.manual_seed(1)
    return make()


def _state(model: nn.Module) -> list[Tensor]:
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.detach().clone() for tensor in tensors] + [torch.get_rng_state()]


def _judged(
    way: str, action: Callable[[], object], model: nn.Module, before: list[Tensor], runs_code: bool = False
) -> AutoInitError | None:
    """Run it; the error that is allowed, with everything as it was before."""
    error = _error_of(way, action, runs_code)
    if way == "plan" or (error is not None and not isinstance(error, ApplyError)):
        _check_same(way, before, _state(model))
    return error


def _in_block(make: Make, config: Config, plain: list[Tensor], runs_code: bool) -> AutoInitError | None:
    models: list[nn.Module] = []

    def build() -> None:
        torch.manual_seed(1)
        with autoinit(config(), seed=0):  # type: ignore[arg-type]
            models.append(make())

    error = _error_of("autoinit", build, runs_code)
    if error is not None and models and not isinstance(error, ApplyError):
        _check_same("autoinit", plain, _state(models[0]))
    return error


def _error_of(way: str, action: Callable[[], object], runs_code: bool) -> AutoInitError | None:
    error: AutoInitError | None = None
    try:
        action()
    except AutoInitError as caught:
        error = caught
    _check_hook(way)
    if error is not None:
        _check_error(way, error, runs_code)
    return error


def _check_hook(way: str) -> None:
    if nn.Module.__init__ is not INIT:
        left, nn.Module.__init__ = nn.Module.__init__, INIT  # type: ignore[method-assign]
        raise BrokenError(f"{way} left nn.Module.__init__ as {left!r}")
    if torch_module._global_forward_pre_hooks:
        torch_module._global_forward_pre_hooks.clear()
        raise BrokenError(f"{way} left a forward pre-hook")


def _check_error(way: str, error: AutoInitError, runs_code: bool) -> None:
    if isinstance(error, ApplyError) and not runs_code:
        raise BrokenError(f"{way} failed half way, where the plan should have said: {error}") from error
    if len(str(error)) > 1 << 20:
        raise BrokenError(f"{way}: an error of {len(str(error)):,} letters: {str(error)[:200]}") from error


def _check_same(way: str, before: list[Tensor], after: list[Tensor]) -> None:
    if len(before) != len(after) or not all(map(_equal, before, after)):
        raise BrokenError(f"{way} changed a parameter, a buffer or the generator's state, and should not have")


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and _bits(one) == _bits(other)


def _bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _agree(one: str, first: Exception | None, other: str, second: Exception | None, runs_code: bool) -> None:
    if first is None and isinstance(second, CheckpointError):
        return  # A plan reads the names in a file and not its values, which may be damaged.
    if first is None and isinstance(second, ApplyError) and runs_code:
        return
    if type(first) is not type(second):
        raise BrokenError(f"{one} and {other} disagree: {first!r} and {second!r}")
