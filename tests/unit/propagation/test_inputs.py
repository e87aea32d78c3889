"""Inputs in every form that forward takes, and outputs in every form that it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from autoinit import AutoInitError, ConfigTypeError, InputError, StateError, propagate
from autoinit.propagation.tensors import tensors_in


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, scale: Tensor, *, shift: float = 0.0) -> Tensor:
        return self.layer(x) * scale + shift


X, SCALE = torch.ones(2, 3), torch.tensor(2.0)


class Named(NamedTuple):
    x: Tensor


@pytest.mark.parametrize(
    ("model", "inputs", "text"),
    [
        (nn.Linear(3, 3), X, "2 x 3"),
        (nn.Linear(3, 3), (X,), "2 x 3"),
        (nn.Linear(3, 3), dict(input=X), "input: 2 x 3"),
        (Two(), (X, SCALE), "2 x 3, scalar"),
        (Two(), dict(x=X, scale=SCALE, shift=1.0), "x: 2 x 3, scale: scalar"),
    ],
)
def test_inputs_are_given_in_the_forms_that_forward_takes(model: nn.Module, inputs: Any, text: str) -> None:
    found = propagate(model, inputs)
    assert found.inputs == f"{text} (given)"
    assert found.gradients


def test_a_list_is_one_argument() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, images: list[Tensor]) -> dict[str, list[Tensor]]:
            return {"boxes": [self.layer(image) for image in images]}

    assert propagate(Detector(), [X, torch.ones(5, 3)])["layer"].calls == 2


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None
    states: tuple[Tensor, ...] = ()


WRAPS: dict[str, Callable[[Tensor], object]] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, None),
    "list in a dict": lambda y: {"out": [y], "name": "x"},
    "dataclass": lambda y: Output(logits=y, loss=None),
    "with a loss": lambda y: Output(logits=y, loss=y.sum()),
    "with ids": lambda y: (y.argmax(-1), y),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_outputs_may_come_in_any_wrapping(wrap: Callable[[Tensor], object]) -> None:
    class Wraps(nn.Module):
        def __init__(self, wrap: Callable[[Tensor], object]) -> None:
            super().__init__()
            self.inner, self.wrap = Inner(wrap), wrap

        def forward(self, x: Tensor) -> object:
            return self.inner(x)

    class Inner(nn.Module):
        def __init__(self, wrap: Callable[[Tensor], object]) -> None:
            super().__init__()
            self.weight, self.wrap = nn.Parameter(torch.eye(3) * 2), wrap

        def forward(self, x: Tensor) -> object:
            return self.wrap(x @ self.weight)

    found = propagate(Wraps(wrap), torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    assert found["inner"].gain == pytest.approx(2)
    assert found["inner"].gradient == pytest.approx(1)
    assert (
        found.gradients
        == propagate(Wraps(WRAPS["tensor"]), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))).gradients
    )


def test_a_loss_alone_is_differentiated() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1, bias=False)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"loss": self.layer(x).sum()}

    assert propagate(Loss(), X).gradients["layer.weight"] == pytest.approx(2 * 3**0.5)


def test_tensors_are_found_in_named_tuples() -> None:
    assert [tensor.shape for tensor in tensors_in(Named(X))] == [X.shape]


class Optional(nn.Module):
    def forward(self, ids=None, mask=None):  # type: ignore[no-untyped-def]
        return ids


class Anything(nn.Module):
    def forward(self, *inputs):  # type: ignore[no-untyped-def]
        return inputs


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such key")


ERRORS: dict[str, tuple[Callable[[], object], type[AutoInitError], str]] = {
    "two arguments": (
        lambda: propagate(Two()),
        InputError,
        "Two.forward(x: 'Tensor', scale: 'Tensor', *, shift: 'float' = 0.0) -> 'Tensor': propagate needs inputs. Pass "
        "them: a tensor, a tuple of arguments, or a dict by name, as in propagate(model, dict(x=..., scale=...)).",
    ),
    "optional arguments": (
        lambda: propagate(Optional()),
        InputError,
        "Optional.forward(ids=None, mask=None): propagate needs inputs. Pass them: a tensor, a tuple of arguments, or "
        "a dict by name, as in propagate(model, dict(ids=...)).",
    ),
    "any arguments": (
        lambda: propagate(Anything()),
        InputError,
        "Anything.forward(*inputs): propagate needs inputs. Pass them: a tensor, a tuple of arguments, or a dict by "
        "name, as in propagate(model, (..., ...)).",
    ),
    "no module": (
        lambda: propagate(3),  # type: ignore[arg-type]
        ConfigTypeError,
        "propagate(): 3 is a int, not a torch.nn.Module.",
    ),
    "bounds of another kind": (
        lambda: propagate(nn.Linear(2, 2), bounds={"std": 1}),  # type: ignore[arg-type]
        ConfigTypeError,
        "bounds={'std': 1} must be a Bounds(...), of: std, gain, gradient, dead, zero_gradient, ignore.",
    ),
    "a lazy model": (
        lambda: propagate(nn.Sequential(nn.LazyLinear(2))),
        StateError,
        "0.weight is lazy and has no shape yet. Call the model once before propagate.",
    ),
    "a model on meta": (
        lambda: propagate(nn.Linear(2, 2, device="meta")),
        StateError,
        "weight is on the meta device and has no values. Propagate a model with memory, for example after "
        "to_empty(device=...) and initialize.",
    ),
    "nothing to watch": (
        lambda: propagate(nn.Sequential(Uses()), X),
        InputError,
        "Sequential: forward called no module that could be watched.",
    ),
}


class Uses(nn.Module):
    """Computes with a layer, and calls none."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.layer.weight


@pytest.mark.parametrize(("call", "error", "text"), ERRORS.values(), ids=ERRORS)
def test_errors_say_what_is_wanted(call: Callable[[], object], error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_an_error_of_the_model_is_its_own() -> None:
    with pytest.raises(KeyError, match="no such key"):
        propagate(Bare(), X)


def test_a_mapping_of_any_kind_is_named_arguments() -> None:
    class Encoding(Mapping[str, Tensor]):
        def __getitem__(self, key: str) -> Tensor:
            return {"input": X}[key]

        def __iter__(self) -> Any:
            return iter(["input"])

        def __len__(self) -> int:
            return 1

    assert propagate(nn.Linear(3, 3), Encoding()).inputs == "input: 2 x 3 (given)"
