"""Every API of torch that takes a tensor is called in a constructor, on a weight that may be pending (contract D2).

The names come from reflection, the arguments from a list of guesses: the first that plain construction accepts is used.
Functions that no guess fits, and those whose result differs between two plain runs, are left out.
"""

from __future__ import annotations

import inspect
import numbers
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit
from autoinit.planning import ENGINES
from tests.unit.construction.oracle import same

SIZE = 96
AFTER = dict(type="Normal", name="after", std=0.02)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# Not called: what compiles, changes torch for the whole process, needs a file, returns something that is no value, or
# takes seconds (a diagonal matrix of all elements, for example). A context manager or decorator takes anything.
NOT_CALLED = """
    compile cond while_loop vmap save load manual_seed seed initial_seed import_ir_module from_file to_file wait fork
    no_grad enable_grad inference_mode set_grad_enabled thread_safe_generator has_torch_function handle_torch_function
    has_torch_function_unary has_torch_function_variadic __init__ __new__ __class__ __del__ __setattr__ __delattr__
    __getattribute__ __subclasshook__ __init_subclass__ __setstate__ __torch_dispatch__ __torch_function__ __dir__
    __hash__ __dict__ __weakref__ __sizeof__ register_hook register_post_accumulate_grad_hook share_memory_ backward
    grad_fn module_load lobpcg diagflat kron pca_lowrank conv_transpose2d
"""
PREFIXES = ("set_", "sym_", "_", "init_num", "is_", "get_default", "autocast")

# torch computes eigenvectors along with these while any dispatch mode is on, so that the last bits differ.
COMPUTED_ANOTHER_WAY = {"eigvalsh", "svdvals", "nuclear_norm", "linalg_eigvalsh", "linalg_svdvals"}

ONES, FIRST = torch.ones(SIZE, SIZE), torch.zeros(SIZE, SIZE, dtype=torch.int64)
Guess = Callable[[Tensor], tuple[Any, ...]]
# Arguments of which the first that fit are taken, for the weight `w`. Functions that write in place must not read what
# they write, so the weight is not among them three times.
ARGUMENTS = """
    w | w, 0 | w, w | w, 0.5 | [w, w] | w, 0, 1 | w, [0, 1] | w, (SIZE * SIZE,) | w, torch.float64 | w, ONES, ONES |
    w[None], ONES[None], ONES[None] | w, ONES[None], ONES[None] | w, 0.25, 0.75 | w, w > 0 | w, w > 0, 0.5 |
    w > 0, w, w | w, 0, torch.arange(3) | w, 0, torch.arange(3), ONES[:3] | w, 0, torch.arange(3), 0.5 |
    w, 0, torch.arange(3), ONES[:3], "amax" | w, 0, FIRST | w, 0, FIRST, ONES | w, 0, FIRST, ONES, "amax" |
    w, (FIRST[0],), ONES[:1] | w, FIRST[0], ONES[0] | w, ONES > 0, ONES | w[0], ONES, w[1] | w, ONES, ONES[0] |
    w, ONES[0], ONES[0] | w > 0, w < 0 | w > 0 | w[0, 0] | w.abs(), 2 | w.abs() + 1 | w.to(torch.complex64) |
    w.view(-1, 2) | w, 0.5, True | w, 0.5, 0, torch.quint8 | w, (SIZE, 1), 0 | w, (1, SIZE), (SIZE, 1) |
    w, (2, 3), 0.5 | w, [SIZE], ONES[0], ONES[0], 1e-5 | w, ONES[0], ONES[0], None, None, True, 0.1, 1e-5 |
    w, None, None, ONES[0], ONES[0], True, 0.1, 1e-5, False | w, (SIZE, SIZE) | w, 0, (SIZE, 1) |
    w[None, None, None], 2 | w[None, None, None], w[None, None, None] | w[None, None].expand(1, 4, SIZE, SIZE), 2 |
    w, torch.arange(SIZE) | torch.arange(SIZE), w |
    w, [SIZE] | w[0], w[1] | w[0], w[1], w[2] | w, w[0] | w, w[0], w[0] | w, w[0].abs(), w[0].abs(), w[0], w[0] |
    w[None], w[None] | w[None, None], [2, 2] | w[None], 2 | w[None, None], w[None, None] | w, 0, 0, 3 | w, 2, 0, 1.0 |
    "ij,jk->ik", w, w | SIZE, w[0, 0] | (3,), w[0, 0] | w[0, 0], w[0, 1], 5 | w, w[0], 0, 1e-5
"""
GUESSES: list[Guess] = [eval(f"lambda w: ({arguments},)") for arguments in ARGUMENTS.split("|")]


class Net(nn.Module):
    """A layer whose weight is read, or written, by one call."""

    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, SIZE)
        self.seen = call(self.layer.weight.detach())
        self.after = nn.Linear(SIZE, SIZE)


