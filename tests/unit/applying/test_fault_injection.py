"""Every allocation and every write of an application fails once: what is said then, and what is left (A, D3, I3)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.utils._python_dispatch import TorchDispatchMode

from autoinit import ApplyError, AutoInitError, CheckpointError, autoinit, initialize, verify
from autoinit.compat.mmengine import BaseModule
from tests.checkpoint_models import Renaming

FAULTS = (RuntimeError, MemoryError, torch.OutOfMemoryError)


class Fault(TorchDispatchMode):
    """Raises at the k-th operator that allocates or writes, and only there."""

    # Values are written outside of all modes but those of autoinit.
    __module__ = "autoinit.faults"

    def __init__(self, at: int, error: type[Exception]) -> None:
        super().__init__()
        self.error = error("injected")
        self.left = at
        self.has_hit = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        touches = func._schema.is_mutable or not all(result.alias_info for result in func._schema.returns)
        if touches and not is_sketch(args, kwargs):
            if self.left == 0:
                self.has_hit = True
                self.left = -1
                raise self.error
            self.left -= 1
        return func(*args, **kwargs)


def is_sketch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator is on the meta device, which has no memory to run out of."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    return kwargs.get("device") == torch.device("meta") or any(tensor.is_meta for tensor in tensors)


class Own(BaseModule):
    """Has an initialization of its own, of constants."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)

    def init_weights(self) -> None:
        for number, param in enumerate(self.parameters()):
            nn.init.constant_(param, float(number))


def sine_(tensor: Tensor) -> None:
    """As a user's function may be."""
    with torch.no_grad():
        tensor.copy_(torch.randn_like(tensor).sin())


def spread(module: nn.Module) -> nn.Module:
    """With weights that are not contiguous."""
    for name, param in module.named_parameters(recurse=False):
        setattr(module, name, nn.Parameter(param.detach().mT.contiguous().mT if param.ndim > 1 else param.detach()))
    return module


def old_norms() -> nn.Module:
    with pytest.warns(FutureWarning, match="deprecated"):
        first = torch.nn.utils.weight_norm(nn.Linear(3, 3))
    return nn.Sequential(first, torch.nn.utils.spectral_norm(nn.Linear(3, 3)))


def toy(folder: Path) -> str:
    torch.manual_seed(2)
    part = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    torch.save(part.state_dict(), folder / "toy.pth")
    return str(folder / "toy.pth")


def renamed(folder: Path) -> str:
    model = Renaming()
    torch.save({name: torch.full_like(tensor, 3.0) for name, tensor in model.state_dict().items()}, folder / "new.pth")
    return str(folder / "new.pth")


