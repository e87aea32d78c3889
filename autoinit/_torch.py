"""Private names of torch that this package uses, each with its reason and what happens without it.

All are looked up when this module is imported: a torch without one of them fails at `import autoinit` with an error
that names it, and not in the middle of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor

# The stack of dispatch modes. Without it values written under `FakeTensorMode` are fake, and part of a `make_fx` graph.
from torch._C import _len_torch_dispatch_stack
from torch._ops import OpOverload as OpOverload
from torch._ops import _len_torch_dispatch_stack_pre_dispatch

# A user's function writes to a parameter itself. Without it the version counter of one whose function fails advances.
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

# The stack of function modes. Without it a mode of the caller (`with torch.device(...)`) can change the operators that
# write values. `DisableTorchFunction` would disable `__torch_function__` of tensor subclasses, too, which these need.
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._python_dispatch import _disable_current_modes, _pop_mode, _push_mode

if TYPE_CHECKING:
    from torch.distributed.tensor.placement_types import _StridedShard

# Bases of layers and parametrizations, to know a layer by: without one of them its layers have no fans, units or
# inverse of their own.
ConvNd = torch.nn.modules.conv._ConvNd
ConvTransposeNd = torch.nn.modules.conv._ConvTransposeNd
NormBase = torch.nn.modules.batchnorm._NormBase
Orthogonal = torch.nn.utils.parametrizations._Orthogonal
SpectralNorm = torch.nn.utils.parametrizations._SpectralNorm
WeightNorm = torch.nn.utils.parametrizations._WeightNorm

Handler = TypeVar("Handler", bound=Callable[..., object])
# The mode of `torch.set_default_device`. Without it a module's own `init_weights` would make its tensors on another
# device than it does outside of `initialize`.
_GLOBAL_DEVICE_CONTEXT = torch._GLOBAL_DEVICE_CONTEXT
# The innermost running `torch.func` transform. Without it writing a parameter inside of `grad` or `jvp` raises.
is_transforming: Callable[[], object] = torch._C._functorch.peek_interpreter_stack
# True if `torch.load(map_location="meta")` reads no values and notes their places in the file (`_checkpoint_offset`).
# Without it a zip checkpoint is mapped whole, again after every 64 MiB.
READS_OFFSETS = hasattr(torch.serialization, "_is_meta_location")
# The state of a running `torch.jit.trace`. Without it the writes become part of the traced graph.
tracing_state = torch._C._get_tracing_state
set_tracing_state = torch._C._set_tracing_state  # type: ignore[attr-defined]
function_modes: Callable[[], list[TorchFunctionMode]] = _get_current_function_mode_stack  # Lowest first.
schema_of: Callable[[OpOverload], torch.FunctionSchema] = attrgetter("_schema")  # What an operator reads and writes.


def offset_in_checkpoint(storage: torch.UntypedStorage) -> int:
    """Byte of a checkpoint's file where torch expects the values of a storage on the meta device; -1 if nowhere."""
    start: int | None = storage._checkpoint_offset
    return -1 if start is None else start


def number_of_dispatch_modes() -> int:
    """Number of dispatch modes of this thread, those that are entered before autograd (`torch.export`) included."""
    return int(_len_torch_dispatch_stack() + _len_torch_dispatch_stack_pre_dispatch())  # type: ignore[no-untyped-call]