def functions() -> dict[str, dict[str, Callable[..., Any]]]:
    """The APIs by the place they are found in."""
    places = {"torch": torch, "functional": nn.functional, "aten": torch.ops.aten, "special": torch.special}
    places |= {"linalg": torch.linalg, "fft": torch.fft}
    found = {place: {name: getattr(owner, name) for name in names_of(owner)} for place, owner in places.items()}
    found["Tensor"] = {name: method(name) for name in names_of(Tensor)}
    return found


def names_of(owner: Any) -> list[str]:
    """Names of functions, and of a class its properties too."""
    named = []
    for name in dir(owner):
        is_dunder = owner is Tensor and name.startswith("__")
        if name in NOT_CALLED.split() or (name.startswith(PREFIXES) and not is_dunder):
            continue
        value = getattr(owner, name)
        if owner is Tensor or (callable(value) and not inspect.isclass(value)):
            named.append(name)
    return named


def method(name: str) -> Callable[..., Any]:
    """A method or a property of a tensor as a function."""

    def call(tensor: Tensor, *arguments: Any) -> Any:
        attribute = getattr(tensor, name)
        return attribute(*arguments) if callable(attribute) else attribute

    return call


def outcome(call: Callable[[Tensor], Any]) -> list[Any]:
    """What a call gives in a constructor, the weight afterwards, and the RNG state."""
    torch.manual_seed(0)
    net = Net(call)
    return [*values(net.seen), net.layer.weight.detach(), torch.get_rng_state()]


def values(result: Any) -> list[Any]:
    """The tensors and numbers in a result."""
    if isinstance(result, dict):
        return values(list(result.values()))
    if isinstance(result, tuple | list):
        return [value for each in result for value in values(each)]
    if isinstance(result, np.ndarray):
        return [torch.from_numpy(result)]
    if isinstance(result, Tensor):
        return [result.reshape(-1)] if result.dim() > 64 else [result]
    return [result] if isinstance(result, numbers.Number | str | bytes) else []


def agree(one: list[Any], other: list[Any]) -> bool:
    """Whether two results are equal to the last bit."""
    return len(one) == len(other) and all(map(equal, one, other))


def equal(one: Any, other: Any) -> bool:
    """Equality of tensors or numbers, NaN included."""
    if not isinstance(one, Tensor):
        return type(one) is type(other) and (one == other or (one != one and other != other))
    one, other = one.detach(), other.detach()
    if one.dtype != other.dtype or one.shape != other.shape or one.layout != other.layout:
        return False
    if one.is_meta:
        return True
    if one.layout is not torch.strided:
        one, other = one.to_dense(), other.to_dense()
    if one.is_quantized:
        one, other = one.dequantize(), other.dequantize()
    return bool(same(one, other).all())


def attempts(function: Callable[..., Any]) -> Iterator[Callable[[Tensor], Any]]:
    """The function with each guess of its arguments."""
    for guess in GUESSES:
        yield lambda weight, guess=guess: function(*guess(weight))


def fitting(function: Callable[..., Any]) -> tuple[Callable[[Tensor], Any], list[Any]] | None:
    """The function with arguments that it takes, and what it gives; none if it takes none or is not reproducible."""
    weight = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for call in attempts(function):
        try:
            call(weight.clone())
            plain = outcome(call)
        except Exception:
            continue
        return (call, plain) if agree(plain, outcome(call)) else None
    return None


def difference(name: str, call: Callable[[Tensor], Any], plain: list[Any]) -> str | None:
    """What a block changes of what a call gives; none if nothing."""
    try:
        with autoinit([]):
            without_rules = outcome(call)
        with autoinit(AFTER, seed=0):
            beside_a_rule = outcome(call)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    # Where mmengine is imported, modules may bring rules of their own, so that a block without rules watches, too.
    if not agree(plain, without_rules) and not (
        not ENGINES.isdisjoint(sys.modules) and is_close(name, plain, without_rules)
    ):
        return "another result without rules"
    # The layer after it is not drawn by its constructor, so the RNG state differs.
    plain, beside_a_rule = plain[:-1], beside_a_rule[:-1]
    if not agree(plain, beside_a_rule) and not is_close(name, plain, beside_a_rule):
        return "another result beside a rule"
    return None


def is_close(name: str, plain: list[Any], seen: list[Any]) -> bool:
    """Whether torch computes a function another way under any dispatch mode, so that the last bits differ."""
    return name in COMPUTED_ANOTHER_WAY and all(
        torch.allclose(one, other, 1e-3, 1e-4) for one, other in zip(plain, seen, strict=True)
    )


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan() -> Iterator[None]:
    # One thread: small matrices are slower with more, on a busy machine a hundred times.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


FUNCTIONS = functions()


@pytest.mark.parametrize("place", FUNCTIONS)
def test_a_call_in_a_constructor_sees_the_weight(place: str) -> None:
    wrong, called = {}, 0
    for name, function in FUNCTIONS[place].items():
        if (found := fitting(function)) is None:
            continue
        call, plain = found
        called += 1
        if (problem := difference(name, call, plain)) is not None:
            wrong[name] = problem
    assert called > len(FUNCTIONS[place]) / 2, "the guesses fit too few functions"
    assert wrong == {}