class Loaded(nn.Module):
    """Loads the larger part, and a rule written under the load fills the rest."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        self.part.init_cfg = dict(  # type: ignore[assignment]
            type="Pretrained", checkpoint=toy(folder), override=dict(type="Constant", val=2.0, name="2")
        )


class LoadsItself(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.part = Renaming()
        self.part.init_cfg = dict(type="Pretrained", checkpoint=renamed(folder))  # type: ignore[assignment]


NORMAL = dict(type="Normal", layer="Linear", std=0.5, bias=0.25)
PARTS: dict[str, tuple[Callable[[Path], nn.Module], Any]] = {
    "large": (lambda _: nn.Sequential(nn.Linear(80, 80), nn.Linear(70, 70)), NORMAL),
    "large constants": (lambda _: nn.Linear(80, 80), dict(type="Constant", val=2.0, layer="Linear")),
    "small ones together": (lambda _: nn.Sequential(*(nn.Linear(3, 4) for _ in range(4)), nn.LayerNorm(3)), NORMAL),
    "bfloat16": (lambda _: nn.Linear(80, 80, dtype=torch.bfloat16), NORMAL),
    "not contiguous": (lambda _: spread(nn.Linear(80, 70)), NORMAL),
    "truncated": (lambda _: nn.Linear(3, 3), dict(type="TruncNormal", layer="Linear", a=-1.0, b=3.0)),
    "orthogonal": (lambda _: nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4)), dict(type="Orthogonal", layer="Linear")),
    "sparse": (lambda _: nn.Linear(6, 5), dict(type="Sparse", layer="Linear", sparsity=0.5)),
    "dirac": (lambda _: nn.Conv1d(4, 4, 3, groups=2), dict(type="Dirac", layer="Conv1d", fan="layer")),
    "fused": (lambda _: nn.MultiheadAttention(4, 2), dict(type="LeCun", name="**", params="in_proj_weight")),
    "fused orthogonal": (lambda _: nn.LSTM(3, 4), dict(type="Orthogonal", name="**", params="weight_*", fan="layer")),
    "function": (lambda _: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), dict(type=sine_, layer="Linear")),
    "weight norm": (lambda _: nn.Sequential(weight_norm(nn.Linear(3, 3)), nn.Linear(3, 3)), NORMAL),
    "spectral norm": (lambda _: spectral_norm(nn.Linear(3, 3)), NORMAL),
    "orthogonal parametrization": (lambda _: orthogonal(nn.Linear(3, 3)), NORMAL),
    "old norms": (lambda _: old_norms(), NORMAL),
    "checkpoint": (Loaded, []),
    "checkpoint with code": (LoadsItself, []),
    "own code": (lambda _: nn.Sequential(Own(), nn.Linear(3, 3)), {**NORMAL, "name": "1"}),
    "nothing": (lambda _: nn.Linear(3, 3), []),
}
parts = pytest.mark.parametrize("part", PARTS)
faults = pytest.mark.parametrize(
    "error", [pytest.param(None, id="in turn"), *(pytest.param(each, marks=pytest.mark.campaign) for each in FAULTS)]
)
"""At the k-th place the faults take turns; `make faults` has each of them at every place."""

LONG = ("fused orthogonal", "old norms")
"""At the end of a block there are many places in these."""


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """What is allocated and not written holds NaN, and no mode is left behind."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
    assert _len_torch_dispatch_stack() == 0 and _len_torch_function_stack() == 0


def test_memory_that_is_not_written_is_poison() -> None:
    assert torch.empty(3).isnan().all()


def built(part: str, folder: Path) -> nn.Module:
    torch.manual_seed(1)
    return PARTS[part][0](folder)


def state(model: nn.Module) -> dict[str, Tensor]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@contextmanager
def failing(at: int, error: type[Exception] | None) -> Iterator[Fault]:
    fault = Fault(at, error or FAULTS[at % len(FAULTS)])
    try:
        with fault:
            yield fault
    except (AutoInitError, *FAULTS) as caught:
        assert fault.has_hit, "the only thing that fails here"
        fault.caught = caught  # type: ignore[attr-defined]
    else:
        assert not fault.has_hit, "it was swallowed"


def check_named(fault: Fault, model: nn.Module) -> str:
    """Require an error that says which parameter or module it is about; gives its name."""
    error = fault.caught  # type: ignore[attr-defined]
    if isinstance(error, CheckpointError):
        # What fails while a file is read is said of the file, and the rule that names it.
        assert error.origin is not None and ".pth" in str(error)
        return error.origin.removesuffix(".init_cfg")
    assert isinstance(error, ApplyError), f"{type(error).__name__} came through: {error}"
    assert error.fqn is not None
    module_names = {name for name, _ in model.named_modules()}
    assert error.fqn in str(error)
    assert error.__cause__ is fault.error or "injected" in str(error)
    known = {name for name, _ in model.named_parameters()} | module_names
    known |= {name.replace("parametrizations.", "").rpartition(".original")[0] for name in known}
    known |= {name.removesuffix(suffix) for name in known for suffix in ("_g", "_orig")}
    assert error.fqn in known
    return error.fqn


def is_unwritten(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in state(model).items())


