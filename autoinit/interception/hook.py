"""What is noticed while a block is open: constructions, deep copies, loads, calls of `init_weights`, first calls."""

from __future__ import annotations

import copyreg
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch._C import _len_torch_function_stack
from torch._guards import TracingContext
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from .. import applying, parametrized
from ..deferral import Deferrer
from ..patches import Patches
from ..planning import ENGINES
from .context import innermost, is_paused_within
from .loading import LOADERS, on_embedding, on_load, on_loader, on_setstate
from .run import Run

_patches = Patches()
_open: list[Run] = []
_lock = threading.RLock()
_call_hook: list[RemovableHandle] = []
_classes: set[type] = set()
"""Those whose methods are being watched, or which have none of interest."""


def open_(run: Run) -> None:
    """Let a run notice what its thread or task does."""
    _patches.acquire()
    with _lock:
        _open.append(run)
    run.deferral.begin()
    run.begin()


def close(run: Run) -> None:
    """Stop that; with the last run, all traces go."""
    run.end()
    with _lock:
        _open.remove(run)
        if not _open:
            _classes.clear()
        _unhook_calls_if_idle()
    _patches.release()


def _runs_of(module: nn.Module) -> Iterator[Run]:
    """The open runs that a module was built in, inner before outer, from whatever thread it is used now."""
    return (run for run in _open[::-1] if module in run.census)


