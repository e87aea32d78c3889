"""Ways in which constructors read and write their weights that leave no trace in `nn.init` or in tensor methods.

Right: a block without rules is bitwise the plain construction, and what no rule covers is, under any rules, as its
constructor left and saw it.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit

N = 128  # 16,384 elements: smaller weights may be filled at once.


Use = Callable[[nn.Linear], "Tensor | None"]


@pytest.fixture(autouse=True)
def unwritten_memory_shows() -> None:
    torch.use_deterministic_algorithms(True)  # torch.empty gives NaN then


def build(use: Use) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(N, N)
            self.seen = use(self.layer)
            self.after = nn.Linear(N, N)

    torch.manual_seed(0)
    return Net()


def state(net: nn.Module) -> list[Tensor]:
    return [*(p.detach() for p in net.parameters()), *([] if net.seen is None else [net.seen.detach()])]


def identical(use: Use) -> bool:
    """Whether `autoinit([])` gives the parameters, what the constructor saw, and the generator's state of plain
    construction.
    """
    plain = [*state(build(use)), torch.get_rng_state()]
    with autoinit([]):
        net = build(use)
    return all(torch.equal(a, b) for a, b in zip(plain, [*state(net), torch.get_rng_state()], strict=True))


def consistent(read: Use) -> bool:
    """Whether a rule for another layer leaves what the constructor saw equal to what is in the weight afterwards."""
    with autoinit(dict(type="Normal", name="after", std=0.02), seed=0):
        net = build(read)
    return torch.equal(net.seen, read(net.layer)) and not net.layer.weight.isnan().any()


def survives(write: Use, expected: Tensor) -> bool:
    """Whether what a constructor wrote is there afterwards, beside a rule for another layer."""
    with autoinit(dict(type="Normal", name="after", std=0.02), seed=0):
        net = build(write)
    return torch.equal(net.layer.weight, expected)


def test_a_list_of_elements_becomes_a_tensor() -> None:
    """deepmodeling/deepmd-kit#3476: torch.tensor of elements of a weight, in a constructor.

    Right: the elements as they are.
    """

    def read(layer: nn.Linear) -> Tensor:
        return torch.tensor([layer.weight.data[0, 0], layer.weight.data[1, 1]])

    assert identical(read) and consistent(read)


def test_a_weight_is_copied_by_torch_tensor() -> None:
    """cornellius-gp/gpytorch#281: torch.tensor(tensor) in a constructor. Right: a copy of the weight's values."""

    def read(layer: nn.Linear) -> Tensor:
        return torch.tensor(layer.weight.detach())

    assert identical(read) and consistent(read)


def test_new_tensor_copies_a_weight() -> None:
    """cornellius-gp/gpytorch#281, with x.new_tensor(weight). Right: a copy of the weight's values."""

    def read(layer: nn.Linear) -> Tensor:
        return torch.zeros(1).new_tensor(layer.weight)

    assert identical(read) and consistent(read)


def test_as_tensor_changes_the_dtype() -> None:
    """deepmodeling/deepmd-kit#3476, with torch.as_tensor(weight, dtype=float64).

    Right: the weight's values in double precision.
    """

    def read(layer: nn.Linear) -> Tensor:
        return torch.as_tensor(layer.weight.detach(), dtype=torch.float64)

    assert identical(read) and consistent(read)


def test_full_takes_its_value_from_a_weight() -> None:
    """torch docs, torch.full (a 0-dim tensor is taken as a number): the value of a table comes from a weight.

    Right: the element's value.
    """

    def read(layer: nn.Linear) -> Tensor:
        return torch.full((3,), layer.weight.data[0, 0])

    assert identical(read) and consistent(read)


def test_linspace_takes_its_ends_from_a_weight() -> None:
    """torch docs, torch.linspace (start and end may be tensors): a grid between two elements of a weight.

    Right: between these elements.
    """

    def read(layer: nn.Linear) -> Tensor:
        return torch.linspace(layer.weight.data[0, 0], layer.weight.data[1, 1], 5)

    assert identical(read) and consistent(read)


def test_a_scripted_layer_is_called() -> None:
    """torch docs, TorchScript (an eager model may hold scripted submodules): one is called in the constructor.

    Right: with its own weight.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.jit.script(nn.Linear(N, N))
            self.register_buffer("out", self.body(torch.ones(1, N)).detach())

    with autoinit([]):
        net = Net()
    assert torch.equal(net.out, net.body(torch.ones(1, N)))


def test_a_layer_is_saved_by_torchscript() -> None:
    """torch docs, torch.jit.save: C++ reads the weight and writes the file. Right: the file holds the weight."""

    def read(layer: nn.Linear) -> Tensor:
        torch.jit.save(torch.jit.script(layer), file := io.BytesIO())
        file.seek(0)
        return torch.jit.load(file).weight.detach()

    assert identical(read) and consistent(read)


def test_zeros_are_written_by_out() -> None:
    """torch docs, torch.zeros (out): a layer set to zero by torch.zeros(out=).

    Right: zeros, with and without rules for other layers.
    """

    def write(layer: nn.Linear) -> None:
        torch.zeros(N, N, out=layer.weight.data)

    assert identical(write) and survives(write, torch.zeros(N, N))


def test_an_identity_is_written_by_out() -> None:
    """pytorch/pytorch torch/nn/init.py (eye_ writes by torch.eye(out=)), the same by hand.

    Right: the identity, beside rules for other layers, too.
    """

    def write(layer: nn.Linear) -> None:
        torch.eye(N, out=layer.weight.data)

    assert identical(write) and survives(write, torch.eye(N))


@torch.jit.script
def doubled(weight: torch.Tensor) -> None:
    weight.mul_(2.0)


def test_a_scripted_function_scales_a_weight() -> None:
    """torch docs, torch.jit.script: a function in TorchScript writes in place.

    Right: twice the constructor's values.
    """

    def write(layer: nn.Linear) -> None:
        doubled(layer.weight.data)

    assert identical(write)


def test_two_parameters_share_one_buffer_and_one_becomes_an_identity() -> None:
    """facebookresearch/fairscale nn/misc/flatten_params_wrapper.py: parameters that are views of one buffer, here with
    torch's eye_.

    Right: as plain.
    """

    def use(layer: nn.Linear) -> None:
        buffer = torch.empty(2 * N * N)
        layer.a, layer.b = (nn.Parameter(part.view(N, N)) for part in buffer.chunk(2))
        nn.init.normal_(layer.a)
        nn.init.eye_(layer.b)

    assert identical(use)