def default_device_mode() -> TorchFunctionMode | None:
    """The mode of `torch.set_default_device` in this thread."""
    found: TorchFunctionMode | None = getattr(_GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return found


def take_function_modes() -> list[TorchFunctionMode]:
    """Empty the stack of function modes; gives them lowest first."""
    modes = function_modes()
    for mode in modes:
        TorchFunctionMode.__exit__(mode, None, None, None)  # type: ignore[no-untyped-call]  # Pops the highest.
    return modes


def put_function_modes(modes: Sequence[TorchFunctionMode]) -> None:
    """Push function modes, the first lowest, without their own `__enter__`: they were entered before."""
    for mode in modes:
        TorchFunctionMode.__enter__(mode)  # type: ignore[no-untyped-call]


@contextmanager
def without_dispatch_modes() -> Iterator[Sequence[TorchDispatchMode]]:
    """A context with an empty stack of dispatch modes; gives those that were there, lowest first."""
    with _disable_current_modes() as modes:
        yield modes[::-1]


@contextmanager
def dispatch_mode(mode: TorchDispatchMode) -> Iterator[None]:
    """A context with a dispatch mode on the stack, without its own `__enter__`: it was entered before."""
    put_dispatch_modes([mode])
    try:
        yield
    finally:
        _pop_mode()


def take_dispatch_modes() -> list[TorchDispatchMode]:
    """Empty the stack of dispatch modes; gives them lowest first."""
    modes: list[TorchDispatchMode] = []
    while _len_torch_dispatch_stack():
        modes.insert(0, _pop_mode())
    return modes


def put_dispatch_modes(modes: Sequence[TorchDispatchMode]) -> None:
    """Push dispatch modes, the first lowest."""
    for mode in modes:
        _push_mode(mode)


@contextmanager
def without_transforms() -> Iterator[None]:
    """A context in which no `torch.func` transform is running."""
    # Imported here: it is loaded already if a transform is running, and takes 0.1 s if not.
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

    with temporarily_clear_interpreter_stack():
        yield


@contextmanager
def no_modes() -> Iterator[None]:
    """A context without function modes, dispatch modes and transforms, for calls that nothing may see.

    Cheaper than `modes.without_modes`, and without the modes of this package too.
    """
    transforms = without_transforms() if is_transforming() else nullcontext()
    with without_functions(), torch.no_grad(), transforms, without_dispatch_modes():
        yield


def is_fake(tensor: Tensor) -> bool:
    """True for a `FakeTensor`, which has a device and no memory there."""
    # A program with a fake tensor has imported the module, which takes 0.3 s.
    module = sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and isinstance(tensor, module.FakeTensor)


def is_compiling() -> bool:
    """True while `torch.compile` traces the running code, which then builds stand-ins for modules."""
    guards = sys.modules.get("torch._guards") if "torch._dynamo" in sys.modules else None
    return guards is not None and guards.TracingContext.try_get() is not None


def strided_shard() -> type[_StridedShard]:
    """The placement of a dimension that FSDP has split after tensor parallelism; imports `torch.distributed.tensor`.

    Without it models sharded in both ways are refused.
    """
    from torch.distributed.tensor.placement_types import _StridedShard

    return _StridedShard


# The construction record needs the following ones: without them, blocks with rules could neither defer fills nor tell
# initialization from data.

# True if a tensor has a storage (sparse ones and wrappers have none), and how many references there are to one: memory
# that a constructor threw away is not filled.
has_storage = torch._C._has_storage
_storage_use_count = torch._C._storage_Use_Count
# The identifier of the running backward pass, or -1: it computes gradients, which are data.
current_backward = torch._C._current_graph_task_id
# The functions to which autograd passes what it saves (`saved_tensors_hooks`): they may read weights that are pending.
hooks_of_saved_tensors = torch._C._autograd._top_saved_tensors_default_hooks
# Patched while a block is open: torch draws truncated normals by rejection and reads what it has drawn.
NO_GRAD_TRUNC_NORMAL = "_no_grad_trunc_normal_"
no_grad_trunc_normal = getattr(torch.nn.init, NO_GRAD_TRUNC_NORMAL)
# Patched as well: it gives a module that is parametrized for the first time a class of its own, and deep copies of such
# modules would count as built outside the block.
INJECT_NEW_CLASS = torch.nn.utils.parametrize._inject_new_class.__name__
# A context for the handler of a dispatch mode, in which operators take the way that leads to the handler.
_as_before_operator = torch._C._RestorePythonTLSSnapshot  # type: ignore[attr-defined]
# A context in which no function mode and no `__torch_function__` sees calls: autoinit's own are not the program's.
without_functions = torch._C.DisableTorchFunction


def uses_of(storage: torch.UntypedStorage) -> int:
    """Number of tensors and other objects that refer to a storage."""
    return int(_storage_use_count(storage._cdata))


def storage_id(tensor: Tensor) -> int:
    """The address of the C++ object of a tensor's storage: equal for tensors that share memory.

    `data_ptr()` is 0 for memory that is not there, and the same for a view of the first elements as for the whole.
    """
    return int(tensor.untyped_storage()._cdata)


def version_of(tensor: Tensor) -> int:
    """Number of in-place writes of operators to a tensor; 0 for inference tensors, which do not count."""
    return 0 if tensor.is_inference() else tensor._version


def version_kept(tensor: Tensor) -> AbstractContextManager[None]:
    """A context in which writes to a tensor do not advance its version counter.

    A user's function may write several times, and fail half way; autograd has to see one write or none.
    """
    return nullcontext() if tensor.is_inference() else _unsafe_preserve_version_counter(tensor)


def shares_version(tensor: Tensor, *, in_operator: bool) -> Tensor:
    """An alias that shares the version counter; `in_operator` in the handler of a dispatch mode.

    Operators reach the handler below the layer that counts versions, so `detach` alone gives a new counter there.
    Without it a postponed fill would overwrite what another thread wrote meanwhile.
    """
    with without_functions(), _as_before_operator() if in_operator else nullcontext():
        return tensor.detach()


def not_compiled(handler: Handler) -> Handler:
    """Mark a handler of a mode, so that `torch.compile` neither traces it nor what it calls.

    `torch.compiler.disable` does the same and imports the compiler, which takes a second. Without it the compiler
    replays what the handler does to the stacks of modes, and torch ends with another stack than it believes.
    """
    dynamo = torch._C._dynamo.eval_frame
    skip = dynamo._FrameAction.SKIP
    code = cast(FunctionType, handler).__code__
    dynamo.set_code_exec_strategy(code, dynamo._FrameExecStrategy(skip, skip))
    return handler