def _on_init(wrapped: Callable[..., None], instance: nn.Module, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    run = innermost(Run)
    # What torch.compile builds while it traces is a picture of a model, not one.
    if run is None or ("torch._dynamo" in sys.modules and TracingContext.try_get() is not None):
        return
    run.notice(instance)
    if not _call_hook:
        _hook_calls()
    if type(instance) not in _classes:
        _watch(type(instance))


def _watch(cls: type) -> None:
    """Patch what a class, or one of its ancestors, has of its own that the block has to know of."""
    _classes.add(cls)
    for base in cls.__mro__:
        for name, wrapper in WATCHED.items():
            # A plain method: some classes have an option or a property of that name.
            if isinstance(base.__dict__.get(name), FunctionType) and base.__module__ not in ENGINES:
                _patches.also(base, name, wrapper)


def _on_init_weights(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(instance, nn.Module):
        for run in _runs_of(instance):
            run.census.called.add(id(instance))
    return wrapped(*args, **kwargs)


class Remake:
    """Makes the empty object that a copy of a module starts as, and records it beside its original.

    `copy.deepcopy` calls no constructor. It asks the original how to be made again (`__reduce_ex__`), which is where
    this is handed out; so no module has to carry a mark that copies would inherit and somebody would have to remove.
    """

    def __init__(self, original: nn.Module) -> None:
        self._original = original

    def __call__(self, cls: type[nn.Module], *args: object) -> nn.Module:
        made: nn.Module = copyreg.__newobj__(cls, *args)  # type: ignore[attr-defined]
        _note_copy(made, self._original)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled inside a block, a module must not need autoinit to be read again.
        return functools.partial, (copyreg.__newobj__,)  # type: ignore[attr-defined]


def _on_reduce(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    value = wrapped(*args, **kwargs)
    if isinstance(value, tuple) and value[0] is copyreg.__newobj__ and any(True for _ in _runs_of(instance)):  # type: ignore[attr-defined]
        return (Remake(instance), *value[1:])
    return value


def _on_deepcopy(wrapped: Callable[..., Any], instance: nn.Module, args: Any, kwargs: Any) -> Any:
    made = wrapped(*args, **kwargs)
    if isinstance(made, nn.Module) and made is not instance:
        _note_copy(made, instance)
    return made


def _note_copy(copy: nn.Module, original: nn.Module) -> None:
    for run in _runs_of(original):
        if copy not in run.census and not is_paused_within(run):
            run.census.add_copy(copy, original)


def _on_new_class(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """A module that gets its first parametrization gets a class of its own, which has its own way to be copied."""
    value = wrapped(*args, **kwargs)
    module: nn.Module = args[0] if args else kwargs["module"]
    if any(True for _ in _runs_of(module)):
        _watch(type(module))
    return value


def _registering(register: Callable[[nn.Module, str, nn.Parameter | None], None]) -> Callable[..., None]:
    @functools.wraps(register)
    def register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, param)
        # Layers are small more often than not. Without a mode on the stack nobody sees us ask.
        is_small = type(param) is nn.Parameter and not _len_torch_function_stack() and param.numel() < Deferrer.LARGE
        if not is_small and param is not None and (deferrer := _deferrer()) is not None:
            deferrer.notice(param)

    return register_parameter


def _deferrer() -> Deferrer | None:
    """What records the fills of the running code, if anything does."""
    run = innermost(Run)
    return run.deferral.deferrer if run is not None else None


def _on_trunc_normal(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """torch draws these by rejection, and looks at what it has drawn: a mode would see it in pieces."""
    deferrer = _deferrer()
    if deferrer is not None and _is_sound(*args, **kwargs) and deferrer.fill_whole(wrapped, args, kwargs):
        return args[0] if args else kwargs["tensor"]
    return wrapped(*args, **kwargs)


def _is_sound(tensor: torch.Tensor, mean: float, std: float, a: float, b: float, generator: object = None) -> bool:
    """Whether torch has nothing to say of these arguments: it has to say it now."""
    return std > 0 and a < b and a - 2 * std <= mean <= b + 2 * std


def _on_generator(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """Who asks where the generator stands, or moves it, has to find it where it would stand."""
    if (deferrer := _deferrer()) is not None:
        deferrer.records.run_draws()
    return wrapped(*args, **kwargs)


def _on_thread(wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
    """What another thread looks at is not seen: from when one gets something to do nothing is deferred."""
    if (deferrer := _deferrer()) is not None:
        deferrer.stop()
    return wrapped(*args, **kwargs)


def _hook_calls() -> None:
    with _lock:
        if not _call_hook:
            _call_hook.append(register_module_forward_pre_hook(_on_call))


def _unhook_calls_if_idle() -> None:
    if _call_hook and not any(run.census.roots() for run in _open):
        _call_hook.pop().remove()


def _on_call(module: nn.Module, args: Any) -> None:
    # Traced by torch.compile this is a constant, and the hook leaves no graph break.
    if torch.compiler.is_compiling():
        return
    for run in _runs_of(module):
        if id(module) not in run.census.final and not _is_no_use(run):
            run.settle_called(module)
            if run.deferral.deferrer is not None:
                # What is called is traced, compiled or trained: with nothing pending there is nothing to watch.
                run.deferral.deferrer.rest()
            with _lock:
                _unhook_calls_if_idle()


def _is_no_use(run: Run) -> bool:
    """Whether a call is no use of a model yet.

    A constructor of a module of the run makes forward passes to find out shapes; asking a module for a weight that is
    parametrized is a call of its parametrizations, and so is giving it one.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_NO_USERS):
            return True
        if code.co_name == "__init__" and code.co_argcount:
            owner = frame.f_locals.get(code.co_varnames[0])
            if isinstance(owner, nn.Module) and owner in run.census:
                return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


_NO_USERS = (parametrize.__file__, *(path + os.sep for part in (applying, parametrized) for path in part.__path__))
"""Files that call modules for the sake of their weights."""

WATCHED = {
    "init_weights": _on_init_weights,
    "_load_from_state_dict": on_load(_runs_of),
    **dict.fromkeys(LOADERS, on_loader(_runs_of)),
    "__deepcopy__": _on_deepcopy,
}
"""Methods that classes have of their own, and what is told of their calls."""

_patches.want(nn.Module, "__init__", _on_init)
_patches.want(nn.Module, "_load_from_state_dict", WATCHED["_load_from_state_dict"])
_patches.want(nn.Module, "__setstate__", on_setstate(lambda: innermost(Run)))
_patches.want(nn.Module, "__reduce_ex__", _on_reduce)
_patches.want_instead(nn.Module, "register_parameter", _registering)
_patches.want(nn.init, "_no_grad_trunc_normal_", _on_trunc_normal)
_patches.want(threading.Thread, "start", _on_thread)
_patches.want(ThreadPoolExecutor, "submit", _on_thread)
for owner in (torch, torch.random):
    for name in ("get_rng_state", "set_rng_state", "manual_seed", "seed"):
        _patches.want(owner, name, _on_generator)
for layer in (nn.Embedding, nn.EmbeddingBag):
    _patches.want(layer, "from_pretrained", on_embedding(_runs_of))
_patches.want(parametrize, "_inject_new_class", _on_new_class)