def is_about(name: str, fqn: str) -> bool:
    """Whether a stored tensor belongs to what an error names."""
    plain = name.replace("parametrizations.", "")
    return plain == fqn or plain.startswith((f"{fqn}.", f"{fqn}_")) or not fqn


@faults
@parts
def test_initialize(part: str, error: type[Exception] | None, tmp_path: Path) -> None:
    cfg = PARTS[part][1]
    clean = built(part, tmp_path)
    initialize(clean, cfg, seed=3)
    final = state(clean)
    for at in itertools.count():
        model = built(part, tmp_path)
        before, generator = state(model), torch.get_rng_state()
        with failing(at, error) as fault:
            initialize(model, cfg, seed=3)
        if not fault.has_hit:
            assert at > 0 or part == "nothing"
            return
        assert torch.equal(torch.get_rng_state(), generator)
        if is_unwritten(model, before) and not isinstance(fault.caught, ApplyError):  # type: ignore[attr-defined]
            continue  # While it was planned.
        fqn = check_named(fault, model)
        for name, value in state(model).items():
            assert value.isfinite().all(), f"{name} holds what nobody wrote, after {fault.caught}"
            is_whole = torch.equal(value, before[name]) or torch.equal(value, final[name])
            assert is_whole or is_about(name, fqn), f"{name} is written in part, and the error is of {fqn!r}"
        initialize(model, cfg, seed=3)
        for name, value in state(model).items():
            assert torch.equal(value, final[name]), f"{name} after the second run"


@parts
def test_the_seed_that_is_drawn(part: str, tmp_path: Path) -> None:
    """An application that fails has drawn its seed or has not, and nothing else."""
    cfg = PARTS[part][1]
    for at in itertools.count():
        model = built(part, tmp_path)
        before = torch.get_rng_state()
        with failing(at, RuntimeError) as fault:
            initialize(model, cfg)
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        torch.empty((), dtype=torch.int64).random_()
        assert torch.equal(after, before) or torch.equal(after, torch.get_rng_state())
        if not fault.has_hit:
            return


@faults
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.slow) if part in LONG else part for part in PARTS]
)
def test_the_end_of_a_block(part: str, error: type[Exception] | None, tmp_path: Path) -> None:
    cfg = PARTS[part][1]
    plain = state(built(part, tmp_path))
    with autoinit(cfg, seed=3):
        clean = built(part, tmp_path)
    final = state(clean)
    for at in itertools.count():
        block = autoinit(cfg, seed=3)
        block.__enter__()
        model = built(part, tmp_path)
        with failing(at, error) as fault:
            block.__exit__(None, None, None)
        if not fault.has_hit:
            return
        if is_unwritten(model, plain) and not isinstance(fault.caught, ApplyError):  # type: ignore[attr-defined]
            continue
        fqn = check_named(fault, model)
        for name, value in state(model).items():
            assert value.isfinite().all(), f"{name} holds what nobody wrote, after {fault.caught}"
            is_whole = torch.equal(value, plain[name]) or torch.equal(value, final[name])
            # What a constructor had deferred is drawn after all, from where the generator is by then.
            is_default = bool(value.any()) and value.abs().max() < 0.2
            assert is_whole or is_default or is_about(name, fqn), f"{name}, and the error is of {fqn!r}"
        initialize(model, cfg, seed=3)
        assert all(value.isfinite().all() for value in state(model).values())


@faults
@parts
def test_verify_changes_nothing(part: str, error: type[Exception] | None, tmp_path: Path) -> None:
    model = built(part, tmp_path)
    report = initialize(model, PARTS[part][1], seed=3)
    before, generator = state(model), torch.get_rng_state()
    training = [module.training for module in model.modules()]
    for at in itertools.count():
        with failing(at, error) as fault:
            verify(model, report)
        after = state(model)
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert torch.equal(torch.get_rng_state(), generator)
        assert training == [module.training for module in model.modules()]
        if not fault.has_hit:
            return
    assert verify(model, report).ok
